"""Reads the events topic into the history: an event is in a file before it counts as read."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from model.data.disk_log import TrainingWindow
from model.data.event_time import judge_times
from model.data.events import actions_of
from model.data.price_bins import NO_BINS, PriceBins
from model.items.attributes import completed
from model.items.catalogue import ItemCatalogue
from model.rounds.drift import DriftMonitor
from stream_app.contract.decoded import DecodedBatch
from stream_app.contract.events import decode_batch
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.records import Record, UnreadableBatch
from stream_app.errors import HistoryUnusable
from stream_app.history.event_history import EventHistory
from stream_app.history.file_chain import FileChain
from stream_app.history.files import Span, Stream
from stream_app.history.offset_chain import OffsetGap
from stream_app.history.rows import known_time, rows_of, shown_rows_of
from stream_app.history.storage import HistoryStorage
from stream_app.history.tables import events_table
from stream_app.kafka.topic_admin import cluster_id
from stream_app.settings import Settings
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.trainer.topic_reader import TopicReader
from stream_app.trainer.training_window import training_window

_MOST_UNWRITTEN: Final = 50_000  # records
_LONGEST_UNWRITTEN_S: Final = 60.0
_LOOK_EVERY_S: Final = 60.0  # for events that were imported meanwhile

RowsIn = Callable[[int, Sequence[Record]], pa.RecordBatch]  # of a partition and some of its records

logger: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class UnwrittenEvents:
    """What was read and is not in a file yet."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    shown: list[pa.RecordBatch] = field(default_factory=list)
    records: int = 0  # valid events or not
    missing: int = 0  # records that Kafka had removed
    since: float = math.inf  # when the first event was read, in seconds

    def add(self, partition: int, offsets: Sequence[int], decoded: DecodedBatch, now: float) -> None:
        """Adds what the records at these offsets say."""
        self.records += len(offsets)
        if decoded.events:
            self.batches.append(rows_of(partition, offsets, decoded))
        if decoded.shown:
            self.shown.append(shown_rows_of(partition, offsets, decoded.shown))
        if decoded.events or decoded.shown:
            self.since = min(self.since, now)

    def is_due(self, now: float) -> bool:
        """Returns whether a file is due. Records that are not events can be read again at no cost."""
        return self.records >= _MOST_UNWRITTEN or now - self.since >= _LONGEST_UNWRITTEN_S


