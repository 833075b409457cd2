"""The context of an action: 32 bits of what the model reads of it beside its item, packed and unpacked here alone.

The network embeds them by one table with a row for each value of each field. Its row 0 stays zero: it stands for a
price, category or brand that is not given.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import (
    BRAND_BUCKETS,
    CATEGORY_BUCKETS,
    NO_TIME,
    PRICE_BUCKETS,
    SESSION_GAP_MS,
    Actions,
)
from model.data.price_bins import NO_BINS, PriceBins
from model.data.user_clocks import begins_group
from model.kernels.compiled import compiled

TYPE_SLOTS: Final = 8  # type codes that 3 bits can hold
GAP_BUCKETS: Final = 32  # of the time since the user's action before
FIRST_GAP: Final = GAP_BUCKETS - 1  # the gap of a user's first action, which follows nothing
BOUNDARY_SHIFT: Final = 3  # the lowest bit of each field; the type begins at bit 0
PRICE_SHIFT: Final = 4
GAP_SHIFT: Final = 8
CATEGORY_SHIFT: Final = 13
BRAND_SHIFT: Final = 23

_SIZES: Final = {
    "types": TYPE_SLOTS,
    "boundaries": 2,
    "gaps": GAP_BUCKETS,
    "prices": PRICE_BUCKETS,
    "categories": CATEGORY_BUCKETS,
    "brands": BRAND_BUCKETS,
}
_ENDS: Final = tuple(accumulate(_SIZES.values(), initial=1))
CONTEXT_ROWS: Final = _ENDS[-1]
CONTEXT_SLICES: Final = {name: slice(*ends) for name, ends in zip(_SIZES, pairwise(_ENDS), strict=True)}

ITEM_ATTRIBUTES: Final = ("categories", "brands")  # what belongs to the item, whatever is done with it
_ATTRIBUTE_COLUMNS: Final = [list(CONTEXT_SLICES).index(name) for name in ITEM_ATTRIBUTES]

_SHIFTS: Final = np.array([0, BOUNDARY_SHIFT, GAP_SHIFT, PRICE_SHIFT, CATEGORY_SHIFT, BRAND_SHIFT], np.uint32)
_MASKS: Final = np.array(list(_SIZES.values()), np.uint32) - np.uint32(1)
_FIRST: Final = np.array(_ENDS[:-1])
_OPTIONAL: Final = np.array([name in ("prices", "categories", "brands") for name in _SIZES])

_KEPT: Final = ((TYPE_SLOTS, 0), (2, BOUNDARY_SHIFT), (GAP_BUCKETS, GAP_SHIFT))  # sizes and shifts of other fields

# Milliseconds at which the buckets of gaps begin, but for the lowest: bucket b does after 2**(0.8 b) - 1 seconds.
_GAP_STARTS: Final = np.ceil(1000 * (2 ** (0.8 * np.arange(1, FIRST_GAP)) - 1)).astype(np.int64)


class _Columns(NamedTuple):
    """What contexts are made of, for the compiled loop; every array is (N,), see `Actions`."""

    times: NDArray[np.int64]
    sessions: NDArray[np.uint64]
    types: NDArray[np.uint8]
    prices: NDArray[np.uint8]
    categories: NDArray[np.uint16]
    brands: NDArray[np.uint16]


def context_rows(contexts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Returns the table's rows for packed contexts of any shape (...), one for each field: (..., 6)."""
    values = (contexts[..., None] >> _SHIFTS) & _MASKS
    return np.where((values == 0) & _OPTIONAL, 0, values + _FIRST)


