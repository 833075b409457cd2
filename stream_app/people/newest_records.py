"""Finds the newest records of a user: the state in the changelog, the prediction that was published with it, and the
profile, where it has a topic of its own.

Kafka has no index by key, so the changelog's partition is read whole. It is compacted: that takes seconds. Of the
predictions only those are read that were written from a little before the state on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream_app.contract.predictions import Prediction, decode_prediction
from stream_app.contract.profiles.user_profile import decode_profile, with_profile
from stream_app.contract.string_columns import strings
from stream_app.kafka.clients import Role, new_consumer
from stream_app.kafka.key_partitions import key_partitions
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings

_ROLE: Final[Role] = "operator"
_POLL_MS: Final = 500  # longest wait for a fetch
_BEFORE_MS: Final = 60_000  # a state is written after its prediction, but for clocks that differ

Progress = Callable[[int], None]  # gets the records read so far


@dataclass(frozen=True, slots=True)
class NewestRecords:
    """What was found of a user."""

    state: bytes | None  # the record; None: there is none, or it was deleted
    prediction: Prediction | None  # None: it is no longer there, or never was
    partition: int
    read: int  # records that were looked at


async def newest_records(settings: Settings, user: str, progress: Progress) -> NewestRecords:
    """Reads the user's partition of changelog and predictions to their present ends.

    Raises `UsageError` for what Kafka refuses.
    """
    key, partition = user.encode(), int(key_partitions(strings([user.encode()]), settings.partitions)[0])
    for topic in filter(None, (settings.state_topic, settings.predictions_topic, settings.profile_topic)):
        await ensure_topics(settings, _ROLE, topic, create=False)
    read, state, prediction = 0, None, None
    async with new_consumer(settings, _ROLE, isolation_level="read_committed") as consumer:
        changelog = TopicPartition(settings.state_topic, partition)
        async for records in read_to_end(consumer, changelog):
            read += len(records)
            progress(read)
            state = next((record for record in reversed(records) if record.key == key), state)
        if state is None or state.value is None:
            return NewestRecords(None, None, partition, read)
        predictions = TopicPartition(settings.predictions_topic, partition)
        async for records in read_to_end(consumer, predictions, state.timestamp - _BEFORE_MS):
            read += len(records)
            progress(read)
            for record in records:
                if record.key == key and record.value is not None:
                    with suppress(msgspec.DecodeError):  # others may write there, too
                        prediction = decode_prediction(record.value)
        if prediction is not None and settings.profile_topic:
            async for records in read_to_end(consumer, TopicPartition(settings.profile_topic, partition)):
                read += len(records)
                progress(read)
                for record in records:
                    if record.key == key and record.value is not None:
                        with suppress(msgspec.DecodeError):
                            prediction = with_profile(prediction, decode_profile(record.value))
    return NewestRecords(state.value, prediction, partition, read)


async def read_to_end(
    consumer: AIOKafkaConsumer, partition: TopicPartition, since: int | None = None
) -> AsyncIterator[list[ConsumerRecord[bytes, bytes]]]:
    """Yields the records of a partition up to its present end, from a time (ms) on, fetch by fetch."""
    start, end = await _bounds(consumer, partition, since)
    consumer.assign([partition])
    consumer.seek(partition, start)  # at once: aiokafka may be on its way to the end otherwise
    while await consumer.position(partition) < end:
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            yield records


async def _bounds(consumer: AIOKafkaConsumer, partition: TopicPartition, since: int | None) -> tuple[int, int]:
    """Returns the offsets at which the records of a partition begin, from a time (ms) on, and end."""
    end: int = (await consumer.end_offsets([partition]))[partition]
    if since is None:
        beginning: int = (await consumer.beginning_offsets([partition]))[partition]
        return beginning, end
    first = (await consumer.offsets_for_times({partition: max(since, 0)}))[partition]
    return (end if first is None else first.offset), end  # None: nothing was written since
