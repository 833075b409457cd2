"""What a version brings for segments: centres of groups of users, their names, and how users lie around them.

Shapes: G groups, F features, Q quantiles, C categories.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

MOST_SEGMENTS: Final = 64
HIGHEST_ID: Final = 0xFFFF  # ids are from 1 on
NAME_LENGTH: Final = 120  # characters, at most


class FittedSegments(msgspec.Struct, frozen=True, omit_defaults=True):
    """Groups of users with centres in a space of standardised features."""

    means: list[float]  # (F,) of the features; what is not known of a user counts as this
    scales: list[float]  # (F,) by which the difference is multiplied; 0: the feature does not count
    limit: float  # standardised features lie between this and its negative, times their weight
    categories: list[int]  # (C,) buckets whose shares are the last C features
    centres: list[list[float]]  # (G, F)
    ids: list[int]  # (G,), never the same for two groups of a shop
    names: list[str]  # (G,), in words
    quantiles: list[list[float]]  # (G, Q) of the distances of a group's users from its centre, rising
    sizes: list[float]  # (G,) shares of the users
    next_id: int  # the id of the next group that is like none before
    changes: list[str] = []  # which groups are new, split off or gone since the version before, in words

    def check(self) -> None:
        """Raises ValueError for numbers that do not fit together."""
        groups, features = len(self.centres), len(self.means)
        lengths = {len(self.ids), len(self.names), len(self.quantiles), len(self.sizes)}
        if not 0 < groups <= MOST_SEGMENTS or lengths != {groups} or len(set(self.ids)) != groups:
            raise ValueError(f"segments need ids, names, quantiles and sizes for each of {groups} centres")
        if {len(centre) for centre in self.centres} != {features} or len(self.scales) != features:
            raise ValueError(f"the centres of segments need {features} numbers each")
        if (
            min(self.ids) < 1
            or max(self.ids) > HIGHEST_ID
            or not all(0 < len(name) <= NAME_LENGTH for name in self.names)
        ):
            raise ValueError(f"a segment's id is from 1 to {HIGHEST_ID}, its name has up to {NAME_LENGTH} characters")
        if len({len(row) for row in self.quantiles}) != 1 or len(self.quantiles[0]) < 2:
            raise ValueError("segments need as many quantiles each, and at least two")
        self._check_numbers()

    def _check_numbers(self) -> None:
        columns = (self.means, self.scales, [self.limit], self.sizes)
        if not all(np.isfinite(numbers).all() for numbers in (*columns, *self.centres, *self.quantiles)):
            raise ValueError("a number of the segments is not finite")
        if any(np.diff(row).min() < 0 for row in self.quantiles):
            raise ValueError("the quantiles of a segment fall")
