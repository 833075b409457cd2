"""Byte strings, each kept once and known by its number: all one behind the other, and where each begins.

Numbers are given in the order of first appearance and stay; number 0 is the empty string. What is no longer used is
left out when a table is made anew (`kept`).
Shapes: S strings of the table, N strings asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.uint32]
Scalar = TypeVar("Scalar", bound=np.generic)

_LEAST_CELLS: Final = 64
_TAG: Final = np.uint64(32)  # bits: the upper half of a cell is a string's hash, the lower its number + 1
_LOW: Final = np.uint64(0xFFFFFFFF)
_BASIS: Final = np.uint64(0xCBF29CE484222325)  # of the FNV-1a hash, 64 bits, as is the next
_PRIME: Final = np.uint64(0x100000001B3)
_EMPTY: Final = (_BASIS ^ (_BASIS >> _TAG)) & _LOW  # hash of the empty string


class StringColumn(NamedTuple):
    """N byte strings, one behind the other."""

    text: Bytes  # read-only: the loops are compiled for such arrays only
    starts: NDArray[np.int64]  # (N + 1,): where each begins, and where the last ends


def column_of(strings: Sequence[bytes]) -> StringColumn:
    """Makes a column of byte strings."""
    starts = np.fromiter(accumulate(map(len, strings), initial=0), np.int64, len(strings) + 1)
    return StringColumn(np.frombuffer(b"".join(strings), np.uint8), starts)


def frozen(text: Bytes, starts: NDArray[np.int64]) -> StringColumn:
    """Makes a column of a text that nothing changes from then on."""
    text = text.view()
    text.flags.writeable = False
    return StringColumn(text, starts)


class StringTable:
    """An interned table of byte strings. Not for two threads at once, but for readers of what was there before."""

    def __init__(self) -> None:
        self._text = np.empty(1024, np.uint8)
        self._starts = np.zeros(256, np.int64)
        self._cells = np.zeros(_LEAST_CELLS, np.uint64)
        self._size = 1
        self._cells[_EMPTY & np.uint64(_LEAST_CELLS - 1)] = _EMPTY << _TAG | np.uint64(1)  # the empty string

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """The bytes that the table takes, room to grow included."""
        return self._text.nbytes + self._starts.nbytes + self._cells.nbytes

    @property
    def column(self) -> StringColumn:
        """All strings, by number: views of the table."""
        starts = self._starts[: self._size + 1]
        return frozen(self._text[: starts[-1]], starts)

    def __getitem__(self, number: int) -> bytes:
        return self._text[self._starts[number] : self._starts[number + 1]].tobytes()

    def intern(self, strings: Sequence[bytes]) -> Numbers:
        """Returns the numbers (N,) of strings, and keeps those that are new."""
        return self.intern_column(column_of(strings))

    def intern_column(self, column: StringColumn) -> Numbers:
        """Does the same for a column of strings."""
        numbers = np.empty(len(column.starts) - 1, np.uint32)
        self._reserve(len(numbers), len(column.text))
        self._size = _intern(self._text, self._starts, self._size, self._cells, column, numbers)
        return numbers

    def find(self, string: bytes) -> int:
        """Returns the number of a string, or -1."""
        return int(_find(self._text, self._starts, self._cells, np.frombuffer(string, np.uint8)))

    def kept(self, used: NDArray[np.bool_]) -> tuple[StringTable, Numbers]:
        """Makes a table of the used strings (S,), in their order; returns it with their new numbers (S,), others 0."""
        used = used.copy()
        used[0] = True
        whole = self.column
        lengths = np.diff(whole.starts)
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths[used])))
        column = frozen(whole.text[np.repeat(used, lengths)], starts)
        numbers = np.zeros(self._size, np.uint32)
        numbers[used] = np.arange(used.sum(), dtype=np.uint32)
        return StringTable.of(column), numbers

    @classmethod
    def of(cls, column: StringColumn) -> StringTable:
        """Makes a table of a column of different strings, the empty one first. Raises ValueError for any other."""
        table = cls()
        count = len(column.starts) - 1
        if not (table.intern_column(column) == np.arange(count)).all():
            raise ValueError("these are not the strings of a table")
        return table

    def _reserve(self, strings: int, size: int) -> None:
        """Makes room for so many more strings, and bytes of them."""
        self._text = grown(self._text, int(self._starts[self._size]) + size)
        self._starts = grown(self._starts, self._size + strings + 1)
        cells = len(self._cells)
        while 2 * (self._size + strings) > cells + cells // 4:  # at most five eighths are taken
            cells *= 2
        if cells > len(self._cells):
            self._cells = _rehashed(self._cells, np.zeros(cells, np.uint64))


def grown(array: NDArray[Scalar], size: int) -> NDArray[Scalar]:
    """Returns an array with room for `size` entries; grows by half at least, so that copying is seldom."""
    if size <= len(array):
        return array
    grown: NDArray[Scalar] = np.empty(max(size, len(array) + len(array) // 2), array.dtype)
    grown[: len(array)] = array
    return grown


@compiled
def _hash(text: Bytes, start: int, end: int) -> np.uint64:
    """Returns 32 bits: FNV-1a, its halves folded."""
    found = _BASIS
    for at in range(start, end):
        found = (found ^ np.uint64(text[at])) * _PRIME
    return (found ^ (found >> _TAG)) & _LOW


@compiled
def _same(text: Bytes, start: int, end: int, other: Bytes, at: int, other_end: int) -> bool:
    if end - start != other_end - at:
        return False
    for index in range(end - start):  # noqa: SIM110 - compiled
        if text[start + index] != other[at + index]:
            return False
    return True


@compiled
def _cell_of(
    text: Bytes, starts: NDArray[np.int64], cells: NDArray[np.uint64], tag: np.uint64, of: StringColumn, n: int
) -> np.uint64:
    """Returns the cell of string n of a column, or the free one where its number would lie."""
    last = np.uint64(len(cells) - 1)
    cell = tag & last
    while cells[cell] != 0:
        number = np.int64(cells[cell] & _LOW) - 1
        alike = cells[cell] >> _TAG == tag
        if alike and _same(text, starts[number], starts[number + 1], of.text, of.starts[n], of.starts[n + 1]):
            break
        cell = (cell + np.uint64(1)) & last
    return cell


@compiled
def _intern(
    text: Bytes, starts: NDArray[np.int64], size: int, cells: NDArray[np.uint64], new: StringColumn, numbers: Numbers
) -> int:
    """Fills in the numbers (N,) of strings, writes the new ones behind the others, and returns how many there are."""
    for n in range(len(numbers)):
        tag = _hash(new.text, new.starts[n], new.starts[n + 1])
        cell = _cell_of(text, starts, cells, tag, new, n)
        if cells[cell] == 0:
            at = starts[size]
            for index in range(new.starts[n + 1] - new.starts[n]):
                text[at + index] = new.text[new.starts[n] + index]
            size += 1
            starts[size] = at + new.starts[n + 1] - new.starts[n]
            cells[cell] = tag << _TAG | np.uint64(size)
        numbers[n] = np.uint32((cells[cell] & _LOW) - np.uint64(1))
    return size


@compiled
def _find(text: Bytes, starts: NDArray[np.int64], cells: NDArray[np.uint64], string: Bytes) -> np.int64:
    one = StringColumn(string, np.array([0, len(string)], np.int64))
    cell = _cell_of(text, starts, cells, _hash(string, 0, len(string)), one, 0)
    return np.int64(cells[cell] & _LOW) - 1


@compiled
def _rehashed(cells: NDArray[np.uint64], bigger: NDArray[np.uint64]) -> NDArray[np.uint64]:
    last = np.uint64(len(bigger) - 1)
    for n in range(len(cells)):
        if cells[n] != 0:
            cell = (cells[n] >> _TAG) & last
            while bigger[cell] != 0:
                cell = (cell + np.uint64(1)) & last
            bigger[cell] = cells[n]
    return bigger
