"""Counts every committed event once, and writes counts and offsets together, in one transaction about once a second.

Who begins registers the transactional id: that aborts what the writer before left open and locks it out. Then the topic
is read to its end, and what it says is the state after the last transaction: counts, and the offsets up to which they
go. Whatever fails ends the process, with all that was counted since; the next one counts it again from there.

All rows that changed are in a transaction: offsets that went further than the rows would lose counts. So that a backlog
does not flood the readers, transactions are further apart while there is one, by how much the last one wrote.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka import TopicPartition

from stream_app.contract.access import statistics_transactional_id
from stream_app.contract.records import Record
from stream_app.contract.topics import LARGEST_BATCH
from stream_app.following.follower import TopicFollower
from stream_app.kafka.clients import new_consumer, new_producer
from stream_app.kafka.encoded_batch import EncodedBatch, RecordBatch, encode_records
from stream_app.kafka.log_range import LogRange, gap_to
from stream_app.kafka.refusals import named_rights
from stream_app.kafka.topic_admin import cluster_id
from stream_app.settings import Settings
from stream_app.statistics.counting import Counting, batches_by_partition
from stream_app.statistics.metrics import WriterMetrics
from stream_app.statistics.position import FORMAT, Position, offsets_to_go_on, position_record
from stream_app.statistics.read_records import AppliedRecords

T = TypeVar("T")

WARM_UP: Final = 200_000  # records before those to count, at most, that say what users did of late
_AT_ONCE: Final = 5_000  # records that are counted at once
_POLL_MS: Final = 200
_LEAST_S: Final = 1.0  # seconds between two transactions
_HEARTBEAT_S: Final = 10.0  # seconds between two where nothing comes: the readers' age says that somebody counts
_RATE: Final = 2_000  # rows a second that readers are given on average …
_LONGEST_S: Final = 2.0  # … but no longer than this between two transactions, when all has been counted …
_LONGEST_BEHIND_S: Final = 300.0  # … or this, with a backlog
_PIECE: Final = 10_000  # rows of a transaction that are in memory as records at once
_TRANSACTION_TIMEOUT_MS: Final = 300_000  # after a backlog a transaction has all rows that there are

logger: Final = logging.getLogger(__name__)


class Beginning(NamedTuple):
    """What was counted of stored events, and where these end, by partition."""

    counting: Counting
    offsets: Mapping[int, int]


class StatisticsWriter:
    """The one that counts."""

    def __init__(
        self,
        settings: Settings,
        counting: Counting,
        metrics: WriterMetrics,
        clock: Callable[[], float],
        begin: Callable[[str], Beginning | None] = lambda _: None,
    ) -> None:
        """`clock` in seconds since the epoch. `begin` counts what was stored of the events of a cluster, if any was,
        for the first of all writers."""
        self.position: Position | None = None  # that was written last
        self.counting = counting
        self._settings, self._metrics, self._clock, self._begin = settings, metrics, clock, begin
        self._thread = ThreadPoolExecutor(1, "counting")
        self._producer: Any = None
        self._consumer: Any = None
        self._partitions = 1  # of the statistics' topic
        self._offsets: dict[int, int] = {}  # of the first event of each partition that is not counted
        self._ends: dict[int, int] = {}  # of the partitions, when counting began
        self._behind: dict[int, int] = {}  # partitions with a backlog; time of the last event counted, ms; 0: none yet
        self._wait = _LEAST_S  # seconds to the next transaction

    async def run(self) -> None:
        """Counts until cancelled. Raises `UsageError`, `DataPathError`, or aiokafka's error: then it must not go on."""
        async with AsyncExitStack() as stopping:
            stopping.callback(self._thread.shutdown)
            self._producer = new_producer(
                self._settings,
                "trainer",
                transactional_id=statistics_transactional_id(self._settings),
                transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
                acks="all",
                max_batch_size=LARGEST_BATCH,
            )
            with named_rights("Write"):
                await self._producer.start()
            stopping.push_async_callback(self._producer.stop)
            await self._load()
            self._consumer = new_consumer(
                self._settings,
                "trainer",
                auto_offset_reset="none",
                isolation_level="read_committed",
                fetch_max_wait_ms=_POLL_MS,
            )
            await self._consumer.start()
            stopping.push_async_callback(self._consumer.stop)
            await self._go_on()
            await self._count()

    async def _load(self) -> None:
        """Reads what the writers before have counted."""
        content = AppliedRecords(self.counting.table)
        topic = self._settings.statistics_topic
        follower = TopicFollower(self._settings, "trainer", topic, content, called="statistics")
        try:
            await follower.start()
        finally:
            await follower.stop()
        self.position, self._partitions = content.position, max(follower.partitions, 1)

    async def _go_on(self) -> None:
        """Moves to where counting goes on, having noted what users did before that."""
        topic = self._settings.events_topic
        partitions = [TopicPartition(topic, number) for number in range(self._settings.partitions)]
        begins, ends = await self._consumer.beginning_offsets(partitions), await self._consumer.end_offsets(partitions)
        logs = {tp.partition: LogRange(begins[tp], ends[tp]) for tp in partitions}
        self._ends = {number: log.end for number, log in logs.items()}
        known = offsets_to_go_on(self.position, self._settings)
        if self.position is None:
            known = await self._first()
        if not known:
            logger.info("the statistics begin with the oldest events of %s", topic)
        self._offsets = {number: _start(number, log, (known or {}).get(number)) for number, log in logs.items()}
        self._consumer.assign(partitions)
        await self._warm_up({number: log.start for number, log in logs.items()})
        for tp in partitions:
            self._consumer.seek(tp, self._offsets[tp.partition])
        logger.info("counting from %s; %d items are known", self._offsets, len(self.counting.table))

    async def _first(self) -> Mapping[int, int] | None:
        """Counts what was stored of the events, if anything was, and returns where that ends."""
        begun = await self._in_thread(partial(self._begin, await cluster_id(self._settings, "trainer")))
        if begun is None:
            return None
        self.counting = begun.counting
        logger.info("the statistics begin with the history: %d items", len(self.counting.table))
        return begun.offsets

    async def _warm_up(self, begins: Mapping[int, int]) -> None:
        """Reads the newest events that are counted again, for what their users did, without counting them."""
        share = WARM_UP // max(len(self._offsets), 1)
        left = {}
        for number, offset in self._offsets.items():
            tp = TopicPartition(self._settings.events_topic, number)
            start = max(begins[number], offset - share)
            self._consumer.seek(tp, start)
            if start < offset:
                left[tp] = offset
        while left:
            fetched = await self._consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=_AT_ONCE)
            records = [record for tp, several in fetched.items() for record in several if record.offset < left[tp]]
            await self._in_thread(partial(self.counting.learn, records, counted=False))
            left = {tp: end for tp, end in left.items() if await self._consumer.position(tp) < end}

    async def _count(self) -> None:
        loop = asyncio.get_running_loop()
        written, changed = loop.time(), True  # the first transaction says who counts
        while True:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
            offsets = {tp.partition: await self._consumer.position(tp) for tp in self._consumer.assignment()}
            records = [record for several in fetched.values() for record in several]
            if records:
                self._metrics.events.inc(await self._in_thread(partial(self.counting.learn, records)))
            changed = changed or offsets != self._offsets
            self._note(fetched, offsets)
            if loop.time() - written >= (self._wait if changed else _HEARTBEAT_S):
                written, changed = loop.time(), False
                await _whole(self._write())

    def _note(self, fetched: Mapping[TopicPartition, Sequence[Record]], offsets: dict[int, int]) -> None:
        """Notes how far events are counted, and when the last ones of the partitions that are behind had come."""
        self._offsets = offsets
        ends = {
            tp.partition: max(self._consumer.highwater(tp) or 0, self._ends[tp.partition])
            for tp in self._consumer.assignment()
        }
        self._behind = {
            number: self._behind.get(number, 0) for number, end in ends.items() if end - offsets[number] > _AT_ONCE
        }
        self._behind |= {
            tp.partition: several[-1].timestamp for tp, several in fetched.items() if tp.partition in self._behind
        }

    async def _write(self) -> None:
        """Writes all that has changed, and the offsets, in one transaction."""
        self.position = Position(
            format=FORMAT,
            topic=self._settings.events_topic,
            epoch=self._settings.stream_epoch,
            offsets=dict(self._offsets),
            written=self._now(),
            until=min(self._behind.values()) if self._behind else self._now(),
            dropped=dict(self.counting.table.dropped),
        )
        written = 0
        with named_rights("Write"):
            await self._producer.begin_transaction()
            while some := await self._in_thread(self._changes):
                written += await self._send(some)
            await self._send([(0, batch) for batch in encode_records([position_record(self.position)])])
            await self._producer.commit_transaction()
        self._metrics.records.inc(written)
        longest = _LONGEST_BEHIND_S if self._behind else _LONGEST_S
        self._wait = min(max(_LEAST_S, written / _RATE), longest)

    def _changes(self) -> list[tuple[int, RecordBatch]]:
        changes = self.counting.counter.take_changes(_PIECE)
        return batches_by_partition(changes, self._partitions, self._settings.compression)

    async def _send(self, batches: Sequence[tuple[int, RecordBatch]]) -> int:
        """Writes batches, each to its partition, and returns how many records they have."""
        sends = [
            await self._producer.send_batch(
                EncodedBatch(batch, time=self._clock(), transactional=True),
                self._settings.statistics_topic,
                partition=number,
            )
            for number, batch in batches
        ]
        await asyncio.gather(*sends)  # a commit would go through although a record was refused
        return sum(batch.records for _, batch in batches)

    def _now(self) -> int:
        return round(1000 * self._clock())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Does work to its end, also when cancelled meanwhile: a transaction that is left open holds readers up."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _start(number: int, log: LogRange, counted: int | None) -> int:
    """Returns where counting goes on in a partition of the events, and says so where that is not where it ended."""
    if counted is None:
        return log.start
    if (gap := gap_to(log, counted)) is None:
        return counted
    why = "were deleted before they were counted" if gap.reason == "retention" else "are gone: the log was cut"
    logger.warning(
        "partition %d of the events: %d records %s; the statistics go on at offset %d",
        number,
        gap.records,
        why,
        gap.next,
    )
    return gap.next
