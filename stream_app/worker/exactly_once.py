"""Exactly once: all effects of a batch, from predictions to joins, and its source offset in one Kafka transaction.

Each partition of the events topic has a transactional id. A worker that is assigned the partition first registers the
id again, which aborts what its last owner left open and locks that owner out (`ProducerFenced`), and only then reads
the changelog and the committed offset. So state and offset are those after the last transaction, and no other can come
between.

A partition's transactions follow each other; partitions do not wait for each other. What comes while a transaction is
under way, or in the pause behind it, is committed in the next one: a batch's part on a partition is whole in one
transaction, with those before and after it that came in the same time. Readers of committed records therefore wait for
at most a transaction, a pause and another transaction.

A transaction asks the broker for one thing after the other. Brokers from Kafka 3.6 on look up, for older clients as
aiokafka, whether a partition was added to the transaction, on records and on offsets; two such questions about one
transaction that meet in the broker end in an error for one of them (NOT_ENOUGH_REPLICAS, COORDINATOR_NOT_AVAILABLE),
and aiokafka tries again after 100 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation

from stream_app.contract.access import transactional_prefix
from stream_app.errors import DataPathError
from stream_app.kafka.clients import new_consumer
from stream_app.kafka.encoded_batch import RecordBatch
from stream_app.kafka.refusals import named_rights
from stream_app.pipeline.batch_result import BatchResult
from stream_app.settings import Settings
from stream_app.worker.delivery import (
    DeliveryReceipt,
    QueuedBatch,
    acknowledged,
    delivery_producer,
    send_batches,
)

# A worker that died in a transaction keeps subscribers waiting until the next owner begins, or for so long if nobody
# does. Far above the time of a batch, below the 15 minutes that brokers allow.
TRANSACTION_TIMEOUT_MS: Final = 60_000

# Seconds between a commit and the partition's next transaction. For some milliseconds the broker still writes the
# markers of the commit; whoever begins in them is refused (CONCURRENT_TRANSACTIONS), and aiokafka tries again after
# 20 ms. Beyond that it is a choice: a transaction costs worker and broker about as much whatever is in it.
PAUSE_S: Final = 0.02


class ExactlyOnce:
    """Makes each batch durable in one transaction per partition; partitions do not wait for each other."""

    commits_offsets = True

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self._settings = settings
        self._clock = clock
        self._partitions: dict[int, PartitionTransactions] = {}

    async def start(self) -> None:
        """Does nothing: partitions connect when they are assigned."""

    async def stop(self) -> None:
        """Disconnects."""
        await asyncio.gather(*(transactions.stop() for transactions in self._partitions.values()))
        self._partitions.clear()

    async def assigned(self, partitions: Collection[int]) -> None:
        """See `Delivery`. Partitions that stay register again too: another worker may have had them in between."""
        await self.stop()
        self._partitions = {
            partition: PartitionTransactions(self._settings, partition, self._clock) for partition in partitions
        }
        await asyncio.gather(*(transactions.register() for transactions in self._partitions.values()))
        for partition, offset in (await self._committed(partitions)).items():
            self._partitions[partition].answered = offset

    def log_was_cut(self, partition: int) -> None:
        """See `Delivery`: the offsets from the cut on are no longer answered. Raises `DataPathError`."""
        self._of(partition).answered = 0

    def heartbeat(self, sent: float, *, accepted: bool) -> None:
        """Does nothing: transactions lock out whoever has lost a partition."""

    async def deliver(self, results: Sequence[BatchResult], offsets: Mapping[int, range]) -> list[DeliveryReceipt]:
        """See `Delivery`. An exception leaves transactions open: the next owner of a partition aborts its own."""
        added = [self._of(result.partition).add(result, offsets.get(result.partition)) for result in results]
        receipts = await asyncio.gather(*(transaction for transaction, _ in added))
        return [receipts[number][place] for number, (_, place) in enumerate(added)]

    def _of(self, partition: int) -> PartitionTransactions:
        """The partition's transactions. Raises `DataPathError` where another worker answers."""
        if partition not in self._partitions:
            raise DataPathError(f"partition {partition} of the events was given away, its answers cannot be delivered")
        return self._partitions[partition]

    async def _committed(self, partitions: Collection[int]) -> dict[int, int]:
        """The committed offsets, where the last transactions ended; no other worker can add one any more."""
        settings = self._settings
        async with new_consumer(settings, "worker", group_id=settings.group) as consumer:
            tps = [TopicPartition(settings.events_topic, partition) for partition in partitions]
            consumer.assign(tps)
            offsets = {tp.partition: await consumer.committed(tp) for tp in tps}
        return {partition: offset for partition, offset in offsets.items() if offset is not None}


@dataclass(slots=True)
class _WaitingBatches:
    """What waits for a partition's next transaction."""

    batches: list[BatchResult]
    offsets: dict[TopicPartition, int]  # to commit with them


