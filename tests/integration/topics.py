"""Whole topics, read and written in a test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.send import Sent, publish
from stream_app.settings import Settings

if TYPE_CHECKING:
    Record: TypeAlias = ConsumerRecord[bytes, bytes]
else:
    Record = ConsumerRecord


def read_all(
    settings: Settings, topic: str, partitions: int | None = None, *, isolation: str = "read_committed"
) -> list[Record]:
    """Every record that is in a topic now, by partition and offset; committed ones up to an open transaction."""
    return asyncio.run(_read_all(settings, topic, partitions or settings.partitions, isolation))


def send_all(settings: Settings, events: Iterable[Any]) -> Sent:
    """Publishes events (or raw pairs of key and value) to the events topic."""
    return asyncio.run(publish(events, kafka=settings.brokers, topic=settings.events_topic))


async def _read_all(settings: Settings, topic: str, partitions: int, isolation: str) -> list[Record]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.brokers, enable_auto_commit=False, isolation_level=isolation)
    await consumer.start()
    try:
        found = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(found)
        await consumer.seek_to_beginning(*found)
        ends = await consumer.end_offsets(found)
        records: list[Record] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for fetched in (await consumer.getmany(timeout_ms=500)).values():
                records.extend(fetched)
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()