class EventRecorder:
    """Keeps the history of an events topic up to date."""

    def __init__(
        self,
        settings: Settings,
        metrics: TrainerMetrics,
        clock: Callable[[], float],
        catalogue: ItemCatalogue | None = None,
    ) -> None:
        """`clock` gives seconds since the epoch. `catalogue` says what events do not say of their items."""
        self._catalogue = catalogue
        self._settings = settings
        self._options = DecodeOptions.of(settings)
        self._metrics = metrics
        self._clock = clock
        self._topic = TopicReader(settings)
        self._stream = Stream("", settings.events_topic, settings.stream_epoch)
        self._history: EventHistory | None = None
        self._written: dict[int, int] = {}  # the offset at which the files end, by partition
        self._read: dict[int, int] = {}  # the offset at which the next read begins, by partition
        self._unwritten = UnwrittenEvents()
        self.drift: DriftMonitor | None = None  # since the last round; what is read is added to it
        self._next_look = 0.0  # for imported events, on the loop's clock
        self.events = 0  # in the history at the start, and read or imported since

    @property
    def history(self) -> EventHistory:
        """The files, once `open` has been called."""
        assert self._history is not None
        return self._history

    async def open(self) -> None:
        """Opens the history. Raises `HistoryUnusable` when another process has it, or it is another stream's."""
        self._stream = Stream(await cluster_id(self._settings, "trainer"), self._stream.topic, self._stream.epoch)
        table = events_table(self._settings.write_format)
        self._history = EventHistory(HistoryStorage(self._settings.history_address, table))
        self._written = self._history.positions(self._stream)
        self.events = self._history.rows
        self._show()

    async def start(self) -> None:
        """Connects, fills the gaps that damage has left, and resumes where the files end.

        Raises `HistoryUnusable` when the offsets in the history are not those of this topic.
        """
        await self._topic.start()
        await self._check_identity()
        for gap in list(self.history.events.gaps):
            await self._fill(self.history.events, gap, self._event_rows)
        for gap in list(self.history.shown.gaps):
            await self._fill(self.history.shown, gap, self._shown_rows)
        await asyncio.to_thread(self.history.use_format)
        await self._resume(self._written)
        self._written = {partition: self._written.get(partition, 0) for partition in self._read}

    async def stop(self) -> None:
        """Disconnects and closes the history. What is not in a file yet is read again at the next start."""
        await self._topic.stop()
        if self._history is not None:
            self._history.close()

    async def read_to_end(self) -> None:
        """Reads all that was published before the call."""
        for partition, span in (await self._topic.bounds()).items():
            while self._read[partition] < span.next:
                await self.read(timeout=0.5)

    async def read(self, timeout: float) -> None:
        """Reads what has come within `timeout` seconds. Raises `HistoryFailed`."""
        await self._look_at_imports()
        fetched = await self._topic.read(timeout)
        if fetched is None:
            await self._resume(self._read)
            return
        positions = await self._topic.positions()
        # Nothing is awaited from here on: the unwritten events and the offsets behind them change together or not.
        now = asyncio.get_running_loop().time()
        for partition, records in fetched.items():
            self._unwritten.add(partition, [record.offset for record in records], self._decode(records), now)
        self._read = positions
        if self._unwritten.is_due(now):
            self._write()

    async def _look_at_imports(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            return
        imported = self.history.imported
        self._next_look, before = now + _LOOK_EVERY_S, imported.rows
        await asyncio.to_thread(imported.look)
        if imported.rows > before:
            logger.info("%d events were imported", imported.rows - before)
            self.events += imported.rows - before
            self._show()

    def record(self) -> None:
        """Writes the events that are not in a file yet into one. Raises `HistoryFailed`."""
        if self._unwritten.batches or self._unwritten.shown:
            self._write()

    async def keep_up(self) -> None:
        """Does what is due before a round: writes all events, merges finished days, deletes old ones."""
        self.record()
        await asyncio.to_thread(self.history.keep_up, self._settings.history_days)
        self._show()

    def window(self, files: ExitStack, until: int, bins: PriceBins = NO_BINS) -> TrainingWindow:
        """Reads what a round learns from; see `training_window`."""
        return training_window(self.history, self._settings, files, until, self._catalogue, bins)

    def _write(self) -> None:
        unwritten = self._unwritten
        spans = {partition: Span(self._written[partition], end) for partition, end in self._read.items()}
        self.history.append(
            unwritten.batches, self._stream, spans,
            written=self._now(), missing=unwritten.missing, shown=unwritten.shown,
        )  # fmt: skip
        self._written, self._unwritten = dict(self._read), UnwrittenEvents()
        self._show()

    def _decode(self, records: Sequence[Record]) -> DecodedBatch:
        """Decodes records that are read for the events in them."""
        decoded = decode_batch(records, options=self._options)
        self._metrics.events.inc(decoded.lines.count(0))
        rejected = [records[one.position] for one in decoded.rejected]
        self._metrics.rejected.inc(
            sum([record.records if isinstance(record, UnreadableBatch) else 1 for record in rejected])
        )
        self.events += len(decoded.events)
        self._compare(decoded)
        return decoded

    def _compare(self, decoded: DecodedBatch) -> None:
        """Compares new events with those that the last round learned from."""
        if self.drift is not None and decoded.events:
            times, _ = judge_times(decoded.times, decoded.record_times)
            actions = actions_of(decoded.events, times, decoded.lines)
            if self._catalogue:
                actions = completed(actions, [event.market for event in decoded.events], self._catalogue)
            self.drift.add(actions)

    async def _resume(self, positions: dict[int, int]) -> None:
        """Resumes at these positions; of a partition without one, at the oldest offset that Kafka has."""
        bounds = await self._topic.bounds()
        self._read = {}
        for partition, available in bounds.items():
            position = positions.get(partition, available.first)
            if position > available.next:  # the log was cut meanwhile: Kafka would refuse this offset again and again
                raise self._other_topic(f"partition {partition} ends at offset {available.next}, {position} was read")
            self._read[partition] = max(position, available.first)
            missing = available.first - position
            self._unwritten.missing += self._count_missing(missing, f"partition {partition} from {position} on")
        self._topic.seek(self._read)

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
                async for _, records in self._topic.read_spans({partition: Span(offset, offset + 1)}):
                    if [known_time(record.timestamp) for record in records] not in ([], [time]):
                        raise self._other_topic(f"partition {partition} has another record at offset {offset}")

    def _other_topic(self, what: str) -> HistoryUnusable:
        return HistoryUnusable(
            f"topic {self._stream.topic!r} is not the one that {self._settings.history_address!r} is the history of: "
            f"{what}. If the topic was created again, set NEXTACT_STREAM_EPOCH above {self._stream.epoch}, and the "
            "history goes on with the new offsets; else set NEXTACT_HISTORY to another path"
        )

    def _event_rows(self, partition: int, records: Sequence[Record]) -> pa.RecordBatch:
        return rows_of(partition, [record.offset for record in records], self._decode(records))

    def _shown_rows(self, partition: int, records: Sequence[Record]) -> pa.RecordBatch:
        shown = decode_batch(records, options=self._options).shown
        return shown_rows_of(partition, [record.offset for record in records], shown)

    async def _fill(self, files: FileChain, gap: OffsetGap, rows_in: RowsIn) -> None:
        """Reads again what a damaged file had held."""
        bounds = await self._topic.bounds() if gap.stream == self._stream else {}
        available: dict[int, Span] = {}
        for partition, span in gap.spans.items():
            first = bounds[partition].first if bounds else span.next
            available[partition] = Span(min(max(span.first, first), span.next), span.next)
        spans = available if gap.from_start else dict(gap.spans)
        missing = sum(available[partition].first - span.first for partition, span in spans.items())
        with files.fill_gap(gap, spans, written=self._now(), missing=missing) as gap_writer:
            async for partition, records in self._topic.read_spans(available):
                gap_writer.write(rows_in(partition, records))
        where = f"the gap before file {gap.number + 1} of the {files.storage.table.rows}"
        logger.info("%s is filled with %d rows", where, gap_writer.rows)
        self._count_missing(missing, where)
        self._show()

    def _count_missing(self, records: int, where: str) -> int:
        """Counts and logs records that Kafka had removed before they were read; a negative number counts as 0."""
        if records > 0:
            self._metrics.history_missing.inc(records)
            logger.warning("Kafka had removed %d records before the history had them: %s", records, where)
        return max(records, 0)

    def _now(self) -> int:
        return round(1000 * self._clock())

    def _show(self) -> None:
        self._metrics.history_rows.set(self.history.rows)
        self._metrics.history_bytes.set(self.history.size)
        tables = (self.history.events, self.history.shown, self.history.imported)
        self._metrics.history_files.set(sum(len(table.files) for table in tables))
        self._metrics.history_shown.set(self.history.shown.rows)