class PartitionTransactions:
    """The transactions of a partition of the events, one after the other.

    One that fails fails all that follow.
    """

    def __init__(self, settings: Settings, partition: int, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self.answered = 0  # offsets below it are answered, or are about to be
        self._settings = settings
        self._source = TopicPartition(settings.events_topic, partition)
        self._joins = TopicPartition(settings.joins_topic, partition)
        self._clock = clock
        self._producer = delivery_producer(
            settings,
            transactional_id=transactional_id(settings, partition),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        )
        self._waiting: _WaitingBatches | None = None  # for the newest transaction, until it begins
        self._newest: asyncio.Task[list[DeliveryReceipt]] | None = None
        self._pause_end = 0.0  # time of the event loop in seconds

    async def register(self) -> None:
        """Connects, aborts what the last owner left open, and locks that owner out."""
        await self._producer.start()

    async def stop(self) -> None:
        """Disconnects."""
        await self._producer.stop()

    def add(self, batch: BatchResult, offsets: range | None) -> tuple[asyncio.Task[list[DeliveryReceipt]], int]:
        """Adds a batch to the next transaction; returns the transaction, and which of its receipts is the batch's.

        `offsets` are those of the events that it answers, if any. Raises `DataPathError` for answered ones.
        """
        if offsets is not None:
            self._check(offsets)
        if self._waiting is None or self._newest is None:
            self._waiting = _WaitingBatches([], {})
            self._newest = asyncio.create_task(self._transact(self._waiting, self._newest))
        self._waiting.batches.append(batch)
        if offsets is not None:
            self._waiting.offsets[self._source] = offsets.stop
        if batch.joins_read is not None:
            self._waiting.offsets[self._joins] = batch.joins_read
        return self._newest, len(self._waiting.batches) - 1

    def _check(self, offsets: range) -> None:
        """Notes that these events are answered. Raises `DataPathError` where they were."""
        if offsets.start < self.answered:
            raise DataPathError(
                f"partition {self._source.partition} of the events is answered up to offset {self.answered}, "
                f"and offset {offsets.start} came again"
            )
        self.answered = offsets.stop

    async def _transact(
        self, waiting: _WaitingBatches, before: asyncio.Task[list[DeliveryReceipt]] | None
    ) -> list[DeliveryReceipt]:
        """Commits what has been waiting by the time when the transaction may begin."""
        if before is not None:
            await before
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._pause_end - loop.time())
        self._waiting = None
        producer = self._producer
        with named_rights("Write"):
            await producer.begin_transaction()
            written = await self._write(waiting.batches)
            if waiting.offsets:  # timers have none
                await producer.send_offsets_to_transaction(waiting.offsets, self._settings.group)
            await producer.commit_transaction()
        self._pause_end = loop.time() + PAUSE_S
        answered_at = self._clock()
        # In gaps are only markers: whoever wrote here before is locked out, and what they wrote was recovered.
        return [DeliveryReceipt(answered_at, range(one[-1].stop) if one else None) for one in written]

    async def _write(self, batches: Sequence[BatchResult]) -> list[list[range]]:
        """Writes all effects of batches and waits until they are acknowledged.

        A commit would go through although a record was refused before. Returns the offsets that each wrote to the
        changelog.
        """
        answers: list[QueuedBatch] = []
        changes: list[list[QueuedBatch]] = []
        try:
            for batch in batches:
                answers += await self._queue(self._settings.predictions_topic, batch.predictions)
                answers += await self._queue(self._settings.predictions_latest_topic, batch.latest)
                answers += await self._queue(self._settings.profile_topic, batch.profiles)
                answers += await self._queue(self._settings.dead_letters_topic, batch.dead_letters)
                answers += await self._queue(self._settings.signals_topic, batch.signals)
                changes.append(await self._queue(self._settings.state_topic, batch.changelog))
                for partition, join in batch.joins:
                    answers += await self._queue(self._settings.joins_topic, [join], partition)
        except IllegalOperation:  # the broker refused the transaction between two batches of records
            await self._transaction_end()
            raise
        _, *written = await asyncio.gather(*map(acknowledged, [answers, *changes]))
        return written

    async def _queue(
        self, topic: str, batches: Sequence[RecordBatch], partition: int | None = None
    ) -> list[QueuedBatch]:
        """Queues batches for a partition, by default the one of the same number as the events'."""
        if partition is None:
            partition = self._source.partition
        return await send_batches(self._producer, topic, partition, batches, self._clock, transactional=True)

    async def _transaction_end(self) -> None:
        """Waits for the end of the open transaction; raises what ended it."""
        # Leans on: aiokafka keeps the error that ended a transaction, and no public method raises every such error.
        await self._producer._txn_manager.wait_for_transaction_end()


def transactional_id(settings: Settings, partition: int) -> str:
    """The transactional id of a source partition, whichever worker has it."""
    return f"{transactional_prefix(settings)}{partition}"
