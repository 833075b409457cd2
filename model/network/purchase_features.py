"""Purchase features describe what a user did lately: the input of the purchase head.

Each feature of the last actions of a user (how many of a type, how long ago the last of it, …) is put into a bucket,
and each bucket is a row of the head's table. They are counts rather than a learned state: whether a user is about to
buy depends on how much they did more than on the items, and there are few purchases to learn from.
Shapes: N answers, F features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import (
    GAP_BUCKETS,
    TYPE_SLOTS,
    brand_bucket,
    category_bucket,
    gap_bucket,
    opens_session,
    price_bucket,
    same_item_attributes,
    type_and_boundary,
    type_of,
)
from model.data.events import BRAND_BUCKETS, CATEGORY_BUCKETS, PRICE_BUCKETS, PURCHASE
from model.data.recent import RECENT_LENGTH, RecentActions, recent_at
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.kernels.compiled import uncounted

_AMOUNTS: Final = 16  # buckets of a number of actions, one of them for 0
_BEFORE: Final = 3  # earlier actions whose types are features of their own
_SIZES: Final = (  # buckets of each feature
    2 * TYPE_SLOTS,  # of the last action: type and whether it opens a session
    GAP_BUCKETS,
    PRICE_BUCKETS,
    CATEGORY_BUCKETS,
    BRAND_BUCKETS,
    *(_BEFORE * (TYPE_SLOTS + 1,)),  # types of the actions before it, 0: there is no such action
    *(TYPE_SLOTS * (_AMOUNTS,)),  # actions of each type
    *(TYPE_SLOTS * (_AMOUNTS,)),  # actions since the last of each type
    *(6 * (_AMOUNTS,)),  # actions: all, of this session, on this item, purchases of it, in this category; other items
)
NUM_FEATURES: Final = len(_SIZES)  # F
ROWS: Final = sum(_SIZES)  # of the head's table
_FIRST_ROWS: Final = (np.cumsum(_SIZES) - _SIZES).astype(np.int32)
# Where each group of features begins.
_TYPES_BEFORE, _COUNTS = 5, 5 + _BEFORE
_SINCE, _TOTALS = _COUNTS + TYPE_SLOTS, _COUNTS + 2 * TYPE_SLOTS
# Amounts up to 6 have buckets of their own; the others begin at these.
_AMOUNT_BUCKETS: Final = np.searchsorted(
    (1, 2, 3, 4, 5, 6, 7, 9, 11, 14, 17, 21, 25, 29, 32), np.arange(RECENT_LENGTH + 1), "right"
)


def purchase_features(recent: RecentActions) -> NDArray[np.int32]:
    """Returns rows (N, F) of the head's table, from the last RECENT_LENGTH actions before each answer."""
    features = np.empty((len(recent.starts), NUM_FEATURES), np.int32)
    _fill_all(recent, features)
    return features


def purchase_features_of(
    sequences: Sequences, vocabulary: Vocabulary, positions: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Returns the features (N, F) right after the actions at positions (N,) of the sequences."""
    return purchase_features(recent_at(sequences, vocabulary, positions))


@uncounted
def _fill_all(recent: RecentActions, features: NDArray[np.int32]) -> None:
    for n in range(len(features)):
        fill_features(recent, n, features[n])


@uncounted
def fill_features(recent: RecentActions, n: int, features: NDArray[np.int32]) -> None:
    """Fills in the features (F,) before answer n."""
    first = max(recent.starts[n], recent.stops[n] - RECENT_LENGTH)
    features[:] = 0
    if first < recent.stops[n]:
        _last_action(recent.contexts[recent.stops[n] - 1], features)
        _earlier_actions(recent, first, recent.stops[n] - 1, features)
    for feature in range(len(features)):
        features[feature] += _FIRST_ROWS[feature]


@uncounted
def _last_action(context: np.uint32, features: NDArray[np.int32]) -> None:
    features[0] = type_and_boundary(context)
    features[1] = gap_bucket(context)
    features[2] = price_bucket(context)
    features[3] = category_bucket(context)
    features[4] = brand_bucket(context)


@uncounted
def _earlier_actions(recent: RecentActions, first: int, last: int, features: NDArray[np.int32]) -> None:
    """Counts the actions from `first` to `last`, both included, newest first."""
    item, context = recent.items[last], recent.contexts[last]
    in_session, totals = True, features[_TOTALS:]
    for at in range(last, first - 1, -1):
        kind = type_of(recent.contexts[at])
        if 0 < last - at <= _BEFORE:
            features[_TYPES_BEFORE + last - at - 1] = kind + 1
        features[_COUNTS + kind] += 1
        if features[_SINCE + kind] == 0:
            features[_SINCE + kind] = last - at + 1
        same = _same(recent.items[at], recent.contexts[at], item, context)
        totals[0] += 1
        totals[1] += in_session
        totals[2] += same
        totals[3] += same and kind == PURCHASE
        totals[4] += category_bucket(recent.contexts[at]) == category_bucket(context)
        totals[5] += not same
        in_session = in_session and not opens_session(recent.contexts[at])
    for n in range(_COUNTS, len(features)):
        features[n] = _AMOUNT_BUCKETS[features[n]]


@uncounted
def _same(item: int, context: np.uint32, other: int, other_context: np.uint32) -> bool:
    """Tells whether two actions are on the same item; an item that the catalogue lacks is its category and brand."""
    return bool(item == other and (item >= 0 or same_item_attributes(context, other_context)))
