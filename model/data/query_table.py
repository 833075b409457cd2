"""A table from the keys of searches to their words, looked up and filled by compiled loops.

Shapes: Q searches, N keys, W words of the longest search among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.queries import MOST_WORDS, NO_QUERIES, QueryWords, joined_queries
from model.kernels.compiled import compiled
from model.kernels.hash_table import cell_of, empty_cells, find_row

_LEAST_ROWS: Final = 16  # of a table


class QueryTable:
    """A table from the keys of searches to their words, which grows."""

    def __init__(self, queries: QueryWords = NO_QUERIES) -> None:
        self.cells = empty_cells(_LEAST_ROWS)
        self.words: NDArray[np.uint16] = np.zeros((_LEAST_ROWS, MOST_WORDS), np.uint16)  # those in use come first
        self._size = 0
        self.add(queries)

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        return self.cells.nbytes + self.words.nbytes

    @property
    def queries(self) -> QueryWords:
        """All searches, each once, in the order in which they came."""
        keys = np.empty(self._size, np.uint64)
        _list_keys(self.cells, keys)
        return QueryWords(keys, self.words[: self._size])

    def add(self, queries: QueryWords) -> None:
        """Takes in searches. Of a key that is known the words stay, unless it had none."""
        if not len(queries):
            return
        self._make_room(self._size + len(queries))
        self._size = _insert(self.cells, self.words, self._size, queries.keys, queries.words)

    def _make_room(self, rows: int) -> None:
        if rows <= len(self.words):
            return
        rows = max(rows, 2 * len(self.words))
        known, words = self.queries, np.zeros((rows, MOST_WORDS), np.uint16)
        self.cells = empty_cells(rows)
        _insert(self.cells, words, 0, known.keys, known.words)
        self.words = words

    def words_of(self, keys: NDArray[np.uint64], searches: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Returns the buckets of the words of the searches among N keys, (N, W), W at least 1; else 0.

        Raises `LookupError` for a search that is not in the table.
        """
        rows = np.empty(len(keys), np.int64)
        most = _find_searches(self.cells, self.words, keys, searches, rows)
        if most < 0:
            raise LookupError(f"the words of search {keys[~most]} are not in the table")
        words = np.zeros((len(keys), max(most, 1)), np.int64)
        words[searches] = self.words[rows[searches], : words.shape[1]]
        return words


def joined_tables(tables: Sequence[QueryTable]) -> QueryTable:
    """Returns a table of the searches of several; of the same one several times, that one."""
    distinct = list({id(table): table for table in tables}.values())
    if len(distinct) == 1:
        return distinct[0]
    return QueryTable(joined_queries([table.queries for table in distinct]))


@compiled
def _insert(
    cells: NDArray[np.uint64],
    table: NDArray[np.uint16],
    size: int,
    keys: NDArray[np.uint64],
    words: NDArray[np.uint16],
) -> int:
    """Adds searches (Q,) to a table that has room for them; returns its new size."""
    for n in range(len(keys)):
        cell = cell_of(cells, keys[n])
        row = int(cells[cell, 1]) - 1
        if row < 0:
            row = size
            size += 1
            cells[cell, 0], cells[cell, 1] = keys[n], np.uint64(size)
            table[row] = words[n]
        elif table[row, 0] == 0:
            table[row] = words[n]
    return size


@compiled
def _list_keys(cells: NDArray[np.uint64], keys: NDArray[np.uint64]) -> None:
    """Fills in the keys (Q,) by row."""
    for cell in range(len(cells)):
        if cells[cell, 1] != 0:
            keys[np.int64(cells[cell, 1]) - 1] = cells[cell, 0]


@compiled
def _find_searches(
    cells: NDArray[np.uint64],
    table: NDArray[np.uint16],
    keys: NDArray[np.uint64],
    searches: NDArray[np.bool_],
    rows: NDArray[np.int64],
) -> int:
    """Fills in the rows (N,) of searches; returns W or, for the first one that is not in the table, ~n."""
    most = 0
    for n in range(len(keys)):
        if searches[n]:
            rows[n] = find_row(cells, keys[n])
            if rows[n] < 0:
                return ~n
            while most < table.shape[1] and table[rows[n], most] != 0:
                most += 1
    return most
