"""Which items go together: what followed each item in users' sequences, and what it followed.

Shapes: A actions of all sequences, I items, E kept pairs.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW: Final = 10  # actions apart, at most; a pair that is g apart weighs 1 / g
MOST: Final = 128  # neighbours kept of an item: the heaviest


class Neighbours(NamedTuple):
    """The neighbours of item i are at `starts[i]` to `starts[i + 1]`, heaviest first."""

    starts: NDArray[np.int64]  # (I + 1,)
    items: NDArray[np.int32]  # (E,)
    shares: NDArray[np.float32]  # (E,) of the weight of all neighbours of the item, dropped ones included


def neighbours(
    items: NDArray[np.int64], offsets: NDArray[np.int64], weights: NDArray[np.float64], size: int
) -> tuple[Neighbours, Neighbours]:
    """What followed each of `size` items, and what it followed, in sequences of items (A,) with their `offsets`.

    `weights` (A,) are of the later item of a pair: what newer actions say can count more.
    """
    before, after, pair_weights = _pairs(items, offsets, weights)
    return _rows(before, after, pair_weights, size), _rows(after, before, pair_weights, size)


def _pairs(
    items: NDArray[np.int64], offsets: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    found = []
    for gap in range(1, WINDOW + 1):
        together = np.flatnonzero(sequence[gap:] == sequence[:-gap])
        found.append((items[together], items[together + gap], weights[together + gap] / gap))
    before, after, pair_weights = (np.concatenate(column) for column in zip(*found, strict=True))
    return before, after, pair_weights


def _rows(of: NDArray[np.int64], to: NDArray[np.int64], weights: NDArray[np.float64], size: int) -> Neighbours:
    """Sums the weights of equal pairs and keeps the heaviest of each row."""
    pairs, places = np.unique(of * size + to, return_inverse=True)
    sums = np.bincount(places, weights=weights, minlength=len(pairs))
    rows, columns = pairs // max(1, size), pairs % max(1, size)
    totals = np.bincount(rows, weights=sums, minlength=size)
    order = np.lexsort((-sums, rows))
    rows, columns, sums = rows[order], columns[order], sums[order]
    starts = np.searchsorted(rows, np.arange(size + 1))
    kept = np.arange(len(rows)) - starts[rows] < MOST
    shares = sums[kept] / totals[rows[kept]]
    return Neighbours(
        starts=np.searchsorted(rows[kept], np.arange(size + 1)).astype(np.int64),
        items=columns[kept].astype(np.int32),
        shares=shares.astype(np.float32),
    )
