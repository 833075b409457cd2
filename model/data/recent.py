"""What users did last, as candidates, features of a purchase and answers read it.

Shapes: M answers, A actions in all.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import types_of
from model.data.events import SEARCH
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary

NO_ITEM: Final = -1

RECENT: Final = 32  # last actions of a user that are looked at


class Recent(NamedTuple):
    """The last actions of the users who get answers: those of answer n are `starts[n]` to `stops[n]`, oldest first."""

    items: NDArray[np.int32]  # (A,); -1: a search or an item that is not in the catalogue
    contexts: NDArray[np.uint32]  # (A,)
    starts: NDArray[np.int64]  # (N,)
    stops: NDArray[np.int64]  # (N,)

    def part(self, part: slice | NDArray[np.int64]) -> Recent:
        """The same for some of the answers."""
        return self._replace(starts=self.starts[part], stops=self.stops[part])


def catalogue_items(
    vocabulary: Vocabulary, item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32]
) -> NDArray[np.int32]:
    """Catalogue indices; -1 for a search and for an item that is not in the catalogue."""
    known = np.maximum(vocabulary.rows_of(item_keys) - ITEM_BUCKETS, NO_ITEM)
    return np.where(types_of(contexts) == SEARCH, NO_ITEM, known).astype(np.int32)
