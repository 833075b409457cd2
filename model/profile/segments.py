"""Assigns users to segments: to the nearest centre, but not away from one for little.

It takes a number of steps in proportion to the segments. A user stays in a segment unless another one is nearer by a
margin, so that nobody goes back and forth between two whose border they are on.
Shapes: E events, G segments, F features, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.recent import RecentActions
from model.kernels.compiled import Floats, compiled, uncounted
from model.profile.fitted_segments import FittedSegments
from model.profile.rhythm import Rhythms
from model.profile.segment_features import NUM_SEGMENT_FEATURES, fill_segment_features

MARGIN: Final = 0.5  # of a squared distance: another centre must be nearer than so much of that to one's own


class _Space(NamedTuple):
    """`FittedSegments` for compiled loops."""

    means: Floats  # (F,)
    scales: Floats  # (F,)
    limit: np.float32
    categories: NDArray[np.int64]  # (C,)
    centres: Floats  # (G, F)
    ids: NDArray[np.int64]  # (G,)
    quantiles: Floats  # (G, Q)
    margin: np.float32  # see MARGIN


@dataclass(frozen=True, slots=True)
class SegmentAnswers:
    """The segments of the users of E events."""

    numbers: NDArray[np.int64]  # (E,) indices into the names and ids
    fits: Floats  # (E,) 1: nobody of the segment is more typical, 0: nobody less
    names: Sequence[str]  # (G,)
    ids: NDArray[np.int64]  # (G,)


class SegmentModel:
    """The segments of a version, ready to assign."""

    def __init__(self, fitted: FittedSegments) -> None:
        """Raises ValueError for segments by other features."""
        if len(fitted.means) != NUM_SEGMENT_FEATURES + len(fitted.categories):
            raise ValueError(f"segments by {len(fitted.means)} features are not by those of this program")
        self.names, self.ids = tuple(fitted.names), np.array(fitted.ids, np.int64)
        self._space = _Space(
            means=np.array(fitted.means, np.float32),
            scales=np.array(fitted.scales, np.float32),
            limit=np.float32(fitted.limit),
            categories=np.array(fitted.categories, np.int64),
            centres=np.array(fitted.centres, np.float32),
            ids=self.ids,
            quantiles=np.array(fitted.quantiles, np.float32),
            margin=np.float32(MARGIN),
        )

    def assign(self, users: Rhythms, slots: NDArray[np.int64], recent: RecentActions, after: Rhythms) -> SegmentAnswers:
        """Assigns the users in slots (E,) after events in log order, by their last actions and rhythms `after` (E,).

        Both `users` (S,) and `after` get the ids.
        """
        numbers, fits = np.empty(len(slots), np.int64), np.empty(len(slots), np.float32)
        _assign(users, slots, recent, after, self._space, numbers, fits)
        return SegmentAnswers(numbers, fits, self.names, self.ids)


@compiled
def _assign(
    users: Rhythms,
    slots: NDArray[np.int64],
    recent: RecentActions,
    after: Rhythms,
    space: _Space,
    numbers: NDArray[np.int64],
    fits: Floats,
) -> None:
    features, distances = np.empty(len(space.means), np.float32), np.empty(len(space.centres), np.float32)
    for n in range(len(slots)):
        fill_segment_features(recent, after, n, space.categories, features)
        _fill_distances(features, space, distances)
        number = _chosen(distances, space.ids, users[slots[n]].segment, space.margin)
        users[slots[n]].segment = space.ids[number]
        after[n].segment = space.ids[number]
        numbers[n], fits[n] = number, _fit(np.sqrt(distances[number]), space.quantiles[number])


@uncounted
def _fill_distances(features: Floats, space: _Space, distances: Floats) -> None:
    """Standardises features (F,), in place, and fills in the squared distances (G,) of the centres from them."""
    for feature in range(len(features)):
        value = (features[feature] - space.means[feature]) * space.scales[feature]
        features[feature] = min(max(value, -space.limit), space.limit) if value == value else np.float32(0)
    for group in range(len(distances)):
        total = np.float32(0)
        for feature in range(len(features)):
            difference = features[feature] - space.centres[group, feature]
            total += difference * difference
        distances[group] = total


@uncounted
def _chosen(distances: Floats, ids: NDArray[np.int64], before: int, margin: np.float32) -> int:
    """Returns the group of a user who was in the one with the id `before`."""
    nearest, own = 0, -1
    for group in range(len(distances)):
        if distances[group] < distances[nearest]:
            nearest = group
        if ids[group] == before:
            own = group
    return own if own >= 0 and distances[nearest] > margin * distances[own] else nearest


@uncounted
def _fit(distance: np.float32, quantiles: Floats) -> np.float32:
    """Returns the share of a group's users who are farther from its centre, by quantiles (Q,) of their distances."""
    last = len(quantiles) - 1
    if distance >= quantiles[last]:
        return np.float32(0)
    below = 0
    while below < last and quantiles[below + 1] <= distance:
        below += 1
    width = quantiles[below + 1] - quantiles[below]
    inside = np.divide(max(distance - quantiles[below], np.float32(0)), width) if width > 0 else np.float32(0)
    return np.float32(1) - np.divide(np.float32(below) + min(inside, np.float32(1)), np.float32(last))  # type: ignore[no-any-return]
