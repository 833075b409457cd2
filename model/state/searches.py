"""The words of searches in users' records: section `searches`, and the keys that layout 1 had for searches instead.

The section holds, for each distinct search among the record's actions: its key (64 bits), how many words are kept (8
bits), and the bucket of each (16 bits), little-endian. A search that the section does not have is one without words.
In layout 1 a search's key is its first words themselves, 12 bits each, the first one lowest, as a small network reads
them.
Shapes: U users, L actions, Q searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import type_of, types_of
from model.data.events import SEARCH
from model.data.queries import MOST_WORDS, QueryWords, folded_words, joined_queries
from model.data.query_table import QueryTable
from model.kernels.compiled import compiled
from model.kernels.hash_table import find_row
from model.state.history_rings import Rings, held
from model.state.record_writer import write_number
from model.state.sections import HEAD_BYTES, SEARCHES
from model.state.user_columns import Sections
from model.state.user_record import FIRST_VERSION, StoredUsers

_LEAST_FORGOTTEN: Final = 65_536  # searches in memory below which nobody looks whether they are still needed
_ENTRY: Final = 9  # bytes of a search without words
_FIRST_WORDS: Final = 5  # of a search that layout 1 has
_FIRST_BUCKETS: Final = 4_095  # of a word in layout 1, from 1 on
_WORD_BITS: Final = 12  # of a word in a key of layout 1


class _Sequences(NamedTuple):
    """The actions of users, oldest first and left-aligned."""

    item_keys: NDArray[np.uint64]  # (U, L)
    contexts: NDArray[np.uint32]  # (U, L)
    sizes: NDArray[np.int64]  # (U,)


class Searches:
    """The words of all searches in the rings of users in memory.

    A search is forgotten when no ring has it any more. That is looked for when there are twice as many as after the
    last look, so that it costs each new search a few steps, however many rings there are.
    """

    def __init__(self) -> None:
        self.table = QueryTable()
        self._most = _LEAST_FORGOTTEN

    def add(self, queries: QueryWords, rings: Rings) -> None:
        """Takes in searches that are about to be in `rings`."""
        if len(self.table) + len(queries) > self._most:
            self.forget(rings)
            self._most = max(_LEAST_FORGOTTEN, 2 * (len(self.table) + len(queries)))
        self.table.add(queries)

    def forget(self, rings: Rings) -> None:
        """Forgets the searches that no ring has."""
        used = np.zeros(len(self.table), np.bool_)
        _find_used(rings, self.table.cells, used)
        known = self.table.queries
        self.table = QueryTable(QueryWords(known.keys[used], known.words[used]))

    def sections(
        self, item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32], sizes: NDArray[np.int64], others: Sections
    ) -> Sections:
        """Returns the sections of users: `searches`, where there are any, and then the `others`."""
        text, starts = _write_sections(
            _Sequences(item_keys, contexts, sizes), self.table.cells, self.table.words, *others
        )
        return text, starts

    def first_keys(self, item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """Returns keys (U, L) as layout 1 has them."""
        searches = (types_of(contexts) == SEARCH).reshape(-1)
        words = folded_words(self.table.words_of(item_keys.reshape(-1), searches)[:, :_FIRST_WORDS], _FIRST_BUCKETS)
        packed = (words << (_WORD_BITS * np.arange(words.shape[1]))).sum(1).astype(np.uint64)
        return np.where(searches, packed, item_keys.reshape(-1)).reshape(item_keys.shape)


def stored_queries(stored: StoredUsers, sections: Sequence[bytes]) -> QueryWords:
    """Returns the words of all searches of users; `sections` are those of `searches`."""
    actions = stored.rows["actions"]
    inside = np.arange(actions.shape[1]) < stored.rows["actions_size"][:, None]
    searches = (types_of(actions["context"]) == SEARCH) & inside
    if not searches.any():
        return joined_queries([])
    first = (stored.rows["version"] == FIRST_VERSION)[:, None]
    others = np.unique(actions["object"][searches & ~first])
    wordless = QueryWords(others, np.zeros((len(others), MOST_WORDS), np.uint16))
    return joined_queries(
        [queries_of_first_keys(np.unique(actions["object"][searches & first])), _read_sections(sections), wordless]
    )


def queries_of_first_keys(keys: NDArray[np.uint64]) -> QueryWords:
    """Returns the words in keys of layout 1 (Q,): a small network's buckets stand for those that are not known."""
    words = np.zeros((len(keys), MOST_WORDS), np.uint16)
    shifts = np.arange(_FIRST_WORDS, dtype=np.uint64) * np.uint64(_WORD_BITS)
    words[:, :_FIRST_WORDS] = (keys[:, None] >> shifts) & np.uint64(_FIRST_BUCKETS)
    return QueryWords(keys, words)


