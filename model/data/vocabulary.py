"""The items that the model knows: a row for each, and hash buckets for the items that it does not know yet.

Rows 0..ITEM_BUCKETS-1 of the item table are the buckets; item i of the vocabulary has row ITEM_BUCKETS + i. New items
are appended, and those that nobody touches for long leave; the others keep their order, but not their rows: weights are
carried over by the items' keys.
Shapes: I items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.contexts import CONTEXT_SLICES, fill_context_rows, type_of
from model.data.events import SEARCH, item_key
from model.data.query_table import QueryTable
from model.kernels.compiled import compiled
from model.kernels.cuda import on_device
from model.kernels.hash_table import HashTable, find_row

ITEM_BUCKETS: Final = 1024  # rows for all items that are not in the vocabulary


_NO_QUERIES: Final = QueryTable()  # for actions without a search


@dataclass(frozen=True, slots=True)
class Tokens:
    """The network's input: tensors of one shape (...), int64 except for `searches`."""

    items: Tensor  # rows of the item table
    searches: Tensor  # whether the action is a search, bool
    contexts: Tensor  # (..., 6) rows of the context table
    words: Tensor  # (..., W) buckets of a search's words, else 0; (..., 0) where none of the actions is a search

    def to(self, device: torch.device) -> Tokens:
        """Moves the tokens to a device."""
        if device == self.items.device:
            return self
        return Tokens(*[on_device(each, device) for each in (self.items, self.searches, self.contexts, self.words)])

    def __getitem__(self, index: object) -> Tokens:
        return Tokens(*(getattr(self, name)[index] for name in self.__slots__))


class Vocabulary:
    """Item ids in row order, and a table from their keys to rows."""

    def __init__(self, items: Sequence[str], last_seen: NDArray[np.int64] | None = None) -> None:
        """`last_seen` (I,), if known: the time (ms) of the newest action on each item."""
        self.items: tuple[str, ...] = tuple(items)
        self.last_seen = last_seen
        # A collision of two ids (about 3 in 10^8 at a million items) leaves the later one without traffic.
        self.item_keys: NDArray[np.uint64] = np.array([item_key(item) for item in self.items], np.uint64)
        self.table = HashTable(self.item_keys)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def rows(self) -> int:
        """The number of rows of the item table, buckets included."""
        return ITEM_BUCKETS + len(self.items)

    def rows_of(self, item_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Returns the rows of item keys, same shape: the item's own or, if it is unknown, its hash bucket's."""
        buckets = (item_keys % np.uint64(ITEM_BUCKETS)).astype(np.int64)
        indices = self.table.find(item_keys)
        return np.where(indices >= 0, ITEM_BUCKETS + indices, buckets)

    def tokens(
        self, item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32], queries: QueryTable = _NO_QUERIES
    ) -> Tokens:
        """Returns the network's input for actions of any shape, on the CPU; `queries` has the words of the searches.

        Raises `LookupError` for a search that is not there.
        """
        keys, packed = np.ascontiguousarray(item_keys).reshape(-1), np.ascontiguousarray(contexts).reshape(-1)
        items, searches = np.empty(len(keys), np.int64), np.empty(len(keys), np.bool_)
        rows = np.empty((len(keys), len(CONTEXT_SLICES)), np.int64)
        found = _fill_tokens(self.table.cells, keys, packed, items, searches, rows)
        words = queries.words_of(keys, searches) if found else np.zeros((len(keys), 0), np.int64)
        columns = (items, searches, rows, words)
        return Tokens(*[torch.from_numpy(each.reshape(*item_keys.shape, *each.shape[1:])) for each in columns])

    def seen(self, times: NDArray[np.int64], since: float) -> Vocabulary:
        """Returns the items that were last seen (I,) at or after a time (ms), in the same order."""
        stay = times >= since
        return Vocabulary([item for item, stays in zip(self.items, stay.tolist(), strict=True) if stays], times[stay])

    def grown(self, items: Iterable[str]) -> Vocabulary:
        """Returns this vocabulary with the unknown ones among `items` appended, in their order."""
        known = set(self.items)
        fresh = [item for item in dict.fromkeys(items) if item not in known]
        return Vocabulary([*self.items, *fresh]) if fresh else self


@compiled
def item_row(cells: NDArray[np.uint64], item_key: np.uint64) -> np.int64:
    """Returns the row of one item key, by a vocabulary's table: see `Vocabulary.rows_of`."""
    row = find_row(cells, item_key)
    return np.int64(ITEM_BUCKETS) + row if row >= 0 else np.int64(item_key & np.uint64(ITEM_BUCKETS - 1))


@compiled
def _fill_tokens(
    cells: NDArray[np.uint64],
    item_keys: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
    items: NDArray[np.int64],
    searches: NDArray[np.bool_],
    rows: NDArray[np.int64],
) -> bool:
    """Fills in items (N,), searches (N,) and the context table's rows (N, 6); tells whether there is a search."""
    found = False
    for n in range(len(item_keys)):
        searches[n] = type_of(contexts[n]) == SEARCH
        items[n] = 0 if searches[n] else item_row(cells, item_keys[n])
        fill_context_rows(contexts[n], rows[n])
        found |= searches[n]
    return found
