"""Reads shop logs into columns of actions, and judges each row as a worker judges a record.

Rows that are not events are left out and counted; a worker would make dead letters of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from model.data.event_time import EARLIEST_MS, LATEST_MS
from model.data.events import Actions, Event, actions_of, concatenate
from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.events import decode_event
from stream_app.errors import InputUnreadable
from stream_app.offline.baskets import Row
from stream_app.offline.event_files import EventFile

_CHUNK: Final = 50_000  # events that are objects at a time


@dataclass(slots=True)
class LogReader:
    """Reads logs one after the other, and counts what it leaves out."""

    progress: Callable[[int], None] = lambda _rows: None  # given the number of rows now and then
    rows: int = 0
    left_out: int = 0
    first_fault: str = ""  # where the first row that was left out is, and why
    _events: list[Event] = field(default_factory=list)
    _times: list[int] = field(default_factory=list)
    _lines: list[int] = field(default_factory=list)

    def read(self, logs: Iterable[EventFile]) -> Actions:
        """Returns the actions of all logs, in the order of the files and their rows.

        Raises `InputUnreadable` for a row without a time, a log without rows, or one whose rows are mostly not events.
        """
        chunks: list[Actions] = []
        for log in logs:
            rows, left_out = self.rows, self.left_out
            chunks += self._chunks(log)
            _check_log(log, self.rows - rows, self.left_out - left_out, self.first_fault)
        return concatenate(chunks)

    def _chunks(self, log: EventFile) -> Iterable[Actions]:
        for row in log:
            items = row.get("items") if log.baskets else None
            rows = max(1, len(items)) if isinstance(items, list) else 1
            self.rows += rows
            self._judge(row, log, rows)
            if len(self._events) >= _CHUNK:
                yield self._take_chunk()
                self.progress(self.rows)
        yield self._take_chunk()

    def _judge(self, row: Row, log: EventFile, rows: int) -> None:
        """Takes an event that so many rows of the file make, or leaves them out."""
        if "timestamp" not in row:
            raise InputUnreadable(
                f"{log.path}, {log.position()}: no timestamp, so it cannot be put in order of time; "
                "say which column holds the times with --column timestamp=..."
            )
        try:
            contents = decode_event(str(row.get("user_id", "")).encode(), msgspec.json.encode(row), 0)
            _check_times(contents.times)
        except RejectedRecord as fault:
            self.left_out += rows
            self.first_fault = self.first_fault or f"{log.path}, {log.position()}: {fault}"
        else:
            self._events += contents.actions
            self._times += contents.times
            self._lines += range(len(contents.actions))

    def _take_chunk(self) -> Actions:
        actions = actions_of(self._events, self._times, self._lines)
        self._events, self._times, self._lines = [], [], []
        return actions


def _check_times(times: Sequence[int]) -> None:
    for time in times:
        if not EARLIEST_MS <= time < LATEST_MS:
            raise RejectedRecord(
                "invalid_timestamp", f"timestamp {time} ms is not between 1990 and 2099: see --time-unit"
            )


def _check_log(log: EventFile, rows: int, left_out: int, first_fault: str) -> None:
    if not rows:
        raise InputUnreadable(f"{log.path}: no events in it, {log.skipped} rows skipped: give a file that has some")
    if left_out > rows / 2:
        raise InputUnreadable(f"{left_out} of {rows} rows of {log.path} are not events; the first is {first_fault}")
