"""The words of searches: a search's key says which one it is, and beside it stand the words that it has.

A search is known by the 64-bit hash of its normalised text: folded case, and its words with one blank between them.
The words are hashes of its first words in 65,520 buckets, so that sequences can be encoded by any version.
65,520 is 16 x 4,095: the network's 4,095 buckets follow from them exactly.
Shapes: Q searches, N keys.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

MOST_WORDS: Final = 12  # of a search that are kept
BUCKETS: Final = 65_520  # of a word, from 1 on; 0: there is no such word
NETWORK_WORDS: Final = 5  # of a search that the network reads, the first ones
NETWORK_BUCKETS: Final = 4_095  # of a word that the network reads, from 1 on

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class QueryWords:
    """Searches and their words, in any order; one may be there several times."""

    keys: NDArray[np.uint64]  # (Q,)
    words: NDArray[np.uint16]  # (Q, MOST_WORDS) buckets; 0 behind the last word

    def __len__(self) -> int:
        return len(self.keys)


NO_QUERIES: Final = QueryWords(np.zeros(0, np.uint64), np.zeros((0, MOST_WORDS), np.uint16))


def query_key(query: str) -> int:
    """Returns the 64-bit key of a search, never 0: the hash of its words, case-folded, with one blank between them."""
    return _key_of(_WORD.findall(query.casefold()))


def read_queries(texts: Sequence[str]) -> tuple[NDArray[np.uint64], QueryWords]:
    """Returns the key of each text (N,), and the words of them all."""
    if not texts:
        return NO_QUERIES.keys, NO_QUERIES
    rows: dict[str, int] = {}
    indices = [rows.setdefault(text, len(rows)) for text in texts]
    words = np.zeros((len(rows), MOST_WORDS), np.uint16)
    keys = np.zeros(len(rows), np.uint64)
    for text, row in rows.items():
        found = _WORD.findall(text.casefold())
        keys[row] = _key_of(found)
        for position, word in enumerate(found[:MOST_WORDS]):
            words[row, position] = 1 + xxh3_64_intdigest(word.encode()) % BUCKETS
    return keys[indices], QueryWords(keys, words)


def joined_queries(several: Sequence[QueryWords]) -> QueryWords:
    """Returns the searches of several together."""
    given = [queries for queries in several if len(queries)]
    if not given:
        return NO_QUERIES
    return QueryWords(np.concatenate([one.keys for one in given]), np.concatenate([one.words for one in given]))


def _key_of(words: Sequence[str]) -> int:
    return xxh3_64_intdigest(" ".join(words).encode()) or 1
