"""Reads the newest state of every user from the changelog, partition by partition, in two passes.

The first notes at which offset each user's newest record lies, the second takes these records: what is in memory is a
key and an offset per user of one partition, and some records.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from model.state.log_cuts import CUT_USER
from stream_app.kafka.clients import Role, new_consumer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.people.newest_records import read_to_end
from stream_app.settings import Settings

AT_ONCE: Final = 2048  # users that are given at once
_ROLE: Final[Role] = "operator"

Progress = Callable[[int], None]  # gets the users that were given so far


@dataclass(frozen=True, slots=True)
class StatesOfUsers:
    """The newest records of some users of a partition, by user id."""

    partition: int
    records: dict[str, bytes]


async def all_states(settings: Settings, progress: Progress) -> AsyncIterator[StatesOfUsers]:
    """Yields the states of all users, at most `AT_ONCE` at a time. Raises `UsageError` for what Kafka refuses."""
    await ensure_topics(settings, _ROLE, settings.state_topic, create=False)
    given = 0
    async with new_consumer(settings, _ROLE, isolation_level="read_committed") as consumer:
        for number in range(settings.partitions):
            partition = TopicPartition(settings.state_topic, number)
            async for records in _newest(consumer, partition, await _newest_offsets(consumer, partition)):
                given += len(records)
                progress(given)
                yield StatesOfUsers(number, records)


async def _newest_offsets(consumer: AIOKafkaConsumer, partition: TopicPartition) -> dict[bytes, int]:
    """Returns the offset of the newest record of each user of a partition who has one."""
    newest: dict[bytes, int] = {}
    async for records in read_to_end(consumer, partition):
        for record in records:
            if record.value is None:
                newest.pop(record.key, None)
            else:
                newest[record.key] = record.offset
    newest.pop(CUT_USER.encode(), None)
    return newest


async def _newest(
    consumer: AIOKafkaConsumer, partition: TopicPartition, newest: dict[bytes, int]
) -> AsyncIterator[dict[str, bytes]]:
    """Yields these records, by user id; of one that was replaced meanwhile, what was the newest then."""
    taken: dict[str, bytes] = {}
    async for records in read_to_end(consumer, partition):
        for record in records:
            if newest.get(record.key) == record.offset:
                taken[record.key.decode()] = record.value
                if len(taken) == AT_ONCE:
                    yield taken
                    taken = {}
    if taken:
        yield taken
