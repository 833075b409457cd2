"""Byte strings as columns, for loops that are compiled: one behind the other, and where each begins.

Shapes: N strings, T bytes of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


class Strings(NamedTuple):
    """Byte strings, one behind the other."""

    text: Bytes  # (T,), not to be written to: the loops are compiled for such arrays only
    starts: Ints  # (N + 1,): of each, and the end of the last


def strings(of: Sequence[bytes]) -> Strings:
    """Byte strings as a column."""
    starts = np.zeros(len(of) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, of), np.int64, len(of)), out=starts[1:])
    return Strings(np.frombuffer(b"".join(of), np.uint8), starts)


def joined(columns: Sequence[Strings]) -> Strings:
    """Columns, one behind the other."""
    if len(columns) == 1:
        return columns[0]
    sizes = [np.zeros(1, np.int64), *(np.diff(column.starts) for column in columns)]
    return frozen(np.concatenate([column.text for column in columns]), np.cumsum(np.concatenate(sizes)))


def frozen(text: Bytes, starts: Ints) -> Strings:
    """A column of a text that is finished."""
    text.flags.writeable = False
    return Strings(text, starts)


@compiled
def copy(out: Bytes, at: int, text: Bytes) -> int:
    """Puts a text into a longer one; returns where it ends."""
    target = out[at : at + len(text)]  # from its beginning: so the compiler sees that it can copy at once
    for i in range(len(target)):
        target[i] = text[i]
    return at + len(target)


@compiled
def copy_string(out: Bytes, at: int, of: Strings, which: int) -> int:
    """As `copy`, of one of a column's strings."""
    return copy(out, at, of.text[of.starts[which] : of.starts[which + 1]])  # type: ignore[no-any-return]
