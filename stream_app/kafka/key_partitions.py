"""Tells on which partition Kafka's default partitioner puts a key, in one compiled loop for many keys.

That is MurmurHash2 of the key with Kafka's seed, its sign bit cleared, modulo the number of partitions
(`Utils.murmur2` and `BuiltInPartitioner` of Kafka's Java clients; aiokafka's default, librdkafka's `murmur2_random`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled
from stream_app.contract.string_columns import Bytes, Ints, Strings

_SEED: Final = np.uint64(0x9747B28C)
_MULTIPLIER: Final = np.uint64(0x5BD1E995)
_MASK: Final = np.uint64(0xFFFFFFFF)  # the hash has 32 bits; the loops compute with 64, as numba would do anyway
_POSITIVE: Final = np.uint64(0x7FFFFFFF)


@compiled
def misplaced_keys(keys: Strings, partitions: Ints, count: int, lines: NDArray[np.uint16]) -> int:
    """Counts the events whose partition is not the one of `count` that the default partitioner chooses for their key.

    Keys, `partitions` and `lines` (N,) are of their actions; `lines` as in `Actions`.
    """
    misplaced = 0
    for n in range(len(partitions)):
        if lines[n] > 0:
            continue
        positive = _murmur2(keys.text, keys.starts[n], keys.starts[n + 1]) & _POSITIVE
        misplaced += np.int64(positive % np.uint64(count)) != partitions[n]
    return misplaced


@compiled
def key_partitions(keys: Strings, count: int) -> Ints:
    """Returns the partition of `count` that the default partitioner chooses for each of N keys, (N,)."""
    partitions = np.empty(len(keys.starts) - 1, np.int64)
    for n in range(len(partitions)):
        positive = _murmur2(keys.text, keys.starts[n], keys.starts[n + 1]) & _POSITIVE
        partitions[n] = np.int64(positive % np.uint64(count))
    return partitions


@compiled
def _murmur2(text: Bytes, start: int, end: int) -> np.uint64:
    """Hashes the bytes of a text from `start` to `end` to 32 bits."""
    size = end - start
    hashed = _SEED ^ np.uint64(size)
    whole = start + size // 4 * 4
    for at in range(start, whole, 4):
        word = (
            np.uint64(text[at])
            | np.uint64(text[at + 1]) << np.uint64(8)
            | np.uint64(text[at + 2]) << np.uint64(16)
            | np.uint64(text[at + 3]) << np.uint64(24)
        )
        word = word * _MULTIPLIER & _MASK
        word = (word ^ word >> np.uint64(24)) * _MULTIPLIER & _MASK
        hashed = (hashed * _MULTIPLIER & _MASK) ^ word
    if whole < end:
        for at in range(whole, end):
            hashed ^= np.uint64(text[at]) << np.uint64(8 * (at - whole))
        hashed = hashed * _MULTIPLIER & _MASK
    hashed = (hashed ^ hashed >> np.uint64(13)) * _MULTIPLIER & _MASK
    return hashed ^ hashed >> np.uint64(15)
