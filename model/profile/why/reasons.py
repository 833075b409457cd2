"""Why items are recommended: what a version brings to tell it, and the words for it.

A reason is one of the user's own items, or what others do. Its weight is the share of what the item's score would lose
without it in all that it would lose without each own item, and if it were no more popular than others.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from model.fusion.candidate_features import FEATURES
from model.profile.why.left_out import AGES, TERMS

CODES: Final = (
    "viewed",  # the item itself: the user had to do with it
    "goes_with",  # people have to do with it before or after the own item
    "bought_together",  # people have to do with it once the own item is in their cart, or bought
    "popular_now",  # it is more popular than others
    "like_what_you_view",  # the network finds it close to the own item
    "category",  # it is of the category or the brand of the own item
    "searched_for",  # people have to do with it after the user's last search
)
VIEWED, GOES_WITH, BOUGHT_TOGETHER, POPULAR_NOW, LIKE, CATEGORY, SEARCHED_FOR = range(len(CODES))
BECAUSE: Final = 3  # reasons of an item, at most


class ReasonWeights(msgspec.Struct, frozen=True):
    """What the trainer has fitted to tell reasons: a part of a version's profile."""

    network: list[list[float]]  # (AGES, TERMS): what the network's log-probability loses without an own item
    slopes: list[float]  # (F,): by how much a score rises with each feature, in the mean

    def check(self) -> None:
        """Raises ValueError for numbers that do not fit together."""
        if len(self.network) != AGES or any(len(row) != TERMS for row in self.network):
            raise ValueError(f"reasons: network is not {AGES} rows of {TERMS} numbers")
        if len(self.slopes) != len(FEATURES):
            raise ValueError(f"reasons: there are {len(self.slopes)} slopes for {len(FEATURES)} features")
        if not all(map(math.isfinite, [*self.slopes, *(number for row in self.network for number in row)])):
            raise ValueError("reasons: a number is not finite")
