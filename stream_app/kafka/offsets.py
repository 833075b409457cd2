"""Where partitions begin and end, asked by a consumer of its own, which fetches nothing.

A consumer that fetches would be answered when its fetch has ended: at an idle partition, after the longest time that
a fetch waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

_AGAIN_MS: Final = 10  # between asking for a topic's leaders and looking who they are; aiokafka's 100 delay each start

Offsets = Mapping[TopicPartition, int]


async def ends_of(brokers: str | list[str], partitions: Collection[TopicPartition]) -> Offsets:
    """The offsets that the next records of partitions will have, transactions that are open included.

    Raises aiokafka's errors.
    """
    if not partitions:
        return {}
    async with _consumer(brokers) as consumer:
        found: Offsets = await consumer.end_offsets(list(partitions))
    return found


async def beginnings_of(brokers: str | list[str], partitions: Collection[TopicPartition]) -> Offsets:
    """The offsets of the oldest records of partitions. Raises aiokafka's errors."""
    if not partitions:
        return {}
    async with _consumer(brokers) as consumer:
        found: Offsets = await consumer.beginning_offsets(list(partitions))
    return found


def _consumer(brokers: str | list[str]) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False, retry_backoff_ms=_AGAIN_MS)
