"""Reads shop logs into columns of actions, and judges each row as a worker judges a record.

Rows that are not events are left out and counted; a worker would make dead letters of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from model.data.event_time import EARLIEST_MS, LATEST_MS
from model.data.events import Actions, Event, actions_of, concatenate
from model.items.attributes import completed
from model.items.catalogue import ItemCatalogue
from stream_app.contract.decoded import DecodedBatch, RejectedRecord
from stream_app.contract.events import decode_event
from stream_app.errors import InputUnreadable
from stream_app.offline.baskets import Row
from stream_app.offline.event_files import EventFile

_CHUNK: Final = 50_000  # events that are objects at a time


class EventRecord(NamedTuple):
    """An event of a log as a publisher would send it."""

    time: int  # ms since the epoch
    key: bytes
    value: bytes


@dataclass(slots=True)
class LogReader:
    """Reads logs one after the other, and counts what it leaves out."""

    progress: Callable[[int], None] = lambda _rows: None  # given the number of rows now and then
    catalogue: ItemCatalogue | None = None  # says what events do not say of their items
    keep: Callable[[EventRecord], None] | None = None  # given each event as a record
    rows: int = 0
    left_out: int = 0
    first_fault: str = ""  # where the first row that was left out is, and why
    _events: int = 0  # of the log that is read, so far
    _batch: DecodedBatch = field(default_factory=DecodedBatch)  # positions are events of a log, from 0

    def read(self, logs: Iterable[EventFile]) -> Actions:
        """Returns the actions of all logs, in the order of the files and their rows.

        Raises `InputUnreadable` for a row without a time, a log without rows, or one whose rows are mostly not events.
        """
        chunks: list[Actions] = []
        for log in logs:
            chunks += [self._actions(batch) for batch in self.batches(log)]
        return concatenate(chunks)

    def _actions(self, batch: DecodedBatch) -> Actions:
        actions = actions_of(batch.events, batch.times, batch.lines)
        if not self.catalogue:
            return actions
        return completed(actions, [event.market for event in batch.events], self.catalogue)

    def batches(self, log: EventFile) -> Iterator[DecodedBatch]:
        """Yields the actions of a log; the positions are those of its events, from 0. Raises as `read` does."""
        before, left_out, self._events = self.rows, self.left_out, 0
        for row in log:
            items = row.get("items") if log.baskets else None
            rows = max(1, len(items)) if isinstance(items, list) else 1
            self.rows += rows
            self._judge(row, log, rows)
            if len(self._batch.events) >= _CHUNK:
                yield self._take_batch()
                self.progress(self.rows)
        check_log(log, self.rows - before, self.left_out - left_out, self.first_fault)
        yield self._take_batch()

    def _judge(self, row: Row, log: EventFile, rows: int) -> None:
        """Takes an event that so many rows of the file make, or leaves them out."""
        if "timestamp" not in row:
            raise InputUnreadable(
                f"{log.path}, {log.position()}: no timestamp, so it cannot be put in order of time; "
                "say which column holds the times with --column timestamp=..."
            )
        key, value = str(row.get("user_id", "")).encode(), msgspec.json.encode(row)
        try:
            contents = decode_event(key, value, 0)
            _check_times(contents.times)
        except RejectedRecord as fault:
            self.left_out += rows
            self.first_fault = self.first_fault or f"{log.path}, {log.position()}: {fault}"
        else:
            self._add(contents.actions, contents.times)
            if self.keep is not None and contents.times:
                self.keep(EventRecord(contents.times[0], key, value))

    def _add(self, actions: Sequence[Event], times: Sequence[int]) -> None:
        batch = self._batch
        batch.events.extend(actions)
        batch.times.extend(times)
        batch.record_times.extend(times)
        batch.positions.extend([self._events] * len(actions))
        batch.lines.extend(range(len(actions)))
        self._events += 1

    def _take_batch(self) -> DecodedBatch:
        batch, self._batch = self._batch, DecodedBatch()
        return batch


def _check_times(times: Sequence[int]) -> None:
    for time in times:
        if not EARLIEST_MS <= time < LATEST_MS:
            raise RejectedRecord(
                "invalid_timestamp", f"timestamp {time} ms is not between 1990 and 2099: see --time-unit"
            )


def check_log(log: EventFile, rows: int, left_out: int, first_fault: str) -> None:
    """Raises `InputUnreadable` for a log without rows, or one whose rows so far are mostly not events."""
    if not rows:
        raise InputUnreadable(f"{log.path}: no events in it, {log.skipped} rows skipped: give a file that has some")
    if left_out > rows / 2:
        raise InputUnreadable(f"{left_out} of {rows} rows of {log.path} are not events; the first is {first_fault}")
