"""The words of searches: a search's key says which one it is, and beside it stand the words that it has.

A search is known by the 64-bit hash of its words (`query_text`) with one blank between them: texts that differ in case,
width, composition or signs are one search. Beside it stand the hashes of its words in 65,520 buckets, so that
sequences can be encoded by any version. 65,520 is 16 x 4,095: smaller tables of a network follow from them exactly.
Shapes: Q searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.data.query_text import ends_of, words_of

MOST_WORDS: Final = 12  # of a search that are kept
BUCKETS: Final = 65_520  # of a word, from 1 on; 0: there is no such word


@dataclass(frozen=True, slots=True)
class QueryWords:
    """Searches and their words, in any order; one may be there several times."""

    keys: NDArray[np.uint64]  # (Q,)
    words: NDArray[np.uint16]  # (Q, MOST_WORDS) buckets; 0 behind the last word

    def __len__(self) -> int:
        return len(self.keys)


NO_QUERIES: Final = QueryWords(np.zeros(0, np.uint64), np.zeros((0, MOST_WORDS), np.uint16))


def query_key(query: str) -> int:
    """Returns the 64-bit key of a search, never 0: the hash of its words with one blank between them."""
    return _key_of(words_of(query))


def word_keys(query: str) -> list[int]:
    """Returns the 64-bit keys of the words of a search that are kept, in their order; that of a word alone is the key
    of the search for it, but for pairs of characters."""
    return [_key_of([word]) for word in ends_of(words_of(query), MOST_WORDS)]


def read_queries(texts: Sequence[str]) -> tuple[NDArray[np.uint64], QueryWords]:
    """Returns the key of each text (N,), and the words of them all."""
    if not texts:
        return NO_QUERIES.keys, NO_QUERIES
    rows: dict[str, int] = {}
    indices = [rows.setdefault(text, len(rows)) for text in texts]
    words = np.zeros((len(rows), MOST_WORDS), np.uint16)
    keys = np.zeros(len(rows), np.uint64)
    for text, row in rows.items():
        found = words_of(text)
        keys[row] = _key_of(found)
        for position, word in enumerate(ends_of(found, MOST_WORDS)):
            words[row, position] = 1 + xxh3_64_intdigest(word.encode()) % BUCKETS
    return keys[indices], QueryWords(keys, words)


def joined_queries(several: Sequence[QueryWords]) -> QueryWords:
    """Returns the searches of several together."""
    given = [queries for queries in several if len(queries)]
    if not given:
        return NO_QUERIES
    return QueryWords(np.concatenate([one.keys for one in given]), np.concatenate([one.words for one in given]))


def folded_words(words: NDArray[np.int64], buckets: int) -> NDArray[np.int64]:
    """Returns words, buckets of any shape, in fewer buckets, from 1 on; 0 stays 0."""
    folded: NDArray[np.int64] = np.where(words > 0, 1 + (words - 1) % buckets, 0)
    return folded


def _key_of(words: Sequence[str]) -> int:
    return xxh3_64_intdigest(" ".join(words).encode()) or 1
