"""The keys that searches had in the first layout of users' records, written down once more: an oracle."""

from __future__ import annotations

import re

from xxhash import xxh3_64_intdigest


def key_of_before(query: str) -> int:
    """The key that a search had before it had one of its own: its first five words, 12 bits each."""
    words = re.findall(r"\w+", query.casefold())[:5]
    return sum((1 + xxh3_64_intdigest(word.encode()) % 4095) << (12 * place) for place, word in enumerate(words))


def words_of_before(key: int) -> list[int]:
    return [key >> (12 * place) & 4095 for place in range(5)]
