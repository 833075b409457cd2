"""What a user did lately, as words: the input of the purchase head.

Each fact about the last actions of a user (how many of a kind, how long ago the last of it, …) is put into a bucket,
and each bucket is a row of the head's table. Counts rather than a learned state: whether somebody is about to buy
hangs on how much was done more than on what it was done with, and there are few purchases to learn from.
Shapes: N answers, F facts.
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
from model.data.recent import RECENT_LENGTH, RecentActions, catalogue_items
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.kernels.compiled import compiled

_AMOUNTS: Final = 16  # buckets of a number of actions, none included
_BEFORE: Final = 3  # earlier actions whose types are facts of their own
# By fact, how many buckets it has: of the last action first, then of those before it.
_SIZES: Final = (
    *(
        2 * TYPE_SLOTS,
        GAP_BUCKETS,
        PRICE_BUCKETS,
        CATEGORY_BUCKETS,
        BRAND_BUCKETS,
    ),  # type and whether it opens a session
    *(_BEFORE * (TYPE_SLOTS + 1,)),
    *(TYPE_SLOTS * (_AMOUNTS,)),  # actions of each type
    *(TYPE_SLOTS * (_AMOUNTS,)),  # actions since the last of each type
    *(6 * (_AMOUNTS,)),  # actions: all, of this session, on this item, purchases of it, in this category; other items
)
NUM_FEATURES: Final = len(_SIZES)
ROWS: Final = sum(_SIZES)
_FIRST_ROWS: Final = (np.cumsum(_SIZES) - _SIZES).astype(np.int32)
_TYPES_BEFORE, _COUNTS = 5, 5 + _BEFORE
_SINCE, _TOTALS = _COUNTS + TYPE_SLOTS, _COUNTS + 2 * TYPE_SLOTS
# Amounts up to 6 have buckets of their own; the others begin at these.
_AMOUNT_BUCKETS: Final = np.searchsorted(
    (1, 2, 3, 4, 5, 6, 7, 9, 11, 14, 17, 21, 25, 29, 32), np.arange(RECENT_LENGTH + 1), "right"
)


def purchase_features(recent: RecentActions) -> NDArray[np.int32]:
    """Rows (N, F) of the head's table, by the last RECENT actions of each answer, of which there is at least one."""
    found = np.empty((len(recent.starts), NUM_FEATURES), np.int32)
    _count(recent, found)
    return found + _FIRST_ROWS


def purchase_features_of(sequences: Sequences, vocabulary: Vocabulary, places: NDArray[np.int64]) -> NDArray[np.int32]:
    """The habits (N, F) that show right after the actions at some places (N,) of the sequences."""
    starts = sequences.offsets[sequences.users_at(places)]
    items = catalogue_items(vocabulary, sequences.item_keys, sequences.contexts)
    return purchase_features(RecentActions(items, sequences.contexts, starts, places + 1))


@compiled
def _count(recent: RecentActions, found: NDArray[np.int32]) -> None:
    for n in range(len(recent.starts)):
        first = max(recent.starts[n], recent.stops[n] - RECENT_LENGTH)
        found[n] = 0
        if first < recent.stops[n]:
            _last_action(recent.contexts[recent.stops[n] - 1], found[n])
            _earlier_actions(recent, first, recent.stops[n] - 1, found[n])


@compiled
def _last_action(context: np.uint32, facts: NDArray[np.int32]) -> None:
    facts[0] = type_and_boundary(context)
    facts[1] = gap_bucket(context)
    facts[2] = price_bucket(context)
    facts[3] = category_bucket(context)
    facts[4] = brand_bucket(context)


@compiled
def _earlier_actions(recent: RecentActions, first: int, last: int, facts: NDArray[np.int32]) -> None:
    """Counts the actions from `first` to `last`, both included, newest first."""
    item, context = recent.items[last], recent.contexts[last]
    in_session, totals = True, facts[_TOTALS:]
    for at in range(last, first - 1, -1):
        kind = type_of(recent.contexts[at])
        if 0 < last - at <= _BEFORE:
            facts[_TYPES_BEFORE + last - at - 1] = kind + 1
        facts[_COUNTS + kind] += 1
        if facts[_SINCE + kind] == 0:
            facts[_SINCE + kind] = last - at + 1
        same = _same(recent.items[at], recent.contexts[at], item, context)
        totals[0] += 1
        totals[1] += in_session
        totals[2] += same
        totals[3] += same and kind == PURCHASE
        totals[4] += category_bucket(recent.contexts[at]) == category_bucket(context)
        totals[5] += not same
        in_session = in_session and not opens_session(recent.contexts[at])
    for fact in range(_COUNTS, len(facts)):
        facts[fact] = _AMOUNT_BUCKETS[facts[fact]]


@compiled
def _same(item: int, context: np.uint32, other: int, other_context: np.uint32) -> bool:
    """Whether two actions are on the same item; those that the catalogue lacks are told by category and brand."""
    return bool(item == other and (item >= 0 or same_item_attributes(context, other_context)))
