"""Ranks what goes with an item: what users had to do with right before or after it, and what the network finds similar.

An item's score is the share that it has of all that was beside the other one, as the live statistics count: near in a
user's sequence counts more than far, new more than old. To these counts every item adds its cosine with the other one
in the network's vectors, as if one more action had gone to all of them. So among items that are often seen users
decide, and where little was seen, or nothing yet, the vectors do.

Shapes: K items, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.fusion.fusion import levels_of
from model.fusion.live_items import NO_NUMBER, LiveItems
from model.kernels.compiled import Floats
from model.statistics.rows import NOBODY, NeighbourRows

Counts = dict[int, float]  # by number of an item


class RelatedItems(NamedTuple):
    """Items that go with another one, each once, best first."""

    numbers: NDArray[np.int64]  # (K,)
    scores: Floats  # (K,) from 0 to 1

    def first(self, count: int) -> RelatedItems:
        """Returns the best of them."""
        return RelatedItems(self.numbers[:count], self.scores[:count])


def number_of(live: LiveItems, item_key: int) -> int:
    """Returns the number of an item by its key; NO_NUMBER: it cannot be recommended."""
    row = int(live.rows_of(np.array([item_key], np.uint64))[0])
    return NO_NUMBER if row == NOBODY else int(live.arrays.numbers[row])


def items_beside(live: LiveItems, number: int) -> tuple[Counts, float]:
    """Returns what was beside an item of late, of what may be recommended to everybody, and the weight of all that
    was."""
    row, beside, total = int(live.arrays.rows[number]), Counts(), 0.0
    if row == NOBODY:
        return beside, total
    arrays, shown = live.table.arrays, levels_of(live).shown
    today = 2.0 ** (arrays.items.bases[row, 0] - arrays.clocks[0])
    for rows in (arrays.items.followers, arrays.items.predecessors):
        total += today * float(rows.totals[row])
        for neighbour, weight in _neighbours(rows, row):
            other = int(live.arrays.numbers[neighbour])
            if 0 <= other < live.arrays.known or (other >= 0 and arrays.items.levels[neighbour, 0] >= shown):
                beside[other] = beside.get(other, 0.0) + today * weight
    return beside, total


def _neighbours(rows: NeighbourRows, row: int) -> list[tuple[int, float]]:
    pairs = zip(rows.items[row].tolist(), rows.weights[row].tolist(), strict=True)
    return [(neighbour, weight) for neighbour, weight in pairs if neighbour != NOBODY]


def related_items(
    vectors: Floats, number: int, similar: NDArray[np.int64], beside: Counts, total: float
) -> RelatedItems:
    """Ranks what was beside an item, and what is `similar` by the network's vectors (…, D), all by numbers.

    What has nothing to do with it is left out.
    """
    others = np.array(sorted({*similar.tolist(), *beside} - {number}), np.int64)
    cosines = np.maximum(np.einsum("kd,d->k", vectors[others], vectors[number]), 0)  # no products: see `given_items`
    scores = (np.array([beside.get(other, 0.0) for other in others.tolist()]) + cosines) / (total + 1)
    order = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores)]
    return RelatedItems(others[order], scores[order].astype(np.float32))
