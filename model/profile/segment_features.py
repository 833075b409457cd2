"""What tells groups of users apart: how often they come, what they do, what it is worth and what they look at.

Read from a user's rhythm and last actions, in a bounded number of steps. Where something is not known (a price, a gap),
it is NaN, and counts as what is usual.
Shapes: N moments, F features, C categories that are told apart.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import category_bucket, price_bucket, type_of
from model.data.events import REMOVE, SEARCH, TYPE_CODES
from model.data.recent import RECENT_LENGTH, RecentActions
from model.kernels.compiled import Floats, compiled, uncounted
from model.profile.rhythm import Rhythms

# In this order; shares are of the last actions, and those of the categories follow.
SEGMENT_FEATURES: Final = (
    *("visits", "gap", "actions per visit"),  # logarithms; gaps in hours
    "purchases",  # logarithm
    *("look share", "search share", "cart share", "remove share", "repeat share"),
    "price band",
)
NUM_SEGMENT_FEATURES: Final = len(SEGMENT_FEATURES)
_VISITS, _GAP, _PER_VISIT, _PURCHASES, _LOOKS, _SEARCHES, _CARTS, _REMOVES, _REPEATS, _PRICE = range(
    NUM_SEGMENT_FEATURES
)
_CART, _FAVORITE = TYPE_CODES["cart"], TYPE_CODES["favorite"]
_VIEW, _CLICK = TYPE_CODES["view"], TYPE_CODES["click"]
_HOUR: Final = np.float32(3_600)  # seconds


def segment_features(recent: RecentActions, rhythms: Rhythms, categories: NDArray[np.int64]) -> Floats:
    """Returns the features (N, F + C) of users with these last actions and rhythms (N,).

    `categories` (C,) are the buckets whose shares are features.
    """
    features = np.empty((len(rhythms), NUM_SEGMENT_FEATURES + len(categories)), np.float32)
    _fill_all(recent, rhythms, categories, features)
    return features


@compiled
def _fill_all(recent: RecentActions, rhythms: Rhythms, categories: NDArray[np.int64], features: Floats) -> None:
    for n in range(len(features)):
        fill_segment_features(recent, rhythms, n, categories, features[n])


@uncounted
def fill_segment_features(
    recent: RecentActions, rhythms: Rhythms, n: int, categories: NDArray[np.int64], features: Floats
) -> None:
    """Fills in the features (F + C,) of moment n."""
    features[:] = np.float32(0)
    user = rhythms[n]
    visits, purchases = np.float32(max(1, int(user.visits))), np.float32(user.purchases)
    features[_VISITS] = np.log1p(visits)
    seconds = np.float32(max(0, int(user.last) - int(user.first)))
    features[_GAP] = np.log1p(np.divide(np.divide(seconds, _HOUR), visits - 1)) if visits > 1 else np.float32(np.nan)
    features[_PER_VISIT] = np.log1p(np.divide(np.float32(user.actions), visits))
    features[_PURCHASES] = np.log1p(purchases)
    _count_last(recent, n, categories, features)


@uncounted
def _count_last(recent: RecentActions, n: int, categories: NDArray[np.int64], features: Floats) -> None:
    first, priced = max(recent.starts[n], recent.stops[n] - RECENT_LENGTH), np.float32(0)
    count = np.float32(max(1, recent.stops[n] - first))
    for at in range(first, recent.stops[n]):
        context = recent.contexts[at]
        kind, price, category = type_of(context), price_bucket(context), np.int64(category_bucket(context))
        features[_LOOKS] += kind in (_VIEW, _CLICK)
        features[_SEARCHES] += kind == SEARCH
        features[_CARTS] += kind in (_CART, _FAVORITE)
        features[_REMOVES] += kind == REMOVE
        features[_REPEATS] += _came_before(recent, first, at)
        features[_PRICE] += price
        priced += price > 0
        for each in range(len(categories)):
            features[NUM_SEGMENT_FEATURES + each] += category == categories[each]
    for feature in range(_LOOKS, len(features)):
        features[feature] = np.divide(features[feature], priced if feature == _PRICE else count)


@uncounted
def _came_before(recent: RecentActions, first: int, at: int) -> bool:
    """Tells whether the user was on the item of an action shortly before."""
    found = False
    for other in range(max(first, at - 4), at):
        found |= recent.item_keys[other] == recent.item_keys[at]
    return found
