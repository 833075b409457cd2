"""Writes the ids of predictions in compiled loops.

A prediction's id is a UUIDv5 (RFC 9562) of stream epoch, topic, partition and offset (where a log was cut and gives an
offset again, of the position that `model.state.log_cuts` gives it). Consumers deduplicate by it.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled
from stream_app.contract.json_numbers import integer
from stream_app.contract.string_columns import Bytes, copy

_DASH, _SLASH = ord("-"), ord("/")
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)


def namespace_of(epoch: int, topic: str) -> Bytes:
    """Returns the namespace (16,) of the ids for one epoch of a topic of events."""
    return np.frombuffer(uuid5(UUID(int=0), f"nextact/{epoch}/{topic}").bytes, np.uint8)


class Sha1Scratch(NamedTuple):
    """Memory for hashing one name, kept from prediction to prediction."""

    block: Bytes  # (64,), the padded name
    words: NDArray[np.uint32]  # (80,)


@compiled
def new_scratch() -> Sha1Scratch:
    """Returns memory for `prediction_id`."""
    return Sha1Scratch(np.empty(64, np.uint8), np.empty(80, np.uint32))


@compiled
def prediction_id(out: Bytes, at: int, namespace: Bytes, partition: int, position: int, scratch: Sha1Scratch) -> int:
    """Writes the UUIDv5 of an event's partition and position in its log, in a namespace; returns where it ends."""
    block, words = scratch
    size = copy(block, 0, namespace)
    size = integer(block, size, partition)
    block[size] = _SLASH
    size = integer(block, size + 1, position)
    block[size] = 0x80
    block[size + 1 :] = 0
    block[62], block[63] = (8 * size) >> 8, (8 * size) & 0xFF
    _sha1(block, words)
    for byte in range(16):
        value = np.uint64(words[byte // 4]) >> np.uint64(24 - 8 * (byte % 4)) & np.uint64(0xFF)
        if byte == 6:
            value = value & np.uint64(0x0F) | np.uint64(0x50)
        if byte == 8:
            value = value & np.uint64(0x3F) | np.uint64(0x80)
        if byte in (4, 6, 8, 10):
            out[at] = _DASH
            at += 1
        out[at], out[at + 1] = _HEX[value >> np.uint64(4)], _HEX[value & np.uint64(0x0F)]
        at += 2
    return at


@compiled
def _rotated(word: np.uint32, by: int) -> np.uint32:
    return np.uint32(word << np.uint32(by)) | np.uint32(word >> np.uint32(32 - by))


@compiled
def _sha1(block: Bytes, words: NDArray[np.uint32]) -> None:
    """Computes the SHA-1 (FIPS 180-4) of one padded block (64,) into the first five of `words` (80,)."""
    for w in range(16):
        words[w] = 0
        for byte in range(4):
            words[w] = np.uint32(words[w] << np.uint32(8)) | np.uint32(block[4 * w + byte])
    for w in range(16, 80):
        words[w] = _rotated(words[w - 3] ^ words[w - 8] ^ words[w - 14] ^ words[w - 16], 1)
    h0, h1, h2 = np.uint32(0x67452301), np.uint32(0xEFCDAB89), np.uint32(0x98BADCFE)
    h3, h4 = np.uint32(0x10325476), np.uint32(0xC3D2E1F0)
    a, b, c, d, e = h0, h1, h2, h3, h4
    for w in range(80):
        if w < 20:
            mixed, constant = d ^ b & (c ^ d), np.uint32(0x5A827999)
        elif w < 40:
            mixed, constant = b ^ c ^ d, np.uint32(0x6ED9EBA1)
        elif w < 60:
            mixed, constant = b & c | b & d | c & d, np.uint32(0x8F1BBCDC)
        else:
            mixed, constant = b ^ c ^ d, np.uint32(0xCA62C1D6)
        a, b, c, d, e = np.uint32(_rotated(a, 5) + mixed + e + constant + words[w]), a, _rotated(b, 30), c, d
    words[0], words[1], words[2] = np.uint32(h0 + a), np.uint32(h1 + b), np.uint32(h2 + c)
    words[3], words[4] = np.uint32(h3 + d), np.uint32(h4 + e)
