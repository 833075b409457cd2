"""From the events topic to the history: what the trainer has read is in a file before it counts as read."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from model.data.disk_log import Window
from model.data.event_time import judged
from model.data.events import actions_of
from model.rounds.drift import DriftMonitor
from stream_app.contract.events import DecodedBatch, decode_batch
from stream_app.contract.records import Record
from stream_app.errors import HistoryUnusable
from stream_app.history.event_history import EventHistory
from stream_app.history.files import Span, Stream
from stream_app.history.offset_chain import OffsetGap
from stream_app.history.rows import known_time, rows_of
from stream_app.history.storage import HistoryStorage
from stream_app.kafka.topic_admin import cluster_id
from stream_app.settings import Settings
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.trainer.topic_reader import TopicReader
from stream_app.trainer.training_window import training_window

_MOST_WAITING: Final = 50_000  # records
_LONGEST_WAIT_S: Final = 60.0

logger: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Waiting:
    """What was read and is in no file yet."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    records: int = 0  # events or not
    missing: int = 0  # that Kafka had removed
    since: float = math.inf  # when the first event was read, in seconds

    def add(self, rows: pa.RecordBatch, records: int, now: float) -> None:
        """Takes in the events of so many records."""
        self.records += records
        if rows.num_rows:
            self.batches.append(rows)
            self.since = min(self.since, now)

    def is_due(self, now: float) -> bool:
        """Whether it is enough for a file. Records that are no events are read again at no cost."""
        return self.records >= _MOST_WAITING or now - self.since >= _LONGEST_WAIT_S


