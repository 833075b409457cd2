"""Asks where partitions begin and end, with a consumer that fetches nothing.

A consumer that fetches gets the answer only after its fetch: at an idle partition, after the longest time that a fetch
waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from aiokafka import TopicPartition

from stream_app.kafka.clients import Consumer, Role, new_consumer
from stream_app.settings import Settings

_RETRY_MS: Final = 10  # ms between attempts to learn a topic's leaders; aiokafka's 100 would delay each start

Offsets = Mapping[TopicPartition, int]


async def ends_of(settings: Settings, role: Role, partitions: Collection[TopicPartition]) -> Offsets:
    """Returns the offset that the next record of each partition will have, records of open transactions included.

    Raises `UsageError`.
    """
    if not partitions:
        return {}
    async with _asking(settings, role) as consumer:
        ends: Offsets = await consumer.end_offsets(list(partitions))
    return ends


async def beginnings_of(settings: Settings, role: Role, partitions: Collection[TopicPartition]) -> Offsets:
    """Returns the offset of the oldest record of each partition. Raises `UsageError`."""
    if not partitions:
        return {}
    async with _asking(settings, role) as consumer:
        beginnings: Offsets = await consumer.beginning_offsets(list(partitions))
    return beginnings


def _asking(settings: Settings, role: Role) -> Consumer:
    return new_consumer(settings, role, retry_backoff_ms=_RETRY_MS)
