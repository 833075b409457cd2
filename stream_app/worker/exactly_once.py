"""Exactly once: a batch's predictions, dead letters, changelog and source offset in one Kafka transaction.

Each partition of the events topic has a transactional id. A worker that is assigned the partition first registers the
id again, which aborts what its last owner left open and locks that owner out (`ProducerFenced`), and only then reads
the changelog and the committed offset. So state and offset are those after the last transaction, and no other can come
between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation

from stream_app.contract.access import transactional_prefix
from stream_app.errors import DataPathError
from stream_app.kafka.clients import new_consumer
from stream_app.kafka.refusals import named_rights
from stream_app.settings import Settings
from stream_app.worker.delivery import BatchResult, DeliveryReceipt, acknowledged, delivery_producer, send_batches

# A worker that died in a transaction keeps subscribers waiting until the next owner begins, or for so long if nobody
# does. Far above the time of a batch, below the 15 minutes that brokers allow.
TRANSACTION_TIMEOUT_MS: Final = 60_000


class ExactlyOnce:
    """Makes each batch durable in one transaction: one at a time per partition, partitions beside each other."""

    commits_offsets = True

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self._settings = settings
        self._clock = clock
        self._producers: dict[int, AIOKafkaProducer] = {}
        self._newest: dict[int, asyncio.Task[DeliveryReceipt]] = {}  # by partition: the newest delivery
        self._answered: dict[int, int] = {}  # by partition: where the last transaction ended; missing: there was none

    async def start(self) -> None:
        """Does nothing: partitions connect when they are assigned."""

    async def stop(self) -> None:
        """Disconnects."""
        await asyncio.gather(*(producer.stop() for producer in self._producers.values()))
        self._producers.clear()

    async def assigned(self, partitions: Collection[int]) -> None:
        """See `Delivery`. Partitions that stay register again too: another worker may have had them in between."""
        await self.stop()
        self._newest.clear()
        self._producers = {partition: self._new_producer(partition) for partition in partitions}
        await asyncio.gather(*(producer.start() for producer in self._producers.values()))
        self._answered = await self._committed(partitions)

    def log_was_cut(self, partition: int) -> None:
        """See `Delivery`: the offsets from the cut on are no longer answered."""
        self._answered.pop(partition, None)
        self._newest.pop(partition, None)

    def heartbeat(self, sent: float, *, accepted: bool) -> None:
        """Does nothing: transactions lock out whoever has lost a partition."""

    def _new_producer(self, partition: int) -> AIOKafkaProducer:
        return delivery_producer(
            self._settings,
            transactional_id=transactional_id(self._settings, partition),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        )

    async def _committed(self, partitions: Collection[int]) -> dict[int, int]:
        """The committed offsets, where the last transactions ended; no other worker can add one any more."""
        settings = self._settings
        async with new_consumer(settings, "worker", group_id=settings.group) as consumer:
            tps = [TopicPartition(settings.events_topic, partition) for partition in partitions]
            consumer.assign(tps)
            offsets = {tp.partition: await consumer.committed(tp) for tp in tps}
        return {partition: offset for partition, offset in offsets.items() if offset is not None}

    async def deliver(self, results: Sequence[BatchResult], offsets: Mapping[int, range]) -> list[DeliveryReceipt]:
        """See `Delivery`. An exception leaves transactions open: the next owner of a partition aborts its own."""
        for partition, result in ((result.partition, result) for result in results):
            deliver = self._deliver(result, offsets[partition], self._newest.get(partition))
            self._newest[partition] = asyncio.create_task(deliver)
        return await asyncio.gather(*(self._newest[result.partition] for result in results))

    async def _deliver(self, batch: BatchResult, offsets: range, after: asyncio.Task[Any] | None) -> DeliveryReceipt:
        """Makes a partition's part of a batch durable, after the one before it."""
        if after is not None:
            await after
        producer = self._producer_of(batch.partition, offsets)
        with named_rights("Write"):
            await producer.begin_transaction()
            written = await self._write(producer, batch, offsets.stop)
            await producer.commit_transaction()
        self._answered[batch.partition] = offsets.stop
        # In gaps are only markers: whoever wrote here before is locked out, and what they wrote was recovered.
        return DeliveryReceipt(self._clock(), range(written[-1].stop) if written else None)

    def _producer_of(self, partition: int, offsets: range) -> AIOKafkaProducer:
        """The partition's producer. Raises `DataPathError` where another worker answers, and for answered offsets."""
        if partition not in self._producers:
            raise DataPathError(f"partition {partition} of the events was given away, its answers cannot be delivered")
        answered = self._answered.get(partition, 0)
        if offsets.start < answered:
            raise DataPathError(
                f"partition {partition} of the events is answered up to offset {answered}, "
                f"and offset {offsets.start} came again"
            )
        return self._producers[partition]

    async def _write(self, producer: AIOKafkaProducer, batch: BatchResult, next_offset: int) -> list[range]:
        """Writes all effects of a batch and waits until they are acknowledged.

        A commit would go through although a record was refused before. Returns the offsets written to the changelog,
        batch by batch.
        """
        settings, partition = self._settings, batch.partition
        send_encoded = partial(send_batches, producer, partition=partition, clock=self._clock, transactional=True)
        try:
            answers = await send_encoded(topic=settings.predictions_topic, batches=batch.predictions)
            answers += await send_encoded(topic=settings.dead_letters_topic, batches=batch.dead_letters)
            changes = await send_encoded(topic=settings.state_topic, batches=batch.changelog)
        except IllegalOperation:  # the broker refused the transaction between two batches of records
            await _transaction_end(producer)
            raise
        source = TopicPartition(settings.events_topic, partition)
        _, _, written = await asyncio.gather(
            producer.send_offsets_to_transaction({source: next_offset}, settings.group),
            acknowledged(answers),
            acknowledged(changes),
        )
        return written


async def _transaction_end(producer: AIOKafkaProducer) -> None:
    """Waits for the end of the open transaction; raises what ended it."""
    # Leans on: aiokafka keeps the error that ended a transaction, and no public method raises every such error.
    await producer._txn_manager.wait_for_transaction_end()


def transactional_id(settings: Settings, partition: int) -> str:
    """The transactional id of a source partition, whichever worker has it."""
    return f"{transactional_prefix(settings)}{partition}"
