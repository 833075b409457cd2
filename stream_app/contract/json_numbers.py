"""Writes numbers as JSON in compiled loops."""

from __future__ import annotations

from typing import Final

import numpy as np

from model.kernels.compiled import compiled
from stream_app.contract.string_columns import Bytes

_MICRO: Final = 1_000_000  # probabilities are written in millionths
_DASH, _ZERO, _POINT = (ord(character) for character in "-0.")
_TEN: Final = np.uint64(10)
# The two digits of each number below 100.
_PAIRS: Final = np.frombuffer("".join(f"{pair:02}" for pair in range(100)).encode(), np.uint8)


@compiled
def probability(out: Bytes, at: int, value: float) -> int:
    """Writes a probability with six decimals and returns where it ends, or -1 if the value is not one."""
    if not -0.5e-6 <= value < 1 + 0.5e-6:
        return -1
    micro = np.uint64(value * _MICRO + 0.5)
    out[at] = _ZERO + micro // np.uint64(_MICRO)
    out[at + 1] = _POINT
    for digit in range(6, 0, -2):
        pair = np.uint64(2) * (micro % np.uint64(100))
        out[at + digit], out[at + digit + 1] = _PAIRS[pair], _PAIRS[pair + np.uint64(1)]
        micro //= np.uint64(100)
    return at + 8


@compiled
def integer(out: Bytes, at: int, value: int) -> int:
    """Writes an integer of 64 bits and returns where it ends."""
    size = np.uint64(value)
    if value < 0:
        out[at] = _DASH
        at, size = at + 1, np.uint64(0) - size  # unsigned, as the least integer has no positive counterpart
    digits, rest = 1, size // _TEN
    while rest:
        digits, rest = digits + 1, rest // _TEN
    for digit in range(at + digits - 1, at - 1, -1):
        out[digit] = _ZERO + np.uint8(size % _TEN)
        size //= _TEN
    return at + digits
