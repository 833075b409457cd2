"""The statistics of a worker: what comes on the topic waits until it is taken into the table between two batches.

The thread that answers owns the table while it does; a batch waits for no more than a few records. What is left, and
what comes while no batch does, the follower's thread takes in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from stream_app.following.content import Offsets, Origin, Record
from stream_app.following.snapshots import SnapshotRefused, check_age, covers, sweep
from stream_app.statistics.counting import SavedTable
from stream_app.statistics.position import KEY, Position, position_record, read_position
from stream_app.statistics.read_records import read_records
from stream_app.statistics.snapshot import FORMAT, Head, Pairs, read_head, read_snapshot, write_snapshot

_PIECE: Final = 64  # records that are taken in without a look at the clock
_BUDGET_S: Final = 0.002  # seconds of a batch for what has come
_CALM_S: Final = 0.25  # seconds after the last batch, after which the follower's thread need not wait for another
_CURRENT_MS: Final = 60_000  # how far behind whoever counts may be, to have counted all
_READ_AT_ONCE: Final = 1_000  # records of a snapshot that are taken in while no batch may be answered
_WRITTEN_AT_ONCE: Final = 100  # records of a snapshot that are made while no batch may be answered: 2 ms

logger: Final = logging.getLogger(__name__)


class LiveStatistics:
    """A table that is kept up to date between batches."""

    def __init__(self, table: SavedTable, folder: Path, clock: Callable[[], float], timer: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch, `timer` in seconds, monotonic."""
        self.table = table
        self.position: Position | None = None  # the newest that was read
        self.is_ready = False  # whether all events that there were have been counted once: half of them say too little
        self._folder, self._clock, self._timer = folder, clock, timer
        self._lock = threading.Lock()  # of the table, and of what waits
        self._waiting: dict[bytes, bytes | None] = {}  # the newest of each key
        self._answered = -_CALM_S  # when the last batch was answered

    @property
    def path(self) -> Path:
        """Where the snapshot lies."""
        return self._folder / "snapshot"

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return len(self._waiting)

    @contextmanager
    def up_to_date(self) -> Iterator[Any]:
        """Takes in what waits, as far as there is time, and gives the table to answer a batch by, which stays as it is
        meanwhile; None: they are not ready."""
        with self._lock:
            if self._waiting:
                self._take_in(self._timer() + _BUDGET_S)
            yield self.table if self.is_ready else None
            self._answered = self._timer()

    def apply(self, records: Sequence[Record]) -> None:
        """Takes records in, or has them wait for the next batch."""
        read = read_records(records)
        with self._lock:
            self._waiting |= read.counts
        self._note(read.position)
        while self._waiting and self._timer() - self._answered >= _CALM_S:
            with self._lock:
                self._take_in(self._timer() + _BUDGET_S)

    def _note(self, position: Position | None) -> None:
        if position is not None:
            self.position = position
            self.is_ready = self.is_ready or position.written - position.until < _CURRENT_MS

    def _take_in(self, deadline: float) -> None:
        while self._waiting:
            if len(self._waiting) <= _PIECE:
                taken, self._waiting = self._waiting, {}
            else:
                taken = {key: self._waiting[key] for key in islice(self._waiting, _PIECE)}
                for key in taken:
                    del self._waiting[key]
            self.table.apply(list(taken), list(taken.values()))
            if self._timer() >= deadline:
                return

    def load(self, origin: Origin, ends: Offsets, retention: float) -> Offsets:
        """Takes the snapshot in; see `Content`."""
        try:
            sweep(self._folder, self._clock())
            with self.path.open("rb") as file:
                head, pairs = read_snapshot(file, origin)
                check_age(head.offsets, ends, head.written, self._clock() - retention)
                self._fill(pairs)
        except FileNotFoundError:
            return {}
        except (SnapshotRefused, OSError) as error:
            logger.warning("the statistics are read from Kafka, not from the snapshot %s: %s", self.path, error)
            return {}
        return head.offsets

    def _fill(self, pairs: Pairs) -> None:
        while some := dict(islice(pairs, _READ_AT_ONCE)):
            if (said := some.pop(KEY, None)) is not None:
                self._note(read_position(said))
            with self._lock:
                self.table.apply(list(some), list(some.values()))

    def save(self, origin: Origin, offsets: Offsets) -> bool:
        """Writes a snapshot; see `Content`. It may have newer records than its offsets say: reading on repeats them."""
        other = read_head(self.path)
        if other is not None and other.origin == origin and covers(other.offsets, offsets):
            return True
        head = Head(format=FORMAT, origin=origin, offsets=dict(offsets), written=self._clock())
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_snapshot(self.path, head, self._pairs())
        except _OtherRows:
            return False  # the next attempt is some minutes later
        except OSError as error:
            logger.warning("no snapshot of the statistics was written to %s: %s", self.path, error.strerror)
            return False
        return True

    def _pairs(self) -> Pairs:
        """Yields all records. Raises `_OtherRows` when their numbers change meanwhile."""
        with self._lock:
            waiting, generation = dict(self._waiting), self.table.generation
        start = 0
        while start < self.table.record_count:
            with self._lock:
                if self.table.generation != generation:
                    raise _OtherRows
                some = self.table.records(start, _WRITTEN_AT_ONCE)
            # What waited, also to be taken away, was newer than the table; what has come since is read again.
            yield from (pair for pair in some if pair[0] not in waiting)
            start += _WRITTEN_AT_ONCE
        yield from ((key, value) for key, value in waiting.items() if value is not None)
        if self.position is not None:
            yield KEY, position_record(self.position).value or b""


class _OtherRows(Exception):
    """The rows of a table have changed their numbers, so that some may have been passed over."""
