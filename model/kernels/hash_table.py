"""From 64-bit objects to rows: a hash table with open addressing, looked up by a compiled loop.

Objects are hashes already, so their low bits say where to look; what collides lies in the next free cell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled


class HashTable:
    """Objects (I,) and their places; of equal ones the first is found."""

    def __init__(self, item_keys: NDArray[np.uint64]) -> None:
        # At least half of the cells are free, so that few objects are looked for in more than two.
        self._cells: NDArray[np.uint64] = np.zeros((2 << len(item_keys).bit_length(), 2), np.uint64)
        _fill(self._cells, item_keys)

    def find(self, item_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The place of each object, same shape; -1: it is not there."""
        flat = np.ascontiguousarray(item_keys).reshape(-1)
        found = np.empty(len(flat), np.int64)
        _find(self._cells, flat, found)
        return found.reshape(item_keys.shape)


@compiled
def _cell(cells: NDArray[np.uint64], wanted: np.uint64) -> np.uint64:
    """The cell of an object, or the free one where it would lie. A cell is the object, and its place + 1 or 0."""
    last = np.uint64(len(cells) - 1)
    cell = wanted & last
    while cells[cell, 1] != 0 and cells[cell, 0] != wanted:
        cell = (cell + np.uint64(1)) & last
    return cell


@compiled
def _fill(cells: NDArray[np.uint64], item_keys: NDArray[np.uint64]) -> None:
    for place in range(len(item_keys)):
        cell = _cell(cells, item_keys[place])
        if cells[cell, 1] == 0:
            cells[cell, 0] = item_keys[place]
            cells[cell, 1] = np.uint64(place + 1)


@compiled
def _find(cells: NDArray[np.uint64], item_keys: NDArray[np.uint64], found: NDArray[np.int64]) -> None:
    for n in range(len(item_keys)):
        found[n] = np.int64(cells[_cell(cells, item_keys[n]), 1]) - 1
