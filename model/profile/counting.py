"""Counts what users like, by compiled loops: categories and brands with decay, a bounded number of each, and prices.

A user has up to ENTRIES categories and as many brands, the one touched last first. Each has a weight for each kind of
action; an action adds 1 to that of its kind, after all weights of the field are multiplied by DECAY. Where there is no
room, the entry that weighs least gives way (of equal ones the one touched longest ago). So an action takes a bounded
number of steps, what weighs much is never lost to what comes once, and no weight depends on a version: what kinds of
actions are worth is learned, and applied where the weights are read.
An entry is known by the key of its name or, where only that is known, by its bucket, which is a small number.
Shapes: S slots, N actions, E events, F fields, K kinds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import brand_bucket, category_bucket, price_bucket, type_of
from model.data.events import BRAND_BUCKETS, CATEGORY_BUCKETS, EVENT_TYPES
from model.kernels.compiled import Floats, compiled

FIELDS: Final = 2  # categories, brands
ENTRIES: Final = 8  # of a field
KINDS: Final = ("looked", "wanted", "bought")  # of actions
BANDS: Final = 5  # of prices
HALF_LIFE: Final = 16  # actions after which a weight is halved
DECAY: Final = np.float32(0.5 ** (1 / HALF_LIFE))
_KINDS_BY_TYPE: Final = {"click": 0, "view": 0, "cart": 1, "favorite": 1, "purchase": 2}
_NO_KIND: Final = -1  # of a search, and of what somebody takes out of the basket or returns
KIND_OF_TYPE: Final = np.array([_KINDS_BY_TYPE.get(name, _NO_KIND) for name in EVENT_TYPES] + [_NO_KIND], np.int64)
BUCKETS: Final = np.array([CATEGORY_BUCKETS, BRAND_BUCKETS], np.uint64)
_BUCKETS_PER_BAND: Final = 3  # of the 15 buckets of prices


class Counts(NamedTuple):
    """What is counted of users in slots, or after events."""

    keys: NDArray[np.uint64]  # (S, F, ENTRIES), the one touched last first; 0: no more entries
    weights: Floats  # (S, F, ENTRIES, K)
    bands: Floats  # (S, BANDS, K) weights of the price bands
    currencies: NDArray[np.uint64]  # (S,) in which prices were last given


class CountedActions(NamedTuple):
    """N new actions of events, in log order."""

    slots: NDArray[np.int64]  # of their users
    applied: NDArray[np.bool_]
    ends_event: NDArray[np.bool_]
    types: NDArray[np.uint8]
    keys: NDArray[np.uint64]  # (N, F) of their category and brand, or the bucket; 0: not given
    bands: NDArray[np.uint8]  # of their prices, from 1 on; 0: not known
    currencies: NDArray[np.uint64]


def no_counts(slots: int) -> Counts:
    """Makes counts of users of whom nothing is known."""
    return Counts(
        np.zeros((slots, FIELDS, ENTRIES), np.uint64),
        np.zeros((slots, FIELDS, ENTRIES, len(KINDS)), np.float32),
        np.zeros((slots, BANDS, len(KINDS)), np.float32),
        np.zeros(slots, np.uint64),
    )


@compiled
def bucket_of(key: np.uint64, field: int) -> np.uint64:
    """Returns the bucket of a key, or of what is a bucket already."""
    buckets = BUCKETS[field]
    return key if key < buckets else np.uint64(1) + key % (buckets - np.uint64(1))


@compiled
def alike(key: np.uint64, other: np.uint64, field: int) -> bool:
    """Tells whether two keys are the same or, where one of them is only a bucket, may be."""
    buckets = BUCKETS[field]
    if key >= buckets and other >= buckets:
        return bool(key == other)
    return bool(bucket_of(key, field) == bucket_of(other, field))


@compiled
def count_batch(counts: Counts, actions: CountedActions, after: Counts) -> None:
    """Counts applied actions (N,), and copies what is then counted of the user after each event (E,)."""
    event = 0
    for n in range(len(actions.slots)):
        slot = actions.slots[n]
        kind = KIND_OF_TYPE[actions.types[n]]
        if actions.applied[n] and kind >= 0:
            for field in range(FIELDS):
                if actions.keys[n, field] != 0:
                    _count(counts.keys[slot, field], counts.weights[slot, field], actions.keys[n, field], field, kind)
            if actions.bands[n] != 0:
                _count_price(counts, slot, actions.bands[n], actions.currencies[n], kind)
        if actions.ends_event[n]:
            copy_counts(counts, slot, after, event)
            event += 1


@compiled
def _count(keys: NDArray[np.uint64], weights: Floats, key: np.uint64, field: int, kind: int) -> None:
    """Counts an action in a user's entries (ENTRIES,) of a field."""
    at, least, size = -1, np.float32(np.inf), 0
    for entry in range(ENTRIES):
        if keys[entry] == 0:
            break
        size += 1
        if at < 0 and alike(keys[entry], key, field):
            at = entry
        for each in range(weights.shape[1]):
            weights[entry, each] *= DECAY
    fresh = at < 0
    if fresh and size < ENTRIES:
        at = size
    elif fresh:
        for entry in range(ENTRIES):
            total = np.float32(0)
            for each in range(weights.shape[1]):
                total += weights[entry, each]
            if total <= least:
                at, least = entry, total
    known = keys[at]
    first, second, third = weights[at, 0], weights[at, 1], weights[at, 2]
    for entry in range(at, 0, -1):
        keys[entry] = keys[entry - 1]
        for each in range(weights.shape[1]):
            weights[entry, each] = weights[entry - 1, each]
    keys[0] = key if fresh or known < BUCKETS[field] else known
    weights[0, 0], weights[0, 1], weights[0, 2] = first, second, third
    if fresh:
        weights[0, :] = np.float32(0)
    weights[0, kind] += np.float32(1)