class EventRecorder:
    """The history of an events topic, kept up to date by reading."""

    def __init__(self, settings: Settings, metrics: TrainerMetrics, clock: Callable[[], float]) -> None:
        """`clock`: seconds since the epoch."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._topic = TopicReader(settings)
        self._stream = Stream("", settings.events_topic, settings.stream_epoch)
        self._history: EventHistory | None = None
        self._written: dict[int, int] = {}  # where the files end, by partition
        self._read: dict[int, int] = {}  # where what was read ends
        self._waiting = Waiting()
        self.population: DriftMonitor | None = None  # of the last round; what is read is added to it
        self.events = 0  # those that the history had at the start, and those read since

    @property
    def history(self) -> EventHistory:
        """The files; there once the events are open."""
        assert self._history is not None
        return self._history

    async def open(self) -> None:
        """Takes the history. Raises `HistoryUnusable` when another process has it, or it is another stream's."""
        self._stream = Stream(await cluster_id(self._settings), self._stream.topic, self._stream.epoch)
        self._history = EventHistory(HistoryStorage(self._settings.history_address))
        self._written = self._history.positions(self._stream)
        self.events = self._history.rows
        self._show()

    async def start(self) -> None:
        """Connects, closes the gaps that damage has left, and goes on where the files end.

        Raises `HistoryUnusable` when the offsets in the history are not those of this topic.
        """
        await self._topic.start()
        await self._check_identity()
        for gap in list(self.history.gaps):
            await self._fill(gap)
        await self._go_on(self._written)
        self._written = {partition: self._written.get(partition, 0) for partition in self._read}

    async def stop(self) -> None:
        """Disconnects and gives the history back. What is in no file yet is read again at the next start."""
        await self._topic.stop()
        if self._history is not None:
            self._history.close()

    async def read_to_end(self) -> None:
        """Reads all that was published before the call."""
        for partition, span in (await self._topic.bounds()).items():
            while self._read[partition] < span.next:
                await self.read(timeout=0.5)

    async def read(self, timeout: float) -> None:
        """Reads what has come; waits for `timeout` seconds at most. Raises `HistoryFailed`."""
        fetched = await self._topic.read(timeout)
        if fetched is None:
            await self._go_on(self._read)
            return
        positions = await self._topic.positions()
        # From here on nothing is awaited: what waits and where it ends change together or, when cancelled, not at all.
        now = asyncio.get_running_loop().time()
        for partition, records in fetched.items():
            self._waiting.add(self._rows(partition, records), len(records), now)
        self._read = positions
        if self._waiting.is_due(now):
            self._write()

    def record(self) -> None:
        """Puts the events that wait into a file. Raises `HistoryFailed`."""
        if self._waiting.batches:
            self._write()

    async def keep_up(self) -> None:
        """What is due before a round: all events in files, finished days merged, old ones forgotten."""
        self.record()
        await asyncio.to_thread(self.history.keep_up, self._settings.history_days)
        self._show()

    def window(self, files: ExitStack, until: int) -> Window:
        """What a round learns from, as `training_window`."""
        return training_window(self.history, self._settings, files, until)

    def _write(self) -> None:
        waiting = self._waiting
        spans = {partition: Span(self._written[partition], end) for partition, end in self._read.items()}
        self.history.append(waiting.batches, self._stream, spans, written=self._now(), missing=waiting.missing)
        self._written, self._waiting = dict(self._read), Waiting()
        self._show()

    def _rows(self, partition: int, records: Sequence[Record]) -> pa.RecordBatch:
        decoded = decode_batch(records)
        self._metrics.events.inc(len(decoded.events))
        self._metrics.rejected.inc(len(decoded.rejected))
        self.events += len(decoded.events)
        self._compare(decoded)
        return rows_of(partition, [record.offset for record in records], decoded)

    def _compare(self, decoded: DecodedBatch) -> None:
        """Holds new events against those that the last round learned from."""
        if self.population is not None and decoded.events:
            times, _ = judged(decoded.times, decoded.record_times)
            self.population.add(actions_of(decoded.events, times))

    async def _go_on(self, positions: dict[int, int]) -> None:
        """Reads on at these positions, or at what Kafka has of a partition that is not among them."""
        bounds = await self._topic.bounds()
        self._read = {}
        for partition, kept in bounds.items():
            position = positions.get(partition, kept.first)
            self._read[partition] = max(position, kept.first)
            self._waiting.missing += self._missed(kept.first - position, f"partition {partition} from {position} on")
        self._topic.go_to(self._read)

    async def _check_identity(self) -> None:
        """Raises `HistoryUnusable` when the topic cannot be the one that the files were read from."""
        bounds = await self._topic.bounds()
        for partition, position in self._written.items():
            end = bounds.get(partition, Span(0, 0)).next
            if position > end:
                raise self._other_topic(f"partition {partition} ends at offset {end}, the history at {position}")
        if not self._written:
            return
        for partition, (offset, time) in self.history.last_rows().items():
            if offset >= bounds[partition].first:
                async for _, records in self._topic.within({partition: Span(offset, offset + 1)}):
                    if [known_time(record.timestamp) for record in records] not in ([], [time]):
                        raise self._other_topic(f"partition {partition} has another record at offset {offset}")

    def _other_topic(self, what: str) -> HistoryUnusable:
        return HistoryUnusable(
            f"topic {self._stream.topic!r} is not the one that {self._settings.history_address!r} is the history of: "
            f"{what}. If the topic was made anew, set NEXTACT_STREAM_EPOCH above {self._stream.epoch}, and the history "
            "goes on with the new offsets; else set NEXTACT_HISTORY to another place"
        )

    async def _fill(self, gap: OffsetGap) -> None:
        """Reads again what a damaged file had."""
        bounds = await self._topic.bounds() if gap.stream == self._stream else {}
        there: dict[int, Span] = {}
        for partition, span in gap.spans.items():
            first = bounds[partition].first if bounds else span.next
            there[partition] = Span(min(max(span.first, first), span.next), span.next)
        spans = there if gap.from_start else dict(gap.spans)
        missing = sum(there[partition].first - span.first for partition, span in spans.items())
        with self.history.fill_gap(gap, spans, written=self._now(), missing=missing) as gap_writer:
            async for partition, records in self._topic.within(there):
                gap_writer.write(self._rows(partition, records))
        logger.info("the gap before file %d of the history is closed with %d events", gap.number + 1, gap_writer.rows)
        self._missed(missing, f"the gap before file {gap.number + 1}")
        self._show()

    def _missed(self, records: int, where: str) -> int:
        """Counts and tells what Kafka had removed before it was read; none if negative."""
        if records > 0:
            self._metrics.history_missing.inc(records)
            logger.warning("Kafka had removed %d records before the history had them: %s", records, where)
        return max(records, 0)

    def _now(self) -> int:
        return round(1000 * self._clock())

    def _show(self) -> None:
        self._metrics.history_rows.set(self.history.rows)
        self._metrics.history_bytes.set(self.history.size)
        self._metrics.history_files.set(len(self.history.files))
