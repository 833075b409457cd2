"""Whole topics, read and written in a test."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from aiokafka import ConsumerRecord, TopicPartition

from stream_app.kafka.clients import Role, new_consumer
from stream_app.kafka.publisher import PublishResult, publish
from stream_app.settings import Settings
from tests.integration.principals import reader_of

if TYPE_CHECKING:
    Record: TypeAlias = ConsumerRecord[bytes, bytes]
else:
    Record = ConsumerRecord


def read_all(
    settings: Settings, topic: str, partitions: int | None = None, *, isolation: str = "read_committed"
) -> list[Record]:
    """Every record that is in a topic now, by partition and offset; committed ones up to an open transaction."""
    found = [TopicPartition(topic, number) for number in range(partitions or settings.partitions)]
    return asyncio.run(_read_all(settings, reader_of(settings, topic), found, isolation))[topic]


def read_topics(settings: Settings, *topics: str) -> list[list[Record]]:
    """Every committed record that is in each of these topics now, as `read_all` has them."""
    found: defaultdict[Role, list[TopicPartition]] = defaultdict(list)
    for topic in topics:
        found[reader_of(settings, topic)] += [TopicPartition(topic, number) for number in range(settings.partitions)]

    async def read() -> dict[str, list[Record]]:
        reads = (_read_all(settings, role, partitions, "read_committed") for role, partitions in found.items())
        return {topic: records for read in await asyncio.gather(*reads) for topic, records in read.items()}

    records = asyncio.run(read())
    return [records[topic] for topic in topics]


def send_all(settings: Settings, events: Iterable[Any]) -> PublishResult:
    """Publishes events (or raw pairs of key and value) to the events topic."""
    return asyncio.run(publish(events, kafka=settings, topic=settings.events_topic))


async def _read_all(
    settings: Settings, role: Role, found: list[TopicPartition], isolation: str
) -> dict[str, list[Record]]:
    consumer = new_consumer(
        settings,
        role,
        isolation_level=isolation,
        retry_backoff_ms=10,  # until it has found out who leads the partitions
    )
    await consumer.start()
    try:
        # All offsets before the first fetch: they would be answered after it, and it waits where nothing is.
        ends = await consumer.end_offsets(found)
        starts = await consumer.beginning_offsets(found)
        records: dict[str, list[Record]] = {partition.topic: [] for partition in found}
        left = [partition for partition in found if starts[partition] < ends[partition]]
        consumer.assign(left)
        for partition in left:
            consumer.seek(partition, starts[partition])
        while any([await consumer.position(partition) < ends[partition] for partition in left]):
            for partition, fetched in (await consumer.getmany(timeout_ms=500)).items():
                records[partition.topic].extend(fetched)
        return {
            topic: sorted(several, key=lambda record: (record.partition, record.offset))
            for topic, several in records.items()
        }
    finally:
        await consumer.stop()