@compiled
def _count_price(counts: Counts, slot: int, band: np.uint8, currency: np.uint64, kind: int) -> None:
    """Counts the price of an action; a user who pays in another currency than before begins anew."""
    known = counts.currencies[slot]
    keeps = np.float32(0) if currency != known else DECAY
    for each in range(BANDS):
        for of_kind in range(counts.bands.shape[2]):
            counts.bands[slot, each, of_kind] *= keeps
    counts.currencies[slot] = currency
    counts.bands[slot, band - 1, kind] += np.float32(1)


@compiled
def copy_counts(counts: Counts, slot: int, into: Counts, row: int) -> None:
    """Copies what is counted of a user into a row of others."""
    into.currencies[row] = counts.currencies[slot]
    for field in range(FIELDS):
        for entry in range(ENTRIES):
            into.keys[row, field, entry] = counts.keys[slot, field, entry]
            for kind in range(counts.weights.shape[3]):
                into.weights[row, field, entry, kind] = counts.weights[slot, field, entry, kind]
    for band in range(BANDS):
        for kind in range(counts.bands.shape[2]):
            into.bands[row, band, kind] = counts.bands[slot, band, kind]


@compiled
def count_contexts(counts: Counts, slot: int, contexts: NDArray[np.uint32]) -> None:
    """Counts the actions of a sequence, oldest first, of which only buckets are known."""
    for context in contexts:
        kind = KIND_OF_TYPE[type_of(context)]
        if kind < 0:
            continue
        category, brand, price = category_bucket(context), brand_bucket(context), price_bucket(context)
        if category != 0:
            _count(counts.keys[slot, 0], counts.weights[slot, 0], np.uint64(category), 0, kind)
        if brand != 0:
            _count(counts.keys[slot, 1], counts.weights[slot, 1], np.uint64(brand), 1, kind)
        if price != 0:
            band = np.uint8(1 + (np.int64(price) - 1) // _BUCKETS_PER_BAND)
            _count_price(counts, slot, band, counts.currencies[slot], kind)


@compiled
def add_older(counts: Counts, slot: int, older: Counts, row: int) -> None:
    """Adds what was counted of a user before all that is counted in a slot, as if it had been counted first."""
    for field in range(FIELDS):
        keys, weights = counts.keys[slot, field], counts.weights[slot, field]
        kept = _decayed(weights)
        for entry in range(ENTRIES):
            key = older.keys[row, field, entry]
            if key != 0:
                _add_entry(keys, weights, key, older.weights[row, field, entry], kept, field)
    if counts.currencies[slot] == older.currencies[row] or not counts.bands[slot].any():
        kept = _decayed(counts.bands[slot])
        counts.currencies[slot] = older.currencies[row]
        for band in range(BANDS):
            for kind in range(counts.bands.shape[2]):
                counts.bands[slot, band, kind] += kept * older.bands[row, band, kind]


@compiled
def _decayed(weights: Floats) -> np.float32:
    """Returns what is left of a weight from before all actions that made these: n of them weigh (1 - d^n) / (1 - d)."""
    total = np.float32(0)
    for each in weights:
        for weight in each:
            total += weight
    return max(np.float32(0), np.float32(1) - (np.float32(1) - DECAY) * total)


@compiled
def _add_entry(
    keys: NDArray[np.uint64], weights: Floats, key: np.uint64, older: Floats, kept: np.float32, field: int
) -> None:
    """Adds an entry of before to those of a field (ENTRIES,), behind them; where there is no room, only if it weighs
    more than the one that gives way."""
    at, least = -1, np.float32(0)
    for entry in range(ENTRIES):
        if keys[entry] == 0 or alike(keys[entry], key, field):
            at = entry
            break
    if at < 0:
        for kind in range(len(older)):
            least += kept * older[kind]
        for entry in range(ENTRIES):
            total = weights[entry].sum()
            if total < least:
                at, least = entry, total
        if at < 0:
            return
        for entry in range(at, ENTRIES - 1):
            keys[entry] = keys[entry + 1]
            weights[entry, :] = weights[entry + 1]
        at = ENTRIES - 1
        keys[at] = 0
    if keys[at] == 0:
        weights[at, :] = np.float32(0)
    if keys[at] < BUCKETS[field]:
        keys[at] = key
    for kind in range(len(older)):
        weights[at, kind] += kept * older[kind]