def _read_sections(sections: Sequence[bytes]) -> QueryWords:
    """Returns the searches in sections of `searches`; what is cut off at the end of one is left out."""
    text, ends = np.frombuffer(b"".join(sections), np.uint8), np.cumsum([len(section) for section in sections])
    keys = np.zeros(len(text) // _ENTRY, np.uint64)
    words = np.zeros((len(keys), MOST_WORDS), np.uint16)
    count = _read_entries(text, ends.astype(np.int64), keys, words)
    return QueryWords(keys[:count], words[:count])


@compiled
def _find_used(rings: Rings, cells: NDArray[np.uint64], used: NDArray[np.bool_]) -> None:
    """Fills in which rows of a table (Q,) some ring needs."""
    length = rings.item_keys.shape[1]
    for slot in range(len(rings.counts)):
        for age in range(min(held(rings, slot), length)):
            position = (rings.counts[slot] - 1 - age) % length
            if type_of(rings.contexts[slot, position]) == SEARCH:
                row = find_row(cells, rings.item_keys[slot, position])
                if row >= 0:
                    used[row] = True


@compiled
def _write_sections(
    users: _Sequences,
    cells: NDArray[np.uint64],
    words: NDArray[np.uint16],
    others: NDArray[np.uint8],
    other_starts: NDArray[np.int64],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Writes the sections of users; see `Searches.sections`."""
    n, most = len(users.sizes), len(others)
    for user in range(n):
        count = 0
        for action in range(users.sizes[user]):
            count += type_of(users.contexts[user, action]) == SEARCH
        most += (HEAD_BYTES + count * (_ENTRY + 2 * MOST_WORDS)) if count else 0
    out, starts = np.empty(most, np.uint8), np.zeros(n + 1, np.int64)
    rows = np.empty(users.item_keys.shape[1], np.int64)
    at = 0
    for user in range(n):
        begin, at = at, at + HEAD_BYTES
        known = 0
        for action in range(users.sizes[user]):
            if type_of(users.contexts[user, action]) == SEARCH:
                key = users.item_keys[user, action]
                row = find_row(cells, key)
                if row >= 0 and words[row, 0] != 0 and not _is_in(rows[:known], row):
                    rows[known] = row
                    known += 1
                    at = _write_entry(out, at, key, words[row])
        if known:
            write_number(out, begin, SEARCHES, 2)
            write_number(out, begin + 2, at - begin - HEAD_BYTES, 4)
        else:
            at = begin
        for byte in range(other_starts[user], other_starts[user + 1]):
            out[at] = others[byte]
            at += 1
        starts[user + 1] = at
    return out[:at], starts


@compiled
def _is_in(rows: NDArray[np.int64], row: int) -> bool:
    found = False
    for other in rows:
        found |= other == row
    return found


@compiled
def _write_entry(out: NDArray[np.uint8], at: int, key: np.uint64, words: NDArray[np.uint16]) -> int:
    """Writes a search; returns where it ends."""
    begin, at = at, write_number(out, at, key, 8) + 1
    count = 0
    while count < len(words) and words[count] != 0:
        at = write_number(out, at, words[count], 2)
        count += 1
    out[begin + 8] = count
    return at


@compiled
def _read_entries(
    text: NDArray[np.uint8], ends: NDArray[np.int64], keys: NDArray[np.uint64], words: NDArray[np.uint16]
) -> int:
    """Fills in keys (Q,) and words (Q, MOST_WORDS) of sections that end so; returns how many there are."""
    count, at = 0, 0
    for section in range(len(ends)):
        end = int(ends[section])
        while at + _ENTRY <= end and at + _ENTRY + 2 * int(text[at + 8]) <= end:
            size = int(text[at + 8])
            for byte in range(8):
                keys[count] |= np.uint64(text[at + byte]) << np.uint64(8 * byte)
            for word in range(min(size, MOST_WORDS)):
                low = at + _ENTRY + 2 * word
                bucket = np.uint16(text[low]) | np.uint16(text[low + 1]) << np.uint16(8)
                if bucket == 0:
                    break
                words[count, word] = bucket
            at += _ENTRY + 2 * size
            count += 1
        at = end
    return count
