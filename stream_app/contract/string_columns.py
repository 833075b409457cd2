"""Columns of byte strings for compiled loops: all strings one behind the other, and where each begins.

Shapes: N strings, T bytes of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled

_NEWLINE: Final = ord("\n")

Bytes = NDArray[np.uint8]
Number = TypeVar("Number", np.uint8, np.int64)
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


class GrowingStrings:
    """A column that strings are added to; columns taken before stay as they are."""

    def __init__(self) -> None:
        self._text, self._starts = np.empty(0, np.uint8), np.zeros(1, np.int64)
        self._size, self._end = 0, 0

    def __len__(self) -> int:
        """Returns how many strings there are."""
        return self._size

    def add(self, more: Strings) -> None:
        """Adds strings at the end, in time in proportion to theirs."""
        size, end = self._size + len(more.starts) - 1, self._end + len(more.text)
        self._text = _with_room(self._text, self._end, end)
        self._starts = _with_room(self._starts, self._size + 1, size + 1)
        self._text[self._end : end] = more.text
        self._starts[self._size + 1 : size + 1] = more.starts[1:] + self._end
        self._size, self._end = size, end

    def column(self) -> Strings:
        """Returns all strings as they are now."""
        return frozen(self._text[: self._end], self._starts[: self._size + 1])


def _with_room(array: NDArray[Number], used: int, wanted: int) -> NDArray[Number]:
    """Returns an array with at least so many places and the first `used` numbers of another."""
    if wanted <= len(array):
        return array
    bigger = np.empty(max(wanted, len(array) + len(array) // 2), array.dtype)
    bigger[:used] = array[:used]
    return bigger


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
