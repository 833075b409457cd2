"""Columns of byte strings for compiled loops: all strings one behind the other, and where each begins.

Shapes: N strings, T bytes of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled

_NEWLINE: Final = ord("\n")

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


class Strings(NamedTuple):
    """A column of byte strings, one behind the other."""

    text: Bytes  # (T,), read-only: the loops are compiled for such arrays only
    starts: Ints  # (N + 1,): where each begins, and where the last ends


def strings(of: Sequence[bytes]) -> Strings:
    """Makes a column of byte strings."""
    starts = np.fromiter(accumulate(map(len, of), initial=0), np.int64, len(of) + 1)
    return Strings(np.frombuffer(b"".join(of), np.uint8), starts)


def concatenate(columns: Sequence[Strings]) -> Strings:
    """Joins columns, one behind the other, into one."""
    if len(columns) == 1:
        return columns[0]
    sizes = [np.zeros(1, np.int64), *(np.diff(column.starts) for column in columns)]
    return frozen(np.concatenate([column.text for column in columns]), np.cumsum(np.concatenate(sizes)))


def frozen(text: Bytes, starts: Ints) -> Strings:
    """Makes a column of a text, which nothing can change from then on."""
    text.flags.writeable = False
    return Strings(text, starts)


@compiled
def copy(out: Bytes, at: int, text: Bytes) -> int:
    """Copies a text into `out` from `at` on; returns where it ends."""
    return _copy(out, at, text, 0, len(text))  # type: ignore[no-any-return]


@compiled
def copy_string(out: Bytes, at: int, of: Strings, which: int) -> int:
    """Copies one string of a column, as `copy` does."""
    return _copy(out, at, of.text, of.starts[which], of.starts[which + 1])  # type: ignore[no-any-return]


@compiled
def lines(text: Bytes, count: int) -> Strings:
    """Returns a text of so many lines as a column, each with the newline at its end; for compiled loops."""
    starts, line = np.zeros(count + 1, np.int64), 0
    for at in range(len(text)):
        if text[at] == _NEWLINE:
            line += 1
            starts[line] = at + 1
    return Strings(text, starts)


@compiled
def copy_line(out: Bytes, at: int, of: Strings, which: int) -> int:
    """Copies one of `lines` without its newline, as `copy` does."""
    return _copy(out, at, of.text, of.starts[which], of.starts[which + 1] - 1)  # type: ignore[no-any-return]


@compiled
def _copy(out: Bytes, at: int, text: Bytes, start: int, end: int) -> int:
    # Numba looks whether a signed index counts from the end; without that, and without slices, this is seven times as
    # fast for short texts.
    to, source = np.uint64(at), np.uint64(start)
    for i in range(np.uint64(end - start)):
        out[to + i] = text[source + i]
    return at + end - start
