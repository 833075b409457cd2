"""Finds the row numbers of 64-bit keys in a hash table with open addressing, by a compiled loop.

Keys are hashes already, so their low bits say in which cell to look first; keys that collide lie in the next free cell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled


class HashTable:
    """Keys (I,) and their rows, 0 to I - 1; of equal keys the first one's row counts."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self.cells = empty_cells(len(keys))
        _fill(self.cells, keys)

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Returns the row of each key, in the same shape; -1 stands for a key that is not there."""
        flat = np.ascontiguousarray(keys).reshape(-1)
        rows = np.empty(len(flat), np.int64)
        _find(self.cells, flat, rows)
        return rows.reshape(keys.shape)


class ChangingHashTable(HashTable):
    """Keys that come, change their rows and go; not for two threads at once."""

    def __init__(self) -> None:
        self.cells = np.zeros((2, 2), np.uint64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, keys: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Gives keys (N,) their rows (N,), new ones or others; of equal keys the last one's row counts."""
        self.reserve(len(keys))
        self._size += _put(self.cells, keys, rows)

    def reserve(self, keys: int) -> None:
        """Makes room for so many more keys."""
        if 2 * (self._size + keys) > len(self.cells):
            bigger = empty_cells(self._size + keys)
            _move(self.cells, bigger)
            self.cells = bigger

    def note_added(self, keys: int) -> None:
        """Takes note of keys that a compiled loop has put into the cells, for which room was reserved."""
        self._size += keys

    def remove(self, keys: NDArray[np.uint64]) -> None:
        """Takes keys (N,) away; those that are not there are passed over."""
        self._size -= _remove(self.cells, keys)


def empty_cells(keys: int) -> NDArray[np.uint64]:
    """Returns the cells of a table for so many keys.

    At least half of them stay free, so that few keys are looked for in more than two.
    """
    return np.zeros((2 << keys.bit_length(), 2), np.uint64)


@compiled
def cell_of(cells: NDArray[np.uint64], key: np.uint64) -> np.uint64:
    """Returns the cell of a key, or the free one where it would lie. A cell holds a key and its row + 1, or zeros."""
    last = np.uint64(len(cells) - 1)
    cell = key & last
    while cells[cell, 1] != 0 and cells[cell, 0] != key:
        cell = (cell + np.uint64(1)) & last
    return cell


@compiled
def _fill(cells: NDArray[np.uint64], keys: NDArray[np.uint64]) -> None:
    for row in range(len(keys)):
        cell = cell_of(cells, keys[row])
        if cells[cell, 1] == 0:
            cells[cell, 0] = keys[row]
            cells[cell, 1] = np.uint64(row + 1)


@compiled
def find_row(cells: NDArray[np.uint64], key: np.uint64) -> np.int64:
    """Returns the row of one key, or -1: for compiled loops over the cells of a table."""
    return np.int64(cells[cell_of(cells, key), 1]) - np.int64(1)


@compiled
def _find(cells: NDArray[np.uint64], keys: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
    for n in range(len(keys)):
        rows[n] = find_row(cells, keys[n])


@compiled
def _put(cells: NDArray[np.uint64], keys: NDArray[np.uint64], rows: NDArray[np.int64]) -> int:
    """Returns how many keys were not there before."""
    fresh = 0
    for n in range(len(keys)):
        cell = cell_of(cells, keys[n])
        fresh += cells[cell, 1] == 0
        cells[cell, 0] = keys[n]
        cells[cell, 1] = np.uint64(rows[n] + 1)
    return fresh


@compiled
def _move(cells: NDArray[np.uint64], bigger: NDArray[np.uint64]) -> None:
    for n in range(len(cells)):
        if cells[n, 1] != 0:
            cell = cell_of(bigger, cells[n, 0])
            bigger[cell, 0] = cells[n, 0]
            bigger[cell, 1] = cells[n, 1]


@compiled
def _remove(cells: NDArray[np.uint64], keys: NDArray[np.uint64]) -> int:
    """Returns how many keys were there. A cell behind the freed one moves there if it would no longer be found (Knuth,
    Sorting and Searching, 6.4, algorithm R)."""
    removed, last = 0, np.uint64(len(cells) - 1)
    for n in range(len(keys)):
        free = cell_of(cells, keys[n])
        if cells[free, 1] == 0:
            continue
        removed += 1
        cell = (free + np.uint64(1)) & last
        while cells[cell, 1] != 0:
            if (cell - cells[cell, 0]) & last >= (cell - free) & last:
                cells[free, 0], cells[free, 1] = cells[cell, 0], cells[cell, 1]
                free = cell
            cell = (cell + np.uint64(1)) & last
        cells[free, 0] = cells[free, 1] = np.uint64(0)
    return removed
