"""The rows of the statistics as arrays, and the compiled steps on one row.

A row's neighbours lie heaviest first. Weights of a row are in units that double with each tick of its clock: what is
counted now is worth 2 ** (clock - base), so that nothing has to be touched for time to pass.

Shapes: R rows of items, S rows of sources, K neighbours of a row.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import Floats, compiled, uncounted

NOBODY: Final = -1  # a neighbour that is not there
MOST_TICKS: Final = 24.0  # of a row's clock between two changes of its base: float32 has as many bits


class NeighbourRows(NamedTuple):
    """Neighbours of R rows, heaviest first."""

    items: NDArray[np.int32]  # (R, K) rows of items; NOBODY behind the last
    weights: Floats  # (R, K)
    totals: Floats  # (R,) weight of all that were ever neighbours, also of those that are no longer in the row


class ItemRows(NamedTuple):
    """What is known of each item."""

    keys: NDArray[np.uint64]  # (R,)
    times: NDArray[np.int64]  # (R,) ms, of the newest action that counted for it; 0: none did yet
    bases: NDArray[np.float64]  # (R, 2) readings of the clocks, SLOW and FAST, at which a weight of 1 was counted as 1
    counts: Floats  # (R, 2) weight of its actions: of all, and of those of late
    levels: Floats  # (R, 2) logarithms (base 2) of counts, comparable between rows: less the clock, they are today's
    categories: NDArray[np.uint16]  # (R,) buckets; 0: unknown
    brands: NDArray[np.uint16]  # (R,) buckets; 0: unknown
    followers: NeighbourRows  # of the SLOW clock
    predecessors: NeighbourRows  # of the SLOW clock
    recent: NeighbourRows  # followers of late, of the FAST clock


class SourceRows(NamedTuple):
    """What follows something else than any action on an item: an item in the cart, a purchase, a query, a word."""

    keys: NDArray[np.uint64]  # (S,)
    times: NDArray[np.int64]  # (S,) ms
    bases: NDArray[np.float64]  # (S,) of the SLOW clock
    followers: NeighbourRows  # (S, K)


def new_neighbours(rows: int, most: int) -> NeighbourRows:
    """Returns empty rows of at most so many neighbours."""
    items = np.full((rows, most), NOBODY, np.int32)
    return NeighbourRows(items, np.zeros((rows, most), np.float32), np.zeros(rows, np.float32))


@uncounted
def add_neighbour(rows: NeighbourRows, row: int, item: int, weight: np.float32) -> None:
    """Adds weight to a neighbour of a row; a new one takes the place of the lightest where the row is full."""
    items, weights = rows.items, rows.weights
    last = items.shape[1] - 1
    at = 0
    while at < last and items[row, at] != item and items[row, at] != NOBODY:
        at += 1
    if items[row, at] == item:
        weight += weights[row, at]
    while at > 0 and weights[row, at - 1] < weight:
        items[row, at], weights[row, at] = items[row, at - 1], weights[row, at - 1]
        at -= 1
    items[row, at], weights[row, at] = item, weight


@uncounted
def scale_row(rows: NeighbourRows, row: int, factor: np.float32) -> None:
    """Multiplies all weights of a row."""
    rows.totals[row] *= factor
    for at in range(rows.weights.shape[1]):
        rows.weights[row, at] *= factor


@compiled
def item_units(rows: ItemRows, row: int, slow: float, fast: float) -> tuple[float, float]:
    """Returns what 1 is worth now in a row's units, by the clocks; where that is too much, the row gets a new base."""
    if slow - rows.bases[row, 0] > MOST_TICKS:
        factor = np.float32(2.0 ** (rows.bases[row, 0] - slow))
        rows.counts[row, 0] *= factor
        scale_row(rows.followers, row, factor)
        scale_row(rows.predecessors, row, factor)
        rows.bases[row, 0] = slow
    if fast - rows.bases[row, 1] > MOST_TICKS:
        factor = np.float32(2.0 ** (rows.bases[row, 1] - fast))
        rows.counts[row, 1] *= factor
        scale_row(rows.recent, row, factor)
        rows.bases[row, 1] = fast
    return 2.0 ** (slow - rows.bases[row, 0]), 2.0 ** (fast - rows.bases[row, 1])


@compiled
def source_unit(rows: SourceRows, row: int, slow: float) -> float:
    """Does for a source what `item_units` does for an item."""
    if slow - rows.bases[row] > MOST_TICKS:
        scale_row(rows.followers, row, np.float32(2.0 ** (rows.bases[row] - slow)))
        rows.bases[row] = slow
    return float(2.0 ** (slow - rows.bases[row]))
