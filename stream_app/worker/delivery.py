"""What makes a batch durable: the seam, and the default guarantee, in the order of the design's invariant.

Per partition, at every instant: predictions, dead letters and signals acknowledged >= changelog acknowledged >= joins
acknowledged >= fetch acknowledged. A user whose changelog record says that an event was applied has therefore been
answered for it, and a sequence that is on its way to another user is one that its own user has given away.
The other guarantee, exactly once, is in `exactly_once`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer

from stream_app.contract.topics import LARGEST_BATCH, LARGEST_DEAD_LETTER
from stream_app.kafka.batch_queue import BatchQueue, PartitionBatch, QueuedBatches, make_lean, topic_partition
from stream_app.kafka.clients import new_producer
from stream_app.kafka.encoded_batch import EncodedBatch, RecordBatch
from stream_app.kafka.refusals import named_rights
from stream_app.pipeline.batch_result import BatchResult
from stream_app.settings import Settings
from stream_app.worker.lease import Lease

_BEAT_S: Final = 0.02  # longest that the changelog records of a small batch wait for others
_LARGE: Final = 256  # changed users of a batch that wait for nobody


@dataclass(frozen=True, slots=True)
class DeliveryReceipt:
    """What the broker has acknowledged of a batch."""

    answered_at: float  # seconds since the epoch, when the predictions were acknowledged
    changelog: range | None  # offsets up to the last record's, all of them its own; None: there was no record


class Delivery(Protocol):
    """The seam: each delivery guarantee is one implementation."""

    @property
    def commits_offsets(self) -> bool:
        """Whether a delivery commits the offsets that it answers; else Faust does, after the acknowledgement."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def assigned(self, partitions: Collection[int]) -> None:
        """From now on this worker answers for these partitions of the events topic, and for no others.

        Called after each rebalance, before states are recovered, while nothing is being delivered.
        Raises on any failure: the process must then end.
        """

    def log_was_cut(self, partition: int) -> None:
        """Notes that the log of a partition of the events gives offsets again that were answered before.

        Called while nothing of it is being delivered.
        """

    def heartbeat(self, sent: float, *, accepted: bool) -> None:
        """Notes whether the group took a heartbeat, sent at this time (seconds, monotonic), or knows no such member.

        Called in the thread of Faust's consumer; not at all for a heartbeat without an answer.
        """

    async def deliver(self, results: Sequence[BatchResult], offsets: Mapping[int, range]) -> list[DeliveryReceipt]:
        """Makes a batch durable; returns a receipt for each partition's result, in their order.

        `offsets`, by partition, are those of the events topic that the batch answers, to the one where the next batch
        begins; none for a batch of joins. Calls come in the order of the batches, but a call may come before the one
        before it has ended: each partition's records are written in the order of the calls.
        Raises on any failure: the process must then end.
        """


@dataclass(frozen=True, slots=True)
class _AnsweredBatch:
    """A batch whose predictions, dead letters and signals are on their way, or there."""

    results: Sequence[BatchResult]
    answers: QueuedBatches
    receipts: asyncio.Future[list[DeliveryReceipt]]

    @property
    def large(self) -> bool:
        return sum(len(result.states) for result in self.results) >= _LARGE


