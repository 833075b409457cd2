"""A topic as lists of records, and a reader that writes its history, for tests without a broker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from aiokafka import ConsumerRecord

from stream_app.contract.events import decode_batch
from stream_app.history.event_history import EventHistory
from stream_app.history.files import Span, Stream
from stream_app.history.rows import rows_of
from stream_app.history.storage import HistoryStorage
from tests.unit.builders.basics import make_record

STREAM = Stream("cluster-1", "shop.events", 1)
NOON = 1_767_355_200_000  # 2026-01-02, in ms
HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass
class Topic:
    """Partitions of records; offsets in `gone` are markers of transactions, those below `firsts` were removed."""

    records: dict[int, list[ConsumerRecord[bytes, bytes] | None]] = field(default_factory=dict)
    firsts: dict[int, int] = field(default_factory=dict)

    def add(self, partition: int, *, user: str = "ada", time: int = NOON, kind: str = "event", **fields: Any) -> None:
        """Adds an `event`, a `bad` record or a `marker`, which nobody is given."""
        log = self.records.setdefault(partition, [])
        event = {"user_id": user, "type": "view", "item_id": f"item {len(log)}"} | fields
        value = json.dumps(event).encode() if kind == "event" else b"no json"
        found = make_record(value, key=user.encode(), offset=len(log), timestamp=time, partition=partition)
        log.append(None if kind == "marker" else found)

    def events(self) -> Counter[tuple[int, int]]:
        """Partition and offset of each event that ever was."""
        every = (record for log in self.records.values() for record in log)
        return Counter((r.partition, r.offset) for r in every if r is not None and r.value != b"no json")


_opened: list[EventHistory] = []


def open_history(folder: Path | str) -> EventHistory:
    """A history that `close_all` closes, if nobody did before."""
    _opened.append(EventHistory(HistoryStorage(str(folder))))
    return _opened[-1]


def close_all() -> None:
    """Gives all locks back."""
    while _opened:
        _opened.pop().close()


class Reader:
    """Reads a topic into a history, as a trainer does, from where the files end."""

    def __init__(self, folder: Path | str, topic: Topic, *, stream: Stream = STREAM) -> None:
        self.topic, self.stream, self.now = topic, stream, NOON + 30 * DAY
        self.history = open_history(folder)
        self.read: dict[int, int] = self.history.positions(stream)
        self.written = dict(self.read)
        self.batches: list[pa.RecordBatch] = []
        for gap in list(self.history.gaps):
            spans = {p: Span(topic.firsts.get(p, 0), s.next) if gap.from_start else s for p, s in gap.spans.items()}
            with self.history.fill_gap(gap, spans, written=self.now, missing=0) as gap_writer:
                for partition, span in spans.items():
                    gap_writer.write(self._rows(partition, span.first, span.next))

    def take(self, partition: int, count: int = 1_000_000) -> Reader:
        """Reads on in a partition."""
        first = self.topic.firsts.get(partition, 0)
        start = max(self.read.setdefault(partition, first), first)
        self.written.setdefault(partition, 0)
        self.read[partition] = min(start + count, len(self.topic.records[partition]))
        self.batches.append(self._rows(partition, start, self.read[partition]))
        return self

    def take_all(self) -> Reader:
        """Reads all partitions to the end."""
        for partition in self.topic.records:
            self.take(partition)
        return self

    def append(self, missing: int = 0) -> Reader:
        """Writes what was read into a file, if there is anything."""
        if self.read != self.written:
            spans = {partition: Span(self.written[partition], end) for partition, end in self.read.items()}
            self.history.append(self.batches, self.stream, spans, written=self.now, missing=missing)
            self.written, self.batches = dict(self.read), []
        return self

    def close(self) -> None:
        """Ends; what is in no file is forgotten."""
        self.history.close()

    def _rows(self, partition: int, first: int, end: int) -> pa.RecordBatch:
        records = [record for record in self.topic.records[partition][first:end] if record is not None]
        return rows_of(partition, [record.offset for record in records], decode_batch(records))


def files_of(folder: Path) -> list[Path]:
    """The files as any reader of Parquet folders finds them, in the order of their numbers."""
    return sorted(folder.glob("day=*/[0-9]*.parquet"), key=lambda path: path.name)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """All rows, by pyarrow alone."""
    return [row for path in files_of(folder) for row in pq.read_table(path, partitioning=None).to_pylist()]


def offsets(rows: Iterable[dict[str, Any]]) -> Counter[tuple[int, int]]:
    """How often each offset is there."""
    return Counter((row["partition"], row["offset"]) for row in rows)