def item_attribute_rows(contexts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Returns the table's rows for category and brand of packed contexts (...): (..., 2)."""
    return context_rows(contexts)[..., _ATTRIBUTE_COLUMNS]


@dataclass(frozen=True, slots=True)
class ContextFields:
    """Contexts, taken apart: one array for each field, all of one shape."""

    types: NDArray[np.int64]
    boundaries: NDArray[np.int64]
    prices: NDArray[np.int64]
    gaps: NDArray[np.int64]
    categories: NDArray[np.int64]
    brands: NDArray[np.int64]


def unpack_contexts(contexts: NDArray[np.uint32]) -> ContextFields:
    """Takes contexts of any shape apart: the inverse of `pack_context`."""

    def field(shift: int, bits: int) -> NDArray[np.int64]:
        return ((contexts >> np.uint32(shift)) & np.uint32((1 << bits) - 1)).astype(np.int64)

    return ContextFields(
        types=field(0, 3),
        boundaries=field(BOUNDARY_SHIFT, 1),
        prices=field(PRICE_SHIFT, 4),
        gaps=field(GAP_SHIFT, 5),
        categories=field(CATEGORY_SHIFT, 10),
        brands=field(BRAND_SHIFT, 9),
    )


def with_attributes(contexts: NDArray[np.uint32], actions: Actions) -> NDArray[np.uint32]:
    """Returns contexts (N,) with the price, the category and the brand of actions (N,) instead of their own."""
    columns = ((PRICE_SHIFT, actions.prices), (CATEGORY_SHIFT, actions.categories), (BRAND_SHIFT, actions.brands))
    kept = contexts & np.uint32(sum((size - 1) << shift for size, shift in _KEPT))
    for shift, column in columns:
        kept = kept | column.astype(np.uint32) << np.uint32(shift)
    return kept


def types_of(contexts: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Returns the type codes of packed contexts of any shape."""
    return (contexts % TYPE_SLOTS).astype(np.uint8)


@compiled
def type_of(context: np.uint32) -> np.uint32:
    """Returns the type code of one context; this and the functions below are for compiled loops."""
    return context % np.uint32(TYPE_SLOTS)


@compiled
def fill_context_rows(context: np.uint32, rows: NDArray[np.int64]) -> None:
    """Fills in the table's rows (6,) for one context."""
    for field in range(len(_FIRST)):
        value = (context >> _SHIFTS[field]) & _MASKS[field]
        rows[field] = 0 if value == 0 and _OPTIONAL[field] else np.int64(value) + _FIRST[field]


@compiled
def opens_session(context: np.uint32) -> bool:
    """Tells whether the action opens a session."""
    return bool((context >> np.uint32(BOUNDARY_SHIFT)) % np.uint32(2))


@compiled
def type_and_boundary(context: np.uint32) -> np.uint32:
    """Returns the type code plus TYPE_SLOTS if the action opens a session: the lowest four bits."""
    return context % np.uint32(2 * TYPE_SLOTS)


@compiled
def price_bucket(context: np.uint32) -> np.uint32:
    """Returns the bucket of the price; 0: not given."""
    return (context >> np.uint32(PRICE_SHIFT)) % np.uint32(PRICE_BUCKETS)


@compiled
def gap_bucket(context: np.uint32) -> np.uint32:
    """Returns the bucket of the time since the user's action before."""
    return (context >> np.uint32(GAP_SHIFT)) % np.uint32(GAP_BUCKETS)


@compiled
def category_bucket(context: np.uint32) -> np.uint32:
    """Returns the bucket of the item's category; 0: not given."""
    return (context >> np.uint32(CATEGORY_SHIFT)) % np.uint32(CATEGORY_BUCKETS)


@compiled
def brand_bucket(context: np.uint32) -> np.uint32:
    """Returns the bucket of the item's brand; 0: not given."""
    return context >> np.uint32(BRAND_SHIFT)


@compiled
def same_item_attributes(context: np.uint32, other: np.uint32) -> bool:
    """Tells whether two actions are on items of the same category and brand, by their buckets."""
    return bool(context >> np.uint32(CATEGORY_SHIFT) == other >> np.uint32(CATEGORY_SHIFT))


@compiled
def pack_context(kind: int, opens: bool, price: int, gap: int, category: int, brand: int) -> int:
    """Packs a context; bits from low to high: type 3, session boundary 1, price 4, gap 5, category 10, brand 9."""
    low = kind | opens << BOUNDARY_SHIFT | price << PRICE_SHIFT | gap << GAP_SHIFT
    return low | category << CATEGORY_SHIFT | brand << BRAND_SHIFT


@compiled
def begins_session(gap_ms: int, session: np.uint64, previous: np.uint64) -> bool:
    """Tells whether an action opens a session: by another session id or, where one is missing, after half an hour."""
    if session != 0 and previous != 0:
        return bool(session != previous)
    return gap_ms > SESSION_GAP_MS


@compiled
def gap_bucket_of(gap_ms: int) -> int:
    """Returns floor(1.25 log2(1 + seconds)), so that 30 buckets reach half a year; a negative gap counts as 0."""
    bucket = 0
    while bucket < len(_GAP_STARTS) and gap_ms >= _GAP_STARTS[bucket]:
        bucket += 1
    return bucket


def contexts_of(
    actions: Actions,
    users: NDArray[np.int64],
    last_times: NDArray[np.int64],
    last_sessions: NDArray[np.uint64],
    bins: PriceBins = NO_BINS,
) -> NDArray[np.uint32]:
    """Computes the contexts (N,) of actions in log order, several of one user among them, timed by `user_clocks`.

    `users` (N,) are codes or slots. `last_times` and `last_sessions` (N,) say what is known of each action's
    user from before these actions: their clock in milliseconds or NO_TIME, and the last session id given or 0.
    The gap is the time by which the user's clock advanced. `bins` are those of the version that is to read them.
    """
    contexts = np.empty(len(users), np.uint32)
    columns = _Columns(
        actions.times, actions.sessions, actions.types, bins.buckets(actions), actions.categories, actions.brands
    )
    _fill_contexts(users.argsort(kind="stable"), users, columns, last_times, last_sessions, contexts)
    return contexts


@compiled
def _fill_contexts(
    order: NDArray[np.int64],
    users: NDArray[np.int64],
    actions: _Columns,
    last_times: NDArray[np.int64],
    last_sessions: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
) -> None:
    """Fills in contexts (N,), user by user: `order` (N,) sorts the actions by user and then by log."""
    before, previous = NO_TIME, np.uint64(0)  # the user's clock, and the last session id that they gave
    for position in range(len(order)):
        n = order[position]
        if begins_group(order, users, position):
            before, previous = last_times[n], last_sessions[n]
        fresh = before == NO_TIME
        gap = 0 if fresh else actions.times[n] - before
        contexts[n] = pack_context(
            actions.types[n],
            fresh or begins_session(gap, actions.sessions[n], previous),
            actions.prices[n],
            FIRST_GAP if fresh else gap_bucket_of(gap),
            actions.categories[n],
            actions.brands[n],
        )
        before = actions.times[n]
        if actions.sessions[n] != 0:
            previous = actions.sessions[n]