class AtLeastOnce:
    """Predictions and dead letters first, then the changelog: at least once answered, once applied.

    Each batch is answered at once. The changelog records of small batches wait for each other, so that a busy stream
    of small batches needs a second request, a write of the local store and the rest only now and then. Whole batches
    are in order, whatever their partitions.
    """

    commits_offsets = False

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self._settings = settings
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._lease: Lease | None = None
        self._order = asyncio.Lock()
        self._most = max(settings.in_flight - 1, 1)  # batches that may wait: one more is being computed
        self._under_way: deque[_AnsweredBatch] = deque()
        self._begun = asyncio.Event()  # set while batches are under way
        self._due = asyncio.Event()  # set when their changelog should wait no longer
        self._saving: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def start(self) -> None:
        """Connects; raises aiokafka's errors."""
        self._producer = delivery_producer(self._settings, enable_idempotence=True)
        make_lean(self._producer)
        await self._producer.start()
        self._queue = BatchQueue(self._producer, self._clock)
        self._lease = Lease(self._settings.session_timeout, monotonic)
        self._saving = asyncio.create_task(self._save_all())

    async def stop(self) -> None:
        """Sends what is left and disconnects."""
        if self._saving is not None:
            self._saving.cancel()
        if self._producer is not None:
            await self._producer.stop()

    async def assigned(self, partitions: Collection[int]) -> None:
        """Begins a lease; whoever had the partitions before may still repeat a prediction."""
        assert self._lease is not None
        self._lease.begin()

    def log_was_cut(self, partition: int) -> None:
        """Does nothing: no offset is refused here."""

    def heartbeat(self, sent: float, *, accepted: bool) -> None:
        """See `Delivery`."""
        assert self._lease is not None
        if accepted:
            self._lease.renew(sent)
        else:
            self._lease.lose()

    async def deliver(self, results: Sequence[BatchResult], offsets: Mapping[int, range]) -> list[DeliveryReceipt]:
        """See `Delivery`. Raises `DataPathError` when the partitions may be another worker's by now."""
        if self._failure is not None:
            raise self._failure
        async with self._order:  # locks are fair, so records are queued in the order of the batches
            answers = await self._put(self._answers(results))
            batch = _AnsweredBatch(results, answers, asyncio.get_running_loop().create_future())
            self._under_way.append(batch)
        self._begun.set()
        if batch.large or len(self._under_way) >= self._most:
            self._due.set()
        return await batch.receipts

    async def _put(self, batches: Sequence[PartitionBatch], *, joining: bool = False) -> QueuedBatches:
        assert self._lease is not None
        await self._queue.know({tp.topic for tp, _ in batches})
        await self._lease.held()
        return self._queue.put(batches, joining=joining)

    def _answers(self, results: Sequence[BatchResult]) -> list[PartitionBatch]:
        settings = self._settings
        return [
            (topic_partition(topic, result.partition), batch)
            for result in results
            for topic, batches in (
                (settings.predictions_topic, result.predictions),
                (settings.predictions_latest_topic, result.latest),
                (settings.profile_topic, result.profiles),
                (settings.dead_letters_topic, result.dead_letters),
                (settings.signals_topic, result.signals),
            )
            for batch in batches
        ]

    async def _save_all(self) -> None:
        """Writes the changelog of all batches that are answered, as often as it is due."""
        try:
            while True:
                await self._begun.wait()
                timer = asyncio.get_running_loop().call_later(_BEAT_S, self._due.set)
                await self._due.wait()
                timer.cancel()
                with named_rights("Write"):
                    await self._under_way[0].answers.acknowledged
                    await self._save(list(takewhile(lambda batch: batch.answers.acknowledged.done(), self._under_way)))
                if len(self._under_way) < self._most and not any(batch.large for batch in self._under_way):
                    self._due.clear()
                if not self._under_way:
                    self._begun.clear()
        except Exception as error:
            self._failure = error
            for receipts in (batch.receipts for batch in self._under_way):
                if not receipts.done():
                    receipts.set_exception(error)

    async def _save(self, batches: Sequence[_AnsweredBatch]) -> None:
        """Writes the changelog of answered batches at once."""
        topic, answered_at = self._settings.state_topic, [batch.answers.acknowledged.result() for batch in batches]
        changes = [
            (topic_partition(topic, result.partition), change)
            for batch in batches
            for result in batch.results
            for change in result.changelog
        ]
        queued = await self._put(changes, joining=True)
        await queued.acknowledged
        joins = [
            (topic_partition(self._settings.joins_topic, partition), join)
            for batch in batches
            for result in batch.results
            for partition, join in result.joins
        ]
        if joins:
            await (await self._put(joins, joining=True)).acknowledged
        written = {tp.partition: iter(ranges) for tp, ranges in queued.written.items()}
        for batch, at in zip(batches, answered_at, strict=True):
            self._under_way.popleft()
            receipts = [
                DeliveryReceipt(at, without_gap([next(written[result.partition]) for _ in result.changelog]))
                for result in batch.results
            ]
            if not batch.receipts.done():
                batch.receipts.set_result(receipts)


def delivery_producer(settings: Settings, **guarantee: Any) -> AIOKafkaProducer:
    """Makes a producer, not connected yet, for all that a batch writes; `guarantee` are aiokafka's options for it."""
    return new_producer(
        settings,
        "worker",
        acks="all",
        max_batch_size=LARGEST_BATCH,
        max_request_size=LARGEST_DEAD_LETTER,
        **guarantee,
    )


class QueuedBatch(NamedTuple):
    """A batch of records on its way to the broker."""

    records: int
    acknowledged: asyncio.Future[Any]


async def send_batches(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    batches: Sequence[RecordBatch],
    clock: Callable[[], float],
    *,
    transactional: bool = False,
) -> list[QueuedBatch]:
    """Queues encoded batches; their records bear the time of `clock`, in seconds since the epoch."""
    queued = []
    for batch in batches:
        encoded = EncodedBatch(batch, time=clock(), transactional=transactional)
        queued.append(QueuedBatch(batch.records, await producer.send_batch(encoded, topic, partition=partition)))
    return queued


async def acknowledged(batches: Sequence[QueuedBatch]) -> list[range]:
    """Waits until the broker has acknowledged all batches; returns the offsets of each.

    Raises `AuthorizationFailed`, or what aiokafka raises.
    """
    with named_rights("Write"):
        written = await asyncio.gather(*(batch.acknowledged for batch in batches))
    return [
        range(metadata.offset, metadata.offset + batch.records)
        for batch, metadata in zip(batches, written, strict=True)
    ]


def without_gap(written: Sequence[range]) -> range | None:
    """The last written offsets without a gap between them: in a gap lie the records of another worker."""
    if not written:
        return None
    start = written[-1].start
    for batch in reversed(written[:-1]):
        if batch.stop != start:
            break
        start = batch.start
    return range(start, written[-1].stop)
