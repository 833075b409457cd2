"""A topic as lists of records, a reader that writes its history, and what a history should have, without a broker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from aiokafka import ConsumerRecord

from model.data.event_time import judge_times
from model.data.events import ARRAYS, Actions, actions_of
from stream_app.contract.decoded import DecodedBatch
from stream_app.contract.events import decode_batch
from stream_app.history.event_history import EventHistory
from stream_app.history.file_chain import FileChain
from stream_app.history.files import Span, Stream
from stream_app.history.offset_chain import OffsetGap
from stream_app.history.rows import rows_of, shown_rows_of
from stream_app.history.storage import HistoryStorage
from stream_app.history.tables import EVENTS, Table
from tests.unit.builders.basics import make_record, words_of_searches

STREAM = Stream("cluster-1", "shop.events", 1)
NOON = 1_767_355_200_000  # 2026-01-02, in ms
HOUR = 3_600_000
DAY = 24 * HOUR
BAD_VALUE = b"not JSON"


@dataclass
class Topic:
    """Partitions of records; None is a marker of a transaction. Records before `firsts` were removed by retention."""

    records: dict[int, list[ConsumerRecord[bytes, bytes] | None]] = field(default_factory=dict)
    firsts: dict[int, int] = field(default_factory=dict)

    def add(self, partition: int, *, user: str = "ada", time: int = NOON, kind: str = "event", **fields: Any) -> None:
        """Adds an `event`, a `shown` list, a `bad` record that is neither, or a `marker`, which nobody is given."""
        log = self.records.setdefault(partition, [])
        event = {"user_id": user, "type": "view", "item_id": f"item {len(log)}"} | fields
        if kind == "shown":
            event = {"user_id": user, "type": "shown", "items": [f"item {len(log)}", "other"]} | fields
        value = BAD_VALUE if kind == "bad" else json.dumps(event).encode()
        record = make_record(value, key=user.encode(), offset=len(log), timestamp=time, partition=partition)
        log.append(None if kind == "marker" else record)

    def events(self) -> Counter[tuple[int, int]]:
        """Counts partition and offset of each event that was ever added."""
        return self._count(lambda decoded: bool(decoded.events))

    def shown(self) -> Counter[tuple[int, int]]:
        """Counts partition and offset of each list that was ever shown."""
        return self._count(lambda decoded: bool(decoded.shown))

    def _count(self, counts: Callable[[DecodedBatch], bool]) -> Counter[tuple[int, int]]:
        every = (record for log in self.records.values() for record in log if record is not None)
        return Counter((record.partition, record.offset) for record in every if counts(decode_batch([record])))


_opened: list[EventHistory] = []


def open_history(folder: Path | str, table: Table = EVENTS) -> EventHistory:
    """Opens a history that `close_all` closes if the test did not."""
    _opened.append(EventHistory(HistoryStorage(str(folder), table)))
    return _opened[-1]


def close_all() -> None:
    """Releases the locks of all histories that were opened."""
    while _opened:
        _opened.pop().close()


class Reader:
    """Reads a topic into a history from where its files end, as a trainer does."""

    def __init__(self, folder: Path | str, topic: Topic, *, stream: Stream = STREAM, table: Table = EVENTS) -> None:
        self.topic, self.stream, self.now = topic, stream, NOON + 30 * DAY
        self.history = open_history(folder, table)
        self.read: dict[int, int] = self.history.positions(stream)
        self.written = dict(self.read)
        self.batches: list[pa.RecordBatch] = []
        self.shown: list[pa.RecordBatch] = []
        for chain, rows in ((self.history.events, self._rows), (self.history.shown, self._shown_rows)):
            for gap in list(chain.gaps):
                self._fill(chain, gap, rows)

    def take(self, partition: int, count: int = 1_000_000) -> Reader:
        """Reads the next records of a partition."""
        first = self.topic.firsts.get(partition, 0)
        start = max(self.read.setdefault(partition, first), first)
        self.written.setdefault(partition, 0)
        self.read[partition] = min(start + count, len(self.topic.records[partition]))
        self.batches.append(self._rows(partition, start, self.read[partition]))
        self.shown.append(self._shown_rows(partition, start, self.read[partition]))
        return self

    def take_all(self) -> Reader:
        """Reads all partitions to the end."""
        for partition in self.topic.records:
            self.take(partition)
        return self

    def append(self, missing: int = 0) -> Reader:
        """Writes what was read since the last file into a file, if it is anything."""
        if self.read != self.written:
            spans = {partition: Span(self.written[partition], end) for partition, end in self.read.items()}
            self.history.append(self.batches, self.stream, spans, written=self.now, missing=missing, shown=self.shown)
            self.written, self.batches, self.shown = dict(self.read), [], []
        return self

    def close(self) -> None:
        """Closes the history; what was read and not written is lost."""
        self.history.close()

    def _fill(self, chain: FileChain, gap: OffsetGap, rows: Callable[[int, int, int], pa.RecordBatch]) -> None:
        firsts = self.topic.firsts
        spans = {p: Span(firsts.get(p, 0), s.next) if gap.from_start else s for p, s in gap.spans.items()}
        with chain.fill_gap(gap, spans, written=self.now, missing=0) as gap_writer:
            for partition, span in spans.items():
                gap_writer.write(rows(partition, span.first, span.next))

    def _rows(self, partition: int, first: int, end: int) -> pa.RecordBatch:
        offsets, decoded = self._decoded(partition, first, end)
        return rows_of(partition, offsets, decoded)

    def _shown_rows(self, partition: int, first: int, end: int) -> pa.RecordBatch:
        offsets, decoded = self._decoded(partition, first, end)
        return shown_rows_of(partition, offsets, decoded.shown)

    def _decoded(self, partition: int, first: int, end: int) -> tuple[list[int], DecodedBatch]:
        records = [record for record in self.topic.records[partition][first:end] if record is not None]
        return [record.offset for record in records], decode_batch(records)


def make_topic(days: int = 3, per_day: int = 4, partitions: int = 2) -> Topic:
    """Makes a topic with `per_day` events in each partition on each of some days, by three users."""
    topic = Topic()
    for number in range(days * per_day):
        for partition in range(partitions):
            time = NOON + number // per_day * DAY + number % per_day
            topic.add(partition, user=f"u{number % 3}", time=time, event_id=f"{partition}-{number}")
    return topic


def read_in_steps(folder: Path, topic: Topic, step: int = 2, table: Table = EVENTS) -> Reader:
    """Reads a topic into a history with a file for every `step` records of each partition."""
    reader = Reader(folder, topic, table=table)
    while any(reader.read.get(partition, 0) < len(log) for partition, log in topic.records.items()):
        for partition in topic.records:
            reader.take(partition, step)
        reader.append()
    return reader


def actions_at(topic: Topic, positions: Iterable[tuple[int, int]]) -> Actions:
    """Returns the actions of the records at these partitions and offsets, made from events and not from files."""
    decoded = decode_batch([record for p, o in positions if (record := topic.records[p][o]) is not None])
    return actions_of(decoded.events, judge_times(decoded.times, decoded.record_times)[0], decoded.lines)


def assert_same_actions(actions: Actions, expected: Actions) -> None:
    """Compares actions column by column, their number formats included."""
    assert words_of_searches(actions) == words_of_searches(expected)
    for name in ("users", "items", *ARRAYS):
        column, other = getattr(actions, name), getattr(expected, name)
        assert list(column) == list(other) or np.array_equal(column, other, equal_nan=name == "amounts"), name
        assert getattr(column, "dtype", None) == getattr(other, "dtype", None), name


def positions_in(folder: Path) -> list[tuple[int, int]]:
    """Returns partition and offset of all rows in their order."""
    return [(row["partition"], row["offset"]) for row in rows_in(folder)]


def shown_in(folder: Path) -> list[dict[str, Any]]:
    """Reads all rows of what was shown with pyarrow alone."""
    return rows_in(folder / "_shown")


def files_of(folder: Path) -> list[Path]:
    """Finds the files as any reader of Parquet folders does; returns them in the order of their numbers."""
    return sorted(folder.glob("day=*/[0-9]*.parquet"), key=lambda path: path.name)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """Reads all rows with pyarrow alone."""
    return [row for path in files_of(folder) for row in pq.read_table(path, partitioning=None).to_pylist()]


def offsets(rows: Iterable[dict[str, Any]]) -> Counter[tuple[int, int]]:
    """Counts how often each partition and offset is there."""
    return Counter((row["partition"], row["offset"]) for row in rows)
