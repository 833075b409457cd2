"""The rows of a table as records, one for each item and each source: absolute, so that readers replace and never add.

A record's key is the item's id, or begins with a byte that no id's UTF-8 begins with. Its value is words of 8 bytes,
little-endian: a head, the keys of the neighbours, their weights. One record more says how far the clocks are and how
much was counted in all.
Shapes: N records, B words of all values.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import BRAND_BUCKETS, CATEGORY_BUCKETS, item_key
from model.kernels.compiled import Floats, compiled
from model.kernels.hash_table import find_row
from model.statistics.counter import StatisticsCounter
from model.statistics.decay import Decay
from model.statistics.rows import NOBODY, NeighbourRows
from model.statistics.statistics_table import NEVER, StatisticsTable, TableArrays, note_popular

FORMAT: Final = 1
CLOCKS_KEY: Final = b"\xffclocks"
_SOURCE: Final = b"\xffsource"  # and the 8 bytes of its key
_HEAD: Final = 7  # words before the keys
_CLOCKS: Final = struct.Struct("<Q6d2q")  # format, sums, their bases, clocks; start and floor of the decay, ms


class CountedRecords(NamedTuple):
    """What has changed since it was asked for: records to write, and keys of what is no longer there."""

    keys: list[bytes]
    values: list[bytes]
    removed: list[bytes]


def take_changes(table: StatisticsTable, most: int = sys.maxsize) -> CountedRecords:
    """Returns records of at most so many rows that have changed since theirs were taken, and notes that they are.

    Items whose ids are not known have none.
    """
    arrays = table.arrays
    items = np.flatnonzero(arrays.changes[: table.size] > 0)
    items = items[[bool(table.names[row]) for row in items.tolist()]][:most] if len(items) else items
    sources = np.flatnonzero(arrays.source_changes[: table.source_size] > 0)[: most - len(items)]
    gone = [one.encode() if isinstance(one, str) else _key_of_source(one) for one in table.removed]
    table.removed = []
    keys = [table.names[row].encode() for row in items.tolist()]
    values = [_pack_item(arrays, row) for row in items.tolist()]
    keys += [_key_of_source(key) for key in arrays.sources.keys[sources].tolist()]
    values += [_pack_source(arrays, row) for row in sources.tolist()]
    if keys and table.decay is not None:
        keys.append(CLOCKS_KEY)
        values.append(_pack_clocks(table, table.decay))
    arrays.changes[items] = 0
    arrays.source_changes[sources] = 0
    back = set(keys)  # of what has come again since it went
    return CountedRecords(keys, values, [key for key in gone if key not in back])


def apply(table: StatisticsTable, keys: Sequence[bytes], values: Sequence[bytes | None]) -> int:
    """Replaces rows by records (N,); None takes a row's content away. Returns how many records could not be read."""
    latest: Mapping[bytes, bytes | None] = dict(zip(keys, values, strict=True))
    damaged, words, items, sources = 0, list[bytes](), list[tuple[str, int]](), list[tuple[int, int]]()
    gone, gone_sources = list[int](), list[int]()
    at = 0
    for key, value in latest.items():
        if key == CLOCKS_KEY:
            damaged += not _take_clocks(table, value)
            continue
        name = None if key.startswith(_SOURCE) else _name_of(key)
        if value is None:
            if name:
                gone.append(item_key(name))
            elif name is None and len(key) == len(_SOURCE) + 8:
                gone_sources.append(int.from_bytes(key[len(_SOURCE) :], "little"))
            continue
        if name == "" or not _is_sound(value) or (name is None and len(key) != len(_SOURCE) + 8):
            damaged += 1
            continue
        if name is None:
            sources.append((int.from_bytes(key[len(_SOURCE) :], "little"), at))
        else:
            items.append((name, at))
        words.append(value)
        at += len(value) // 8
    table.revision += 1
    _remove(table, gone, gone_sources)
    if words:
        _replace(table, np.frombuffer(b"".join(words), "<u8").astype(np.uint64), items, sources)
    return damaged


