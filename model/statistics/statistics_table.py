"""The statistics of all items that the stream has named, in rows of their own, within so much memory.

Where memory ends, neighbours are shortened first; then items that were not touched for the longest time go.
The thread that answers owns a table. Rows only ever come, until items go: then all rows are other ones, `generation`
says so, and `names` is another list, so that answers that are on their way keep theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import CATEGORY_BUCKETS
from model.kernels.compiled import Floats, compiled, uncounted
from model.kernels.hash_table import ChangingHashTable
from model.statistics.decay import Decay
from model.statistics.rows import NOBODY, ItemRows, NeighbourRows, SourceRows, new_neighbours

POPULAR: Final = 16  # items that are popular of late
POPULAR_ALIKE: Final = 24  # items of each category that are popular of late
_LEAST_ROWS: Final = 256
_LEAST_LATE: Final = math.log2(0.2)  # the lowest level of late that makes a difference, less the mean one
NEVER: Final = -1e9  # the level of an item that was never counted
_FORGOTTEN: Final = 8  # where memory ends, one row of so many goes


@dataclass(frozen=True, slots=True)
class Widths:
    """How many neighbours a row has at most."""

    followers: int = 64
    predecessors: int = 32
    recent: int = 16
    source: int = 16  # followers of a source

    def halved(self) -> Widths:
        """Returns half of each."""
        return Widths(*(max(4, width // 2) for width in (self.followers, self.predecessors, self.recent, self.source)))


class PopularRows(NamedTuple):
    """The rows of items that are popular of late, in no order; NOBODY: there are fewer."""

    everywhere: NDArray[np.int32]  # (POPULAR,)
    alike: NDArray[np.int32]  # (CATEGORY_BUCKETS, POPULAR_ALIKE) of each category


class TableArrays(NamedTuple):
    """All that compiled loops read and change."""

    items: ItemRows
    sources: SourceRows
    popular: PopularRows
    sums: NDArray[np.float64]  # (2,) weight of all actions by SLOW and FAST clock, in units of …
    sum_bases: NDArray[np.float64]  # (2,) … 2 ** -base
    clocks: NDArray[np.float64]  # (2,) SLOW and FAST, at the newest event that was counted
    changes: Floats  # (R,) weight that each item's row gained since its record was taken
    source_changes: Floats  # (S,)


class StatisticsTable:
    """Rows of items and of sources, found by their keys. Not for two threads at once."""

    def __init__(self, memory: int = 512 << 20, widths: Widths | None = None) -> None:
        """`memory` in bytes, for the rows alone."""
        self.memory = memory
        self.widths = widths or Widths()
        self.index, self.source_index = ChangingHashTable(), ChangingHashTable()
        self.names: list[str] = []  # ids of the items, by row; "": not known yet
        self.size, self.source_size = 0, 0
        self.generation = 0  # of the rows' numbers
        self.revision = 0  # of what the rows say: who has seen one need not look again
        self.dropped_items, self.dropped_sources = 0, 0  # since the table was made
        self.shortened = 0  # how often rows became shorter
        self.damaged = 0  # records that could not be read
        self.least_late = _LEAST_LATE
        self.removed: list[str | int] = []  # names of items and keys of sources that went, until they are taken
        self.decay: Decay | None = None  # the clocks of what was counted
        self.arrays = _empty((_LEAST_ROWS, _LEAST_ROWS), self.widths)

    def __len__(self) -> int:
        """Returns the number of items."""
        return self.size

    @property
    def nbytes(self) -> int:
        """The bytes of all rows, used or not."""
        return _nbytes((len(self.arrays.changes), len(self.arrays.source_changes)), self.widths)

    def rows_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Returns the rows of item keys, same shape; -1: there is none."""
        return self.index.find(keys)

    def add(self, keys: NDArray[np.uint64], names: Sequence[str] = ()) -> NDArray[np.int64]:
        """Returns the rows (N,) of items; those that have none get one.

        `names` are the ids of the first of them: a row without a name takes the one given.
        """
        distinct = np.unique(keys[self.index.find(keys) < 0])
        self.make_room(len(distinct), 0)
        rows = self.index.find(keys)
        self.revision += 1
        if len(distinct):  # after making room, as that may have taken some away
            fresh, firsts = np.unique(keys[rows < 0], return_index=True)
            order = np.argsort(firsts)
            fresh = fresh[order]
            new = np.arange(self.size, self.size + len(fresh))
            self.arrays.items.keys[new] = fresh
            self.index.put(fresh, new)
            self.names.extend([""] * len(fresh))
            self.size += len(fresh)
            rows = self.index.find(keys)
        own = self.names
        for row, name in zip(rows[: len(names)].tolist(), names, strict=True):
            if not own[row]:
                own[row] = name
        return rows

    def add_sources(self, keys: NDArray[np.uint64]) -> None:
        """Gives sources rows, unless they have some."""
        self.make_room(0, len(np.unique(keys[self.source_index.find(keys) < 0])))
        fresh = np.unique(keys[self.source_index.find(keys) < 0])  # after making room, as that may have taken some away
        new = np.arange(self.source_size, self.source_size + len(fresh))
        self.arrays.sources.keys[new] = fresh
        self.source_index.put(fresh, new)
        self.source_size += len(fresh)

    def of_items(self, keys: NDArray[np.uint64], names: Sequence[str]) -> StatisticsTable:
        """Returns a table of these items (N,) alone, in this order, with all sources; those without a row get one."""
        rows = self.add(keys, names)
        fresh = np.full(self.size + 1, NOBODY, np.int32)
        fresh[rows] = np.arange(len(rows))
        taken = StatisticsTable(self.memory, self.widths)
        taken.arrays = _taken(self.arrays, rows, np.arange(self.source_size), fresh)
        taken.names, taken.size, taken.source_size = list(names), len(rows), self.source_size
        taken.index.put(keys, np.arange(len(rows)))
        taken.source_index.put(taken.arrays.sources.keys, np.arange(self.source_size))
        taken.decay = self.decay
        return taken

    def renew_levels(self) -> None:
        """Computes the levels anew from the counts, and which items are popular."""
        items, popular = self.arrays.items, self.arrays.popular
        with np.errstate(divide="ignore"):
            items.levels[:] = np.maximum(np.log2(items.counts) + items.bases, NEVER)
        popular.everywhere[:] = NOBODY
        popular.alike[:] = NOBODY
        _note_all(popular, items, self.size)

    def make_room(self, items: int, sources: int) -> None:
        """Makes room for so many more rows, as memory allows."""
        wanted = (self.size + items, self.source_size + sources)
        room = (len(self.arrays.changes), len(self.arrays.source_changes))
        if wanted[0] <= room[0] and wanted[1] <= room[1]:
            return
        sizes = tuple(have if want <= have else max(want, 2 * have) for want, have in zip(wanted, room, strict=True))
        while _nbytes(sizes, self.widths) > self.memory and self.widths != self.widths.halved():
            self.widths = self.widths.halved()
            self.shortened += 1
        if _nbytes(sizes, self.widths) > self.memory:
            self._forget(max(items, self.size // _FORGOTTEN), max(sources, self.source_size // _FORGOTTEN))
            wanted = (self.size + items, self.source_size + sources)
            sizes = tuple(max(want, have) for want, have in zip(wanted, room, strict=True))
        bigger = _empty(sizes, self.widths)
        _copy(self.arrays, bigger, self.size, self.source_size)
        self.arrays = bigger

    def _forget(self, items: int, sources: int) -> None:
        """Lets so many rows go that were not touched for the longest time; all rows become other ones."""
        kept = _newest(self.arrays.items.times[: self.size], self.size - min(items, self.size))
        kept_sources = _newest(
            self.arrays.sources.times[: self.source_size], self.source_size - min(sources, self.source_size)
        )
        gone = np.setdiff1d(np.arange(self.size), kept).tolist()
        self.removed += [self.names[row] for row in gone if self.names[row]]
        gone_sources = np.setdiff1d(np.arange(self.source_size), kept_sources)
        self.removed += self.arrays.sources.keys[gone_sources].tolist()
        self.dropped_items += self.size - len(kept)
        self.dropped_sources += self.source_size - len(kept_sources)
        fresh = np.full(self.size + 1, NOBODY, np.int32)  # the new row of each; of NOBODY itself
        fresh[kept] = np.arange(len(kept))
        self.arrays = _taken(self.arrays, kept, kept_sources, fresh)
        self.names = [self.names[row] for row in kept.tolist()]
        self.size, self.source_size = len(kept), len(kept_sources)
        self.generation += 1
        self.index, self.source_index = ChangingHashTable(), ChangingHashTable()
        self.index.put(self.arrays.items.keys[: self.size], np.arange(self.size))
        self.source_index.put(self.arrays.sources.keys[: self.source_size], np.arange(self.source_size))


@uncounted
def enter_popular(rows: NDArray[np.int32], row: int, levels: Floats) -> None:
    """Lets a row whose level has risen enter the popular rows, if it is above the lowest of them."""
    lowest = 0
    for at in range(len(rows)):
        if rows[at] == row:
            return
        if rows[at] == NOBODY:
            rows[at] = row
            return
        if levels[rows[at], 1] < levels[rows[lowest], 1]:
            lowest = at
    if levels[row, 1] > levels[rows[lowest], 1]:
        rows[lowest] = row


@compiled
def note_popular(popular: PopularRows, items: ItemRows, row: int) -> None:
    """Lets a row whose level has risen enter the popular rows of all items, and those of its category."""
    enter_popular(popular.everywhere, row, items.levels)
    if items.categories[row] != 0:
        enter_popular(popular.alike[items.categories[row]], row, items.levels)


@compiled
def _note_all(popular: PopularRows, items: ItemRows, size: int) -> None:
    for row in range(size):
        if items.levels[row, 1] > NEVER:
            note_popular(popular, items, row)


def _empty(rows: tuple[int, ...], widths: Widths) -> TableArrays:
    """Returns so many empty rows of items and of sources."""
    items, sources = rows
    return TableArrays(
        items=ItemRows(
            keys=np.zeros(items, np.uint64),
            times=np.zeros(items, np.int64),
            bases=np.zeros((items, 2)),
            counts=np.zeros((items, 2), np.float32),
            levels=np.full((items, 2), NEVER, np.float32),
            categories=np.zeros(items, np.uint16),
            brands=np.zeros(items, np.uint16),
            followers=new_neighbours(items, widths.followers),
            predecessors=new_neighbours(items, widths.predecessors),
            recent=new_neighbours(items, widths.recent),
        ),
        sources=SourceRows(
            keys=np.zeros(sources, np.uint64),
            times=np.zeros(sources, np.int64),
            bases=np.zeros(sources),
            followers=new_neighbours(sources, widths.source),
        ),
        popular=PopularRows(
            np.full(POPULAR, NOBODY, np.int32), np.full((CATEGORY_BUCKETS, POPULAR_ALIKE), NOBODY, np.int32)
        ),
        sums=np.zeros(2),
        sum_bases=np.zeros(2),
        clocks=np.zeros(2),
        changes=np.zeros(items, np.float32),
        source_changes=np.zeros(sources, np.float32),
    )


def _nbytes(rows: tuple[int, ...], widths: Widths) -> int:
    """Returns the bytes of so many rows of items and of sources, with their cells in the indices and short names."""
    items, sources = rows
    neighbours = widths.followers + widths.predecessors + widths.recent
    return items * (8 * neighbours + 68 + 64 + 80) + sources * (8 * widths.source + 28 + 64)


def _newest(times: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Returns the indices of the newest times, rising."""
    return np.sort(np.argsort(-times, kind="stable")[:most])


def _copy(source: TableArrays, target: TableArrays, items: int, sources: int) -> None:
    """Copies the rows in use into larger arrays, whose rows may be shorter."""
    _copy_rows(source.items, target.items, items)
    _copy_rows(source.sources, target.sources, sources)
    target.changes[:items] = source.changes[:items]
    target.source_changes[:sources] = source.source_changes[:sources]
    for name in ("sums", "sum_bases", "clocks"):
        getattr(target, name)[:] = getattr(source, name)
    for before, after in zip(source.popular, target.popular, strict=True):
        after[:] = before


def _copy_rows(source: ItemRows | SourceRows, target: ItemRows | SourceRows, rows: int) -> None:
    pairs: list[tuple[Any, Any]] = list(zip(source, target, strict=True))
    for before, after in pairs:
        if isinstance(before, NeighbourRows):
            width = min(before.items.shape[1], after.items.shape[1])
            after.items[:rows, :width] = before.items[:rows, :width]
            after.weights[:rows, :width] = before.weights[:rows, :width]
            after.totals[:rows] = before.totals[:rows]
        else:
            after[:rows] = before[:rows]


def _taken(
    arrays: TableArrays, items: NDArray[np.int64], sources: NDArray[np.int64], fresh: NDArray[np.int32]
) -> TableArrays:
    """Returns the rows at some indices alone; `fresh` has the new number of each item's row, NOBODY: it is gone."""

    def neighbours(rows: NeighbourRows, indices: NDArray[np.int64]) -> NeighbourRows:
        taken = NeighbourRows(rows.items[indices], rows.weights[indices], rows.totals[indices])
        _renumber(taken, fresh)
        return taken

    def rows(given: ItemRows | SourceRows, indices: NDArray[np.int64]) -> list[Any]:
        columns: list[Any] = list(given)
        return [neighbours(one, indices) if isinstance(one, NeighbourRows) else one[indices] for one in columns]

    popular = PopularRows(*(-np.sort(-fresh[array], axis=-1) for array in arrays.popular))  # NOBODY behind the last
    return TableArrays(
        ItemRows(*rows(arrays.items, items)),
        SourceRows(*rows(arrays.sources, sources)),
        popular,
        arrays.sums.copy(),
        arrays.sum_bases.copy(),
        arrays.clocks.copy(),
        arrays.changes[items],
        arrays.source_changes[sources],
    )


@compiled
def _renumber(rows: NeighbourRows, fresh: NDArray[np.int32]) -> None:
    """Gives neighbours their new numbers, and closes the gaps of those that are gone."""
    items, weights = rows.items, rows.weights
    for row in range(len(items)):
        kept = 0
        for at in range(items.shape[1]):
            item = items[row, at]
            if item != NOBODY and fresh[item] != NOBODY:
                items[row, kept], weights[row, kept] = fresh[item], weights[row, at]
                kept += 1
        items[row, kept:] = NOBODY
        weights[row, kept:] = 0
