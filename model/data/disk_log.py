"""A log with its parts on disk: chunks of actions become the sequences of users, never all of them in memory at once.

The rows of the chunks are spread over files by a hash of the user, so that all actions of a user are in one file and in
order (the first step of a partitioned hash join). Each file then fits into memory and becomes a part. The files have no
names: the kernel frees them when the process ends, however it ends.
"""

from __future__ import annotations

import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.data.event_log import EventLog, parts, sampled_times
from model.data.events import Actions, ItemNames, NameTable, concatenate
from model.data.price_bins import NO_BINS, PriceBins, PriceCounts
from model.data.query_table import QueryTable, joined_tables
from model.data.sequences import (
    Sequences,
    frequent_items,
    group_by_user,
    known_span,
    most_frequent,
    sequences_of,
)

_PARTS_IN_ROOM: Final = 8  # parts that there is room for
_FILL: Final = 0.8  # expected share of a part's size: users fall on parts by chance
_MOST_PARTS: Final = 256  # as many files are open at once; a log of more than 25 times the room has larger parts
_NEWEST: Final = 10_000  # actions that a window keeps as they are
_FIELDS: Final = (
    "item_keys",
    "times",
    "sessions",
    "categories",
    "brands",
    "types",
    "prices",
    "lines",
    "amounts",
    "currencies",
)
_ROW: Final = np.dtype(
    [
        ("user", np.uint64),
        *zip(
            _FIELDS,
            (np.uint64, np.int64, np.uint64, np.uint16, np.uint16, *3 * (np.uint8,), np.float64, np.uint64),
            strict=True,
        ),
    ]
)
_COLUMNS: Final = ("item_keys", "contexts", "times", "continues", "offsets", "user_keys")

Rows = NDArray[np.void]


class FrequentNames(NamedTuple):
    """What categories and brands are called, the most frequent first."""

    categories: Sequence[str] = ()
    brands: Sequence[str] = ()


NO_NAMES: Final = FrequentNames()


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """What a round of training learns from."""

    log: EventLog
    items: list[str]  # ids, in order of first appearance
    newest: Actions  # a few of the newest actions, in order per user
    prices: PriceCounts = field(default_factory=PriceCounts)
    names: FrequentNames = NO_NAMES


def window_in_memory(actions: Actions) -> TrainingWindow:
    """Makes a window of actions, all in memory."""
    prices = PriceCounts()
    prices.add(actions)
    return TrainingWindow(sequences_of(actions, prices.bins()), frequent_items(actions), actions, prices)


def window_of_chunks(
    chunks: Iterable[Actions],
    *,
    rows: int,
    room: int,
    folder: Path,
    files: ExitStack,
    bins: PriceBins | None = NO_BINS,
    names: ItemNames | None = None,
) -> TrainingWindow:
    """Makes a window of chunks, in order per user, of about so many rows; more than `room` actions go to disk.

    Prices fall into `bins` and those that are made of the window (`PriceCounts.bins`); None: into none. `names` has
    those of the chunks once they are read.
    The files are in `folder` until `files` is closed. All actions of one user are in memory together. Raises `OSError`
    when there is no space left.
    """
    counts, newest, prices = Counter[str](), deque[Actions](), PriceCounts()
    categories, brands = Counter[int](), Counter[int]()
    with ExitStack() as temporary:
        spread = _RowsByUser(_part_count(rows, room), folder, temporary)
        for chunk in chunks:
            counts.update(filter(None, chunk.items))
            prices.add(chunk)
            categories.update(_counted(chunk.category_keys))
            brands.update(_counted(chunk.brand_keys))
            newest.append(chunk)
            while sum(map(len, newest)) - len(newest[0]) >= _NEWEST:
                newest.popleft()
            spread.add(chunk)
        spread.bins = NO_BINS if bins is None else prices.bins(bins)
        log: EventLog = spread.only_part() if spread.parts == 1 else DiskLog.of(spread.all_parts(), room, folder, files)
    frequent = NO_NAMES
    if names is not None:
        frequent = FrequentNames(_by_frequency(names.categories, categories), _by_frequency(names.brands, brands))
    return TrainingWindow(log, most_frequent(counts), concatenate(list(newest)), prices, frequent)


def _counted(keys: NDArray[np.uint64]) -> dict[int, int]:
    distinct, counts = np.unique(keys, return_counts=True)
    return dict(zip(distinct.tolist(), counts.tolist(), strict=True))


def _by_frequency(names: NameTable, counts: Counter[int]) -> list[str]:
    """Returns the names of a table, the most frequent first."""
    return [name for _, name in sorted(names.since(0), key=lambda pair: -counts[pair[0]])]


