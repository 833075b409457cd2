"""A log whose parts are on disk: what is read in chunks becomes the sequences of users, never all of it in memory.

The rows of the chunks are spread over files by a hash of the user, so that all actions of a user are in one file and in
order (a partitioned hash join's first step). Each file then fits into memory and becomes a part. Files have no names:
the kernel frees them when the process ends, however it does.
"""

from __future__ import annotations

import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.data.event_log import EventLog, parts, sampled_times
from model.data.events import Actions, concatenate
from model.data.sequences import Sequences, frequent_items, grouped, most_frequent, sequences_of

_PARTS_IN_ROOM: Final = 8
_FULL: Final = 0.8  # of a part: users fall on parts by chance
_MOST_PARTS: Final = 256  # as many files are open at once; of a log of more than 25 times the room parts are larger
_NEWEST: Final = 10_000  # actions that are kept as they are
_FIELDS: Final = ("item_keys", "times", "sessions", "categories", "brands", "types", "prices")
_ROW: Final = np.dtype(
    [
        ("user", np.uint64),
        *zip(_FIELDS, (np.uint64, np.int64, np.uint64, np.uint16, np.uint16, np.uint8, np.uint8), strict=True),
    ]
)
_COLUMNS: Final = ("item_keys", "contexts", "times", "offsets")

Rows = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Window:
    """What a round learns from."""

    log: EventLog
    items: list[str]  # ids, in order of first appearance
    newest: Actions  # a few of the newest actions, in order per user


def in_memory(actions: Actions) -> Window:
    """A window of actions that are in memory as they are."""
    return Window(sequences_of(actions), frequent_items(actions), actions)


def stored(chunks: Iterable[Actions], *, rows: int, room: int, folder: Path, files: ExitStack) -> Window:
    """A window of chunks, in order per user, of about so many rows; a log of more than `room` actions is on disk.

    Its files are in `folder` until `files` are closed. A user's actions are in memory together. Raises `OSError` when
    there is no space left.
    """
    counts, newest = Counter[str](), deque[Actions]()
    with ExitStack() as spilled:
        spread = _Spread(_part_count(rows, room), folder, spilled)
        for chunk in chunks:
            counts.update(filter(None, chunk.items))
            newest.append(chunk)
            while sum(map(len, newest)) - len(newest[0]) >= _NEWEST:
                newest.popleft()
            spread.add(chunk)
        log: EventLog = spread.only_part() if spread.parts == 1 else DiskLog.of(spread.all_parts(), room, folder, files)
    return Window(log, most_frequent(counts), concatenate(list(newest)))


class DiskLog:
    """A log with its parts in a file."""

    def __init__(self, file: IO[bytes], places: Sequence[int], room: int, size: int, cut: int | None = None) -> None:
        """`places`: where the parts begin; `size` in actions. With `cut` (ms), what had happened before it."""
        self._file = file
        self._places = places
        self._cut = cut
        self._size = size
        self.room = room
        self.part_count = len(places)

    @classmethod
    def of(cls, found: Iterable[Sequences], room: int, folder: Path, files: ExitStack) -> DiskLog:
        """Stores the parts."""
        file, places, size = _file(folder, files), list[int](), 0
        for part in found:
            places.append(file.tell())
            for name in _COLUMNS:
                np.save(file, getattr(part, name))
            size += len(part)
        return cls(file, places, room, size)

    def __len__(self) -> int:
        return self._size

    def part(self, number: int) -> Sequences:
        """As `Log.part`."""
        self._file.seek(self._places[number])
        whole = Sequences(**{name: np.load(self._file) for name in _COLUMNS})
        return whole if self._cut is None else whole.before(self._cut)

    def before(self, cut: int) -> DiskLog:
        """As `Sequences.before`."""
        cut = cut if self._cut is None else min(cut, self._cut)
        size = sum(int((part.times < cut).sum()) for part in parts(self))
        return DiskLog(self._file, self._places, self.room, size, cut)

    def newest(self, share: float) -> int:
        """As `Sequences.newest`."""
        return int(np.quantile(sampled_times(self), 1.0 - share, method="higher"))


class _Spread:
    """Rows by user in files or, where one part is enough, in memory."""

    def __init__(self, parts: int, folder: Path, files: ExitStack) -> None:
        self.parts = parts
        self._files = [_file(folder, files) for _ in range(parts if parts > 1 else 0)]
        self._kept = list[Rows]()

    def add(self, chunk: Actions) -> None:
        """Takes in actions, in order per user."""
        rows = _rows_of(chunk)
        if self.parts == 1:
            self._kept.append(rows)
            return
        owners = rows["user"] % np.uint64(self.parts)
        rows = rows[np.argsort(owners, kind="stable")]
        ends = np.cumsum(np.bincount(owners.astype(np.int64), minlength=self.parts))[:-1]
        for file, own in zip(self._files, np.split(rows, ends), strict=True):
            own.tofile(file)

    def only_part(self) -> Sequences:
        """Everything."""
        return _sequences(np.concatenate([np.zeros(0, _ROW), *self._kept]))

    def all_parts(self) -> Iterator[Sequences]:
        """The sequences of one file after the other."""
        for file in self._files:
            file.seek(0)
            yield _sequences(np.fromfile(file, _ROW))
            file.truncate(0)


def _part_count(rows: int, room: int) -> int:
    return 1 if rows <= room else min(_MOST_PARTS, -(-rows * _PARTS_IN_ROOM // round(_FULL * room)))


def _file(folder: Path, files: ExitStack) -> IO[bytes]:
    return files.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))


def _rows_of(chunk: Actions) -> Rows:
    hashes = {user: xxh3_64_intdigest(user.encode()) for user in set(chunk.users)}
    rows = np.empty(len(chunk), _ROW)
    rows["user"] = np.fromiter((hashes[user] for user in chunk.users), np.uint64, len(chunk))
    for name in _FIELDS:
        rows[name] = getattr(chunk, name)
    return rows


def _sequences(rows: Rows) -> Sequences:
    """Users in order of first appearance; two with one hash (3 in 10^8 among a million) would be one."""
    _, firsts, codes = np.unique(rows["user"], return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int64)
    ranks[np.argsort(firsts)] = np.arange(len(firsts))
    columns: dict[str, Any] = {name: np.ascontiguousarray(rows[name]) for name in _FIELDS}
    return grouped(replace(concatenate([]), **columns), ranks[codes])
