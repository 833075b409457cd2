"""The last actions of users, as candidates, purchase features and answers read them.

Shapes: N answers, A actions in all, W words of a search that are kept.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import type_of, types_of
from model.data.events import SEARCH
from model.data.queries import NO_QUERIES
from model.data.query_table import QueryTable
from model.data.sequences import Sequences
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.kernels.compiled import compiled
from model.kernels.hash_table import find_row

NO_ITEM: Final = -1  # catalogue index of a search and of an item that is not in the catalogue
RECENT_LENGTH: Final = 32  # last actions of a user that count, at most
AFTER_QUERY: Final = 3  # actions on items that count as what follows a search
_NO_WORDS: Final = NO_QUERIES.words


class RecentActions(NamedTuple):
    """The last actions of the users who get N answers: answer n has `starts[n]` to `stops[n]`, oldest first."""

    items: NDArray[np.int32]  # (A,) catalogue indices or NO_ITEM
    contexts: NDArray[np.uint32]  # (A,)
    starts: NDArray[np.int64]  # (N,)
    stops: NDArray[np.int64]  # (N,)
    item_keys: NDArray[np.uint64]  # (A,) of items, whether the catalogue has them or not, and of searches
    words: NDArray[np.uint16] = _NO_WORDS  # (N, W) of the newest search, if it was a moment ago; (0, W): of nobody

    def select(self, answers: slice | NDArray[np.int64]) -> RecentActions:
        """Returns the last actions for some of the answers."""
        words = self.words[answers] if len(self.words) else self.words
        return RecentActions(
            self.items, self.contexts, self.starts[answers], self.stops[answers], self.item_keys, words
        )

    def with_words(self, searches: QueryTable) -> RecentActions:
        """Adds the words of the newest searches, as a table knows them."""
        if not len(searches):
            return self
        words = np.zeros((len(self.starts), _NO_WORDS.shape[1]), np.uint16)
        _find_words(self.item_keys, self.contexts, self.starts, self.stops, searches.cells, searches.words, words)
        return self._replace(words=words)


def catalogue_items(
    vocabulary: Vocabulary, item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32]
) -> NDArray[np.int32]:
    """Returns the catalogue indices of actions; NO_ITEM for a search and for an item that is not in the catalogue."""
    known = np.maximum(vocabulary.rows_of(item_keys) - ITEM_BUCKETS, NO_ITEM)
    return np.where(types_of(contexts) == SEARCH, NO_ITEM, known).astype(np.int32)


def recent_at(sequences: Sequences, vocabulary: Vocabulary, positions: NDArray[np.int64]) -> RecentActions:
    """Returns the last actions of users right after the actions at positions (N,) of the sequences."""
    starts = sequences.offsets[sequences.users_at(positions)]
    items = catalogue_items(vocabulary, sequences.item_keys, sequences.contexts)
    return RecentActions(items, sequences.contexts, starts, positions + 1, sequences.item_keys)


@compiled
def catalogue_item(cells: NDArray[np.uint64], item_key: np.uint64, context: np.uint32) -> np.int64:
    """Returns the catalogue index of one action, by the cells of the vocabulary's table: for compiled loops."""
    return np.int64(NO_ITEM) if type_of(context) == SEARCH else find_row(cells, item_key)


@compiled
def _find_words(
    item_keys: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    cells: NDArray[np.uint64],
    table: NDArray[np.uint16],
    words: NDArray[np.uint16],
) -> None:
    """Fills in the words (N, W) of each answer's newest search before its last `AFTER_QUERY` actions on items."""
    for n in range(len(starts)):
        for at in range(stops[n] - 1, max(starts[n], stops[n] - AFTER_QUERY) - 1, -1):
            if type_of(contexts[at]) == SEARCH:
                row = find_row(cells, item_keys[at])
                if row >= 0:
                    words[n] = table[row]
                break