class DiskLog:
    """A log with its parts in a file, which every pass reads again."""

    def __init__(
        self,
        file: IO[bytes],
        starts: Sequence[int],
        room: int,
        size: int,
        span: tuple[int, int],
        shared: Sequences,
        cut: int | None = None,
    ) -> None:
        """`starts` are the parts' offsets in the file, `size` is in actions, `shared` has what is the same in all parts
        and no actions. With `cut` (ms) the log ends before it."""
        self._file = file
        self._starts = starts
        self._cut = cut
        self._shared = shared
        self._size = size
        self._times: NDArray[np.int64] | None = None
        self.room = room
        self.part_count = len(starts)
        self.span = span

    @classmethod
    def of(cls, groups: Iterable[Sequences], room: int, folder: Path, files: ExitStack) -> DiskLog:
        """Writes groups of users to disk, a part for each."""
        file, starts, size, bounds = _temporary_file(folder, files), list[int](), 0, list[int]()
        queries, bins = QueryTable(), NO_BINS
        for part in groups:
            starts.append(file.tell())
            for name in _COLUMNS:
                np.save(file, getattr(part, name))
            size += len(part)
            queries = joined_tables([queries, part.queries]) if len(queries) else part.queries
            bins = part.bins
            bounds += known_span(part.times) or ()
        shared = replace(sequences_of(concatenate([]), bins), queries=queries)
        return cls(file, starts, room, size, _span(bounds), shared)

    @property
    def queries(self) -> QueryTable:
        """See `EventLog.queries`."""
        return self._shared.queries

    @property
    def bins(self) -> PriceBins:
        """See `EventLog.bins`."""
        return self._shared.bins

    def __len__(self) -> int:
        return self._size

    def part(self, number: int) -> Sequences:
        """See `PartedLog.part`."""
        self._file.seek(self._starts[number])
        whole = replace(self._shared, **{name: np.load(self._file) for name in _COLUMNS})
        return whole if self._cut is None else whole.before(self._cut)

    def before(self, cut: int) -> DiskLog:
        """See `Sequences.before`; reads all parts."""
        cut = cut if self._cut is None else min(cut, self._cut)
        size, bounds = 0, list[int]()
        for part in parts(self):
            times = part.times[part.times < cut]
            size += len(times)
            bounds += known_span(times) or ()
        return DiskLog(self._file, self._starts, self.room, size, _span(bounds), self._shared, cut)

    def newest(self, share: float) -> int:
        """See `Sequences.newest`; the first call reads all parts."""
        if self._times is None:
            self._times = sampled_times(self)
        return int(np.quantile(self._times, 1.0 - share, method="higher"))


class _RowsByUser:
    """Rows, spread over files by user or, where one part is enough, in memory."""

    def __init__(self, parts: int, folder: Path, files: ExitStack) -> None:
        self.parts = parts
        self._files = [_temporary_file(folder, files) for _ in range(parts if parts > 1 else 0)]
        self._in_memory = list[Rows]()
        self._queries = QueryTable()
        self.bins = NO_BINS  # for the sequences

    def add(self, chunk: Actions) -> None:
        """Appends actions, in order per user."""
        rows = _rows_of(chunk.in_sequences())
        self._queries.add(chunk.queries)
        if self.parts == 1:
            self._in_memory.append(rows)
            return
        numbers = rows["user"] % np.uint64(self.parts)
        rows = rows[np.argsort(numbers, kind="stable")]
        ends = np.cumsum(np.bincount(numbers.astype(np.int64), minlength=self.parts))[:-1]
        for file, rows_of_file in zip(self._files, np.split(rows, ends), strict=True):
            rows_of_file.tofile(file)

    def only_part(self) -> Sequences:
        """Returns the sequences of all users."""
        return _sequences(np.concatenate([np.zeros(0, _ROW), *self._in_memory]), self._queries, self.bins)

    def all_parts(self) -> Iterator[Sequences]:
        """Yields the sequences of one file after the other."""
        for file in self._files:
            file.seek(0)
            yield _sequences(np.fromfile(file, _ROW), self._queries, self.bins)
            file.truncate(0)


def _span(bounds: Sequence[int]) -> tuple[int, int]:
    return min(bounds, default=0), max(bounds, default=0)


def _part_count(rows: int, room: int) -> int:
    return 1 if rows <= room else min(_MOST_PARTS, -(-rows * _PARTS_IN_ROOM // round(_FILL * room)))


def _temporary_file(folder: Path, files: ExitStack) -> IO[bytes]:
    return files.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))


def _rows_of(chunk: Actions) -> Rows:
    hashes = {user: xxh3_64_intdigest(user.encode()) for user in set(chunk.users)}
    rows = np.empty(len(chunk), _ROW)
    rows["user"] = np.fromiter((hashes[user] for user in chunk.users), np.uint64, len(chunk))
    for name in _FIELDS:
        rows[name] = getattr(chunk, name)
    return rows


def _sequences(rows: Rows, queries: QueryTable, bins: PriceBins) -> Sequences:
    """Groups rows by user, in order of first appearance; two users with one hash (chance 3 in 10^8 among a million)
    would become one."""
    keys, firsts, codes = np.unique(rows["user"], return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int64)
    order = np.argsort(firsts)
    ranks[order] = np.arange(len(firsts))
    columns: dict[str, Any] = {name: np.ascontiguousarray(rows[name]) for name in _FIELDS}
    grouped = group_by_user(replace(concatenate([]), **columns), ranks[codes], keys[order], bins)
    return replace(grouped, queries=queries)
