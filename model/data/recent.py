"""The last actions of users, as candidates, purchase features and answers read them.

Shapes: N answers, A actions in all.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import type_of, types_of
from model.data.events import SEARCH
from model.data.sequences import Sequences
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.kernels.compiled import compiled
from model.kernels.hash_table import find_row

NO_ITEM: Final = -1  # catalogue index of a search and of an item that is not in the catalogue
RECENT_LENGTH: Final = 32  # last actions of a user that count, at most


class RecentActions(NamedTuple):
    """The last actions of the users who get N answers: answer n has `starts[n]` to `stops[n]`, oldest first."""

    items: NDArray[np.int32]  # (A,) catalogue indices or NO_ITEM
    contexts: NDArray[np.uint32]  # (A,)
    starts: NDArray[np.int64]  # (N,)
    stops: NDArray[np.int64]  # (N,)
    item_keys: NDArray[np.uint64]  # (A,) of items, whether the catalogue has them or not, and of searches

    def select(self, answers: slice | NDArray[np.int64]) -> RecentActions:
        """Returns the last actions for some of the answers."""
        return RecentActions(self.items, self.contexts, self.starts[answers], self.stops[answers], self.item_keys)


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
