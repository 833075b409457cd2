"""What is remembered of the users whose events are counted: the last items of each, and how long they have been here.

Users lie in sets of eight places; where a set is full and the table may not grow, the one not seen longest ago goes.

Shapes: S sets, W places of a set, L last actions on items.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.covisits import COVISIT_WINDOW
from model.kernels.compiled import compiled

WAYS: Final = 8  # places of a set
WORDS: Final = 4  # of a query that are counted as sources, the first ones
_LEAST_SETS: Final = 256
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)  # odd: keys may be small numbers


class UserPasts(NamedTuple):
    """Users, each in a place of the set that their key leads to."""

    keys: NDArray[np.uint64]  # (S, W); 0: nobody
    actions: NDArray[np.int32]  # (S, W) counted so far
    firsts: NDArray[np.int64]  # (S, W) ms, time of the first action
    lasts: NDArray[np.int64]  # (S, W) ms, time of the newest action
    items: NDArray[np.uint64]  # (S, W, L) keys, a ring; 0: none
    kinds: NDArray[np.uint8]  # (S, W, L) types of these actions
    heads: NDArray[np.int64]  # (S, W) actions on items so far: the next one's place is its remainder by L
    queries: NDArray[np.uint64]  # (S, W) key of the last search; 0: none
    words: NDArray[np.uint16]  # (S, W, WORDS) of it
    since_query: NDArray[np.int64]  # (S, W) actions on items since then


def new_pasts(sets: int = _LEAST_SETS) -> UserPasts:
    """Returns places for 8 times so many users, a power of two; all are empty."""
    shape = (sets, WAYS)
    return UserPasts(
        keys=np.zeros(shape, np.uint64),
        actions=np.zeros(shape, np.int32),
        firsts=np.zeros(shape, np.int64),
        lasts=np.zeros(shape, np.int64),
        items=np.zeros((*shape, COVISIT_WINDOW), np.uint64),
        kinds=np.zeros((*shape, COVISIT_WINDOW), np.uint8),
        heads=np.zeros(shape, np.int64),
        queries=np.zeros(shape, np.uint64),
        words=np.zeros((*shape, WORDS), np.uint16),
        since_query=np.zeros(shape, np.int64),
    )


def nbytes_of(pasts: UserPasts) -> int:
    """Returns the bytes of all places."""
    return sum(array.nbytes for array in pasts)


def grown(pasts: UserPasts) -> UserPasts:
    """Returns twice as many places with the same users."""
    bigger = new_pasts(2 * len(pasts.keys))
    _move(pasts, bigger)
    return bigger


@compiled
def place_of(pasts: UserPasts, key: np.uint64) -> tuple[int, int]:
    """Returns set and place of a user, or the place that a new user takes: an empty one, else the oldest user's."""
    row = int((key * _MIXER >> np.uint64(32)) & np.uint64(len(pasts.keys) - 1))
    oldest = 0
    for way in range(WAYS):
        if pasts.keys[row, way] == key or pasts.keys[row, way] == 0:
            return row, way
        if pasts.lasts[row, way] < pasts.lasts[row, oldest]:
            oldest = way
    return row, oldest


@compiled
def begin_user(pasts: UserPasts, row: int, way: int, key: np.uint64, time: int) -> None:
    """Puts a user without a past into a place."""
    pasts.keys[row, way] = key
    pasts.actions[row, way] = 0
    pasts.firsts[row, way] = pasts.lasts[row, way] = time
    pasts.heads[row, way] = 0
    pasts.queries[row, way] = 0
    for at in range(COVISIT_WINDOW):
        pasts.items[row, way, at] = 0


@compiled
def full_sets(pasts: UserPasts) -> int:
    """Returns how many sets have no empty place."""
    count = 0
    for row in range(len(pasts.keys)):
        count += pasts.keys[row, WAYS - 1] != 0  # places are taken from the first on, and never given up
    return count


@compiled
def _move(pasts: UserPasts, bigger: UserPasts) -> None:
    for row in range(len(pasts.keys)):
        for way in range(WAYS):
            if pasts.keys[row, way] != 0:
                to, at = place_of(bigger, pasts.keys[row, way])
                bigger.keys[to, at] = pasts.keys[row, way]
                bigger.actions[to, at] = pasts.actions[row, way]
                bigger.firsts[to, at] = pasts.firsts[row, way]
                bigger.lasts[to, at] = pasts.lasts[row, way]
                bigger.items[to, at] = pasts.items[row, way]
                bigger.kinds[to, at] = pasts.kinds[row, way]
                bigger.heads[to, at] = pasts.heads[row, way]
                bigger.queries[to, at] = pasts.queries[row, way]
                bigger.words[to, at] = pasts.words[row, way]
                bigger.since_query[to, at] = pasts.since_query[row, way]