def decay_of(table_value: bytes) -> Decay | None:
    """Returns the decay that the record of the clocks tells; None: it cannot be read."""
    if len(table_value) != _CLOCKS.size:
        return None
    version, *_, start, floor = _CLOCKS.unpack(table_value)
    return Decay(start, floor) if version == FORMAT and floor > 0 else None


def _pack_clocks(table: StatisticsTable, decay: Decay) -> bytes:
    arrays = table.arrays
    return _CLOCKS.pack(FORMAT, *arrays.sums, *arrays.sum_bases, *arrays.clocks, decay.start, decay.floor)


def _key_of_source(key: int) -> bytes:
    return _SOURCE + key.to_bytes(8, "little")


def _name_of(key: bytes) -> str:
    """Returns the item's id; "": it cannot be one."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ""


def _take_clocks(table: StatisticsTable, value: bytes | None) -> bool:
    if value is None or decay_of(value) is None:
        return False
    numbers = np.array(_CLOCKS.unpack(value)[1:7])
    if not np.isfinite(numbers).all():
        return False
    arrays = table.arrays
    arrays.sums[:], arrays.sum_bases[:], arrays.clocks[:] = numbers[:2], numbers[2:4], numbers[4:]
    table.decay = decay_of(value)
    return True


def _pack_item(arrays: TableArrays, row: int) -> bytes:
    rows = arrays.items
    lists = [_listed(neighbours, row) for neighbours in (rows.followers, rows.predecessors, rows.recent)]
    sizes = [len(items) for items, _ in lists]
    head = struct.pack(
        "<BBHHHq2d2f3fHH",
        *(FORMAT, 0, *sizes, int(rows.times[row]), *rows.bases[row].tolist(), *rows.counts[row].tolist()),
        *(float(neighbours.totals[row]) for neighbours in (rows.followers, rows.predecessors, rows.recent)),
        *(int(rows.categories[row]), int(rows.brands[row])),
    )
    return head + _body(arrays, lists)


def _pack_source(arrays: TableArrays, row: int) -> bytes:
    rows = arrays.sources
    items, weights = _listed(rows.followers, row)
    numbers = (FORMAT, 1, len(items), 0, 0, int(rows.times[row]), float(rows.bases[row]), 0.0, 0.0, 0.0)
    head = struct.pack("<BBHHHq2d2f3fHH", *numbers, float(rows.followers.totals[row]), 0.0, 0.0, 0, 0)
    return head + _body(arrays, [(items, weights)])


def _listed(rows: NeighbourRows, row: int) -> tuple[NDArray[np.int32], Floats]:
    count = int((rows.items[row] != NOBODY).sum())
    return rows.items[row, :count], rows.weights[row, :count]


def _body(arrays: TableArrays, lists: Sequence[tuple[NDArray[np.int32], Floats]]) -> bytes:
    keys = b"".join([arrays.items.keys[items].astype("<u8").tobytes() for items, _ in lists])
    weights = b"".join([weights.astype("<f4").tobytes() for _, weights in lists])
    return keys + weights + bytes(len(weights) % 8)


def _is_sound(value: bytes) -> bool:
    """Returns whether a value is as long as its head says, of this format, with finite numbers from 0 on."""
    if len(value) < 8 * _HEAD or len(value) % 8 or value[0] != FORMAT:
        return False
    neighbours = sum(struct.unpack_from("<HHH", value, 2))
    if len(value) != 8 * (_HEAD + neighbours + (neighbours + 1) // 2):
        return False
    weights = np.frombuffer(value, "<f4", neighbours, 8 * (_HEAD + neighbours))
    head = np.frombuffer(value, "<f4", 5, 32)
    bases = np.frombuffer(value, "<f8", 2, 16)
    return bool(
        np.isfinite(weights).all()
        and np.isfinite(head).all()
        and np.isfinite(bases).all()
        and (weights >= 0).all()
        and (head >= 0).all()
    )


def _remove(table: StatisticsTable, keys: Sequence[int], source_keys: Sequence[int]) -> None:
    arrays, sources = table.arrays.items, table.arrays.sources
    rows = table.rows_of(np.array(keys, np.uint64))
    rows = rows[rows >= 0]
    arrays.levels[rows], arrays.counts[rows], arrays.times[rows] = NEVER, 0, 0
    for neighbours in (arrays.followers, arrays.predecessors, arrays.recent):
        neighbours.items[rows], neighbours.weights[rows], neighbours.totals[rows] = NOBODY, 0, 0
    rows = table.source_index.find(np.array(source_keys, np.uint64))
    rows, followers = rows[rows >= 0], sources.followers
    sources.times[rows] = 0
    followers.items[rows], followers.weights[rows], followers.totals[rows] = NOBODY, 0, 0


def _replace(
    table: StatisticsTable, words: NDArray[np.uint64], items: list[tuple[str, int]], sources: list[tuple[int, int]]
) -> None:
    item_keys = np.array([item_key(name) for name, _ in items], np.uint64)
    starts = np.array([start for _, start in items], np.int64)
    source_keys = np.array([key for key, _ in sources], np.uint64)
    source_starts = np.array([start for _, start in sources], np.int64)
    neighbours = _neighbour_keys(words, np.concatenate((starts, source_starts)))
    # Rows for all of them first: making room may let others go, and then all numbers are other ones. The sources' room
    # comes before the items, as it may let those go that nobody has touched yet.
    table.make_room(0, int((table.source_index.find(source_keys) < 0).sum()))
    table.add(np.concatenate((item_keys, neighbours)), [name for name, _ in items])
    table.add_sources(source_keys)
    floats, doubles = words.view(np.float32), words.view(np.float64)
    _fill(table.arrays, (table.index.cells, table.source_index.cells), (words, floats, doubles), item_keys, starts)
    _fill_sources(
        table.arrays,
        (table.index.cells, table.source_index.cells),
        (words, floats, doubles),
        source_keys,
        source_starts,
    )


def _neighbour_keys(words: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns the keys of all neighbours in records that begin at words `starts`."""
    heads = words[starts]
    counts = np.zeros(len(heads), np.int64)
    for shift in (16, 32, 48):
        counts += ((heads >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    ends = np.cumsum(counts)
    indices = np.repeat(starts + _HEAD - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
    keys: NDArray[np.uint64] = words[indices]
    return keys


@compiled
def _fill(
    table: TableArrays,
    cells: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    content: tuple[NDArray[np.uint64], Floats, NDArray[np.float64]],
    keys: NDArray[np.uint64],
    starts: NDArray[np.int64],
) -> None:
    words, floats, doubles = content
    rows = table.items
    for n in range(len(keys)):
        row, at = find_row(cells[0], keys[n]), starts[n]
        if row < 0:
            continue
        rows.times[row] = np.int64(words[at + 1])
        rows.bases[row, 0], rows.bases[row, 1] = doubles[at + 2], doubles[at + 3]
        rows.counts[row, 0], rows.counts[row, 1] = floats[2 * at + 8], floats[2 * at + 9]
        for column in range(2):
            count = rows.counts[row, column]
            level = np.log2(count) + rows.bases[row, column] if count > 0 else NEVER
            rows.levels[row, column] = np.float32(level)
        attributes = words[at + 6] >> np.uint64(32)
        rows.categories[row] = np.uint16(min(attributes & np.uint64(0xFFFF), np.uint64(CATEGORY_BUCKETS - 1)))
        rows.brands[row] = np.uint16(min(attributes >> np.uint64(16), np.uint64(BRAND_BUCKETS - 1)))
        counts = _counts(words[at])
        first, total = at + _HEAD, counts[0] + counts[1] + counts[2]
        weights = 2 * (first + total)
        rows.followers.totals[row] = floats[2 * at + 10]
        rows.predecessors.totals[row] = floats[2 * at + 11]
        rows.recent.totals[row] = floats[2 * at + 12]
        _take(rows.followers, row, cells[0], words[first:], floats[weights:], counts[0])
        first, weights = first + counts[0], weights + counts[0]
        _take(rows.predecessors, row, cells[0], words[first:], floats[weights:], counts[1])
        first, weights = first + counts[1], weights + counts[1]
        _take(rows.recent, row, cells[0], words[first:], floats[weights:], counts[2])
        note_popular(table.popular, rows, row)


@compiled
def _fill_sources(
    table: TableArrays,
    cells: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    content: tuple[NDArray[np.uint64], Floats, NDArray[np.float64]],
    keys: NDArray[np.uint64],
    starts: NDArray[np.int64],
) -> None:
    words, floats, doubles = content
    rows = table.sources
    for n in range(len(keys)):
        row, at = find_row(cells[1], keys[n]), starts[n]
        if row < 0:
            continue
        rows.times[row], rows.bases[row] = np.int64(words[at + 1]), doubles[at + 2]
        counts = _counts(words[at])
        rows.followers.totals[row] = floats[2 * at + 10]
        first = at + _HEAD
        _take(rows.followers, row, cells[0], words[first:], floats[2 * (first + counts[0]) :], counts[0])


@compiled
def _counts(head: np.uint64) -> tuple[np.int64, np.int64, np.int64]:
    """Returns how many neighbours of each kind follow a head."""
    mask = np.uint64(0xFFFF)
    return (
        np.int64((head >> np.uint64(16)) & mask),
        np.int64((head >> np.uint64(32)) & mask),
        np.int64((head >> np.uint64(48)) & mask),
    )


@compiled
def _take(
    rows: NeighbourRows, row: int, cells: NDArray[np.uint64], keys: NDArray[np.uint64], weights: Floats, count: int
) -> None:
    """Replaces a row's neighbours: as many as there is room for, of those that have rows."""
    taken = 0
    for n in range(count):
        item = find_row(cells, keys[n])
        if item >= 0 and taken < rows.items.shape[1]:
            rows.items[row, taken], rows.weights[row, taken] = item, weights[n]
            taken += 1
    for at in range(taken, rows.items.shape[1]):
        rows.items[row, at], rows.weights[row, at] = NOBODY, np.float32(0)


class SharedTable(StatisticsTable):
    """A table whose rows are records for other processes, or come from them."""

    def apply(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Replaces rows by records: see `apply`; what cannot be read is counted in `damaged`."""
        self.damaged += apply(self, keys, values)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How much was forgotten or could not be read since the table was made, by kind."""
        return {
            "items": self.dropped_items,
            "sources": self.dropped_sources,
            "neighbours": self.shortened,
            "damaged": self.damaged,
        }

    @property
    def record_count(self) -> int:
        """The number of all records, also of rows that have none."""
        return self.size + self.source_size + 1

    def records(self, start: int, most: int) -> list[tuple[bytes, bytes]]:
        """Returns the records of so many numbers; the last says how far the clocks are."""
        arrays, size, end = self.arrays, self.size, start + most
        times, sources = arrays.items.times, range(max(start, size) - size, min(end, size + self.source_size) - size)
        rows = [row for row in range(min(start, size), min(end, size)) if self.names[row] and times[row]]
        found = [(self.names[row].encode(), _pack_item(arrays, row)) for row in rows]
        found += [(_key_of_source(int(arrays.sources.keys[row])), _pack_source(arrays, row)) for row in sources]
        if self.decay is not None and start < self.record_count <= end:
            found.append((CLOCKS_KEY, _pack_clocks(self, self.decay)))
        return found


class SharedCounter(StatisticsCounter):
    """A counter whose changes go to other processes."""

    def take_changes(self, most: int = sys.maxsize) -> CountedRecords:
        """Returns at most so many records of what has changed: see `take_changes`."""
        return take_changes(self.table, most)
