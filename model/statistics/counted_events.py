"""Events as the statistics count them: columns, in the order of time.

Shapes: N actions, Q searches of a table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts
from model.data.events import SEARCH, Actions, text_hashes
from model.data.query_table import QueryTable
from model.data.sequences import Sequences
from model.statistics.pasts import WORDS


class CountedEvents(NamedTuple):
    """Actions in the order in which they are counted; every array is (N,) but for the words."""

    users: NDArray[np.uint64]  # keys of users, not 0
    item_keys: NDArray[np.uint64]  # of a search its query's
    types: NDArray[np.uint8]
    times: NDArray[np.int64]  # ms
    categories: NDArray[np.uint16]  # buckets; 0: not given
    brands: NDArray[np.uint16]  # buckets; 0: not given
    words: NDArray[np.uint16]  # (N, WORDS) buckets of a search's first words; 0 behind the last

    def select(self, indices: slice | NDArray[np.int64]) -> CountedEvents:
        """Returns some of the actions."""
        return CountedEvents(*[column[indices] for column in self])  # type: ignore[arg-type]


def events_of_actions(actions: Actions) -> CountedEvents:
    """Returns actions as they are counted, in their order."""
    return CountedEvents(
        users=text_hashes(actions.users),
        item_keys=actions.item_keys,
        types=actions.types,
        times=actions.times,
        categories=actions.categories,
        brands=actions.brands,
        words=_words(actions.item_keys, actions.types, QueryTable(actions.queries)),
    )


def events_of_sequences(sequences: Sequences) -> tuple[CountedEvents, NDArray[np.int64]]:
    """Returns the actions of users in the order of time, and the index of each in the sequences, (N,)."""
    order = np.argsort(sequences.times, kind="stable")
    users = np.repeat(sequences.user_keys, np.diff(sequences.offsets))
    fields = unpack_contexts(sequences.contexts[order])
    item_keys, types = sequences.item_keys[order], fields.types.astype(np.uint8)
    events = CountedEvents(
        users=users[order],
        item_keys=item_keys,
        types=types,
        times=sequences.times[order],
        categories=fields.categories.astype(np.uint16),
        brands=fields.brands.astype(np.uint16),
        words=_words(item_keys, types, sequences.queries),
    )
    return events, order


def _words(keys: NDArray[np.uint64], types: NDArray[np.uint8], queries: QueryTable) -> NDArray[np.uint16]:
    """Returns the first words of the searches among N actions, (N, WORDS); of those that are not in the table 0."""
    words = np.zeros((len(keys), WORDS), np.uint16)
    searches = np.flatnonzero(types == SEARCH)
    if len(searches):
        known = queries.queries
        order = np.argsort(known.keys)
        at = np.minimum(np.searchsorted(known.keys[order], keys[searches]), len(order) - 1)
        if len(order):
            rows = order[at]
            words[searches] = np.where((known.keys[rows] == keys[searches])[:, None], known.words[rows, :WORDS], 0)
    return words
