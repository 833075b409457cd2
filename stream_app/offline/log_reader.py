"""Reads shop logs into rows of the history or columns of actions, and judges each row as a worker judges a record.

Rows that are not events are left out and counted; a worker would make dead letters of them. Rows are read many at a
time where all of them are plain, which takes a fifth of the time, and one by one elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa

from model.data.event_time import EARLIEST_MS, LATEST_MS
from model.data.events import Actions, Event, concatenate
from model.items.attributes import completed
from model.items.catalogue import ItemCatalogue
from stream_app.contract.decoded import DecodedBatch, RejectedRecord
from stream_app.contract.events import decode_event
from stream_app.errors import InputUnreadable
from stream_app.history.rows import ACTION_COLUMNS, actions_in, rows_of
from stream_app.offline.baskets import Row
from stream_app.offline.event_files import EventFile
from stream_app.offline.plain_rows import plain_rows
from stream_app.offline.row_files import RowChunk

_CHUNK: Final = 50_000  # rows that are in memory at a time, and events that are yielded at a time
_PART: Final = 500  # rows of a chunk that are judged one by one together


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
    keep: Callable[[EventRecord], None] | None = None  # given each event as a record; all rows are read one by one then
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

    def _actions(self, batch: pa.RecordBatch) -> Actions:
        actions = actions_in(batch.select(ACTION_COLUMNS))
        if not self.catalogue:
            return actions
        return completed(actions, batch["market"].to_pylist(), self.catalogue)

    def batches(self, log: EventFile) -> Iterator[pa.RecordBatch]:
        """Yields the actions of a log as rows of the history; `offset` counts its events, from 0. Raises as `read`."""
        before, left_out, self._events = self.rows, self.left_out, 0
        held = [self._take_batch()]
        for batch in self._judged(log, log) if log.baskets else self._chunks(log):
            held.append(batch)
            if sum(batch.num_rows for batch in held) >= _CHUNK:
                yield pa.concat_batches(held)
                held = held[:1]
                self.progress(self.rows)
        check_log(log, self.rows - before, self.left_out - left_out, self.first_fault)
        yield pa.concat_batches(held)

    def _chunks(self, log: EventFile) -> Iterator[pa.RecordBatch]:
        for chunk in log.chunks(_CHUNK):
            if (rows := self._plain(log, chunk)) is not None:
                yield rows
                continue
            for begin in range(0, len(chunk.lines), _PART):
                part = chunk.part(begin, begin + _PART)
                if (rows := self._plain(log, part)) is not None:
                    yield rows
                else:
                    yield from self._judged(log, log.events_in(part))

    def _plain(self, log: EventFile, chunk: RowChunk) -> pa.RecordBatch | None:
        rows = None if self.keep else plain_rows(log, chunk, self._events)
        if rows is not None:
            self._events += rows.num_rows
            self.rows += rows.num_rows
            log.skipped += len(chunk.lines) - rows.num_rows
        return rows

    def _judged(self, log: EventFile, events: Iterable[Row]) -> Iterator[pa.RecordBatch]:
        """Yields the events of a log, or of a part of it, that are events of the contract."""
        for row in events:
            items = row.get("items") if log.baskets else None
            rows = max(1, len(items)) if isinstance(items, list) else 1
            self.rows += rows
            self._judge(row, log, rows)
            if len(self._batch.events) >= _CHUNK:
                yield self._take_batch()
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

    def _take_batch(self) -> pa.RecordBatch:
        batch, self._batch = self._batch, DecodedBatch()
        return rows_of(0, range(self._events), batch)


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
