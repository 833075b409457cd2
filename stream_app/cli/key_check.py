"""Looks, for `nextact doctor`, whether publishers put events on the partitions where their keys belong."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.contract.string_columns import strings
from stream_app.kafka.clients import new_consumer
from stream_app.kafka.key_partitions import misplaced_keys
from stream_app.settings import Settings

_NEWEST: Final = 300  # records of each partition that are looked at
_PATIENCE_S: Final = 10.0  # for all of them
_POLL_MS: Final = 500


class KeySample(NamedTuple):
    """The newest records that have a key, and how many of these lie on another partition than their key's."""

    records: int
    misplaced: int

    def __str__(self) -> str:
        if not self.records:
            return "no events yet"
        if not self.misplaced:
            return f"the newest {self.records:,} events are on the partitions of their keys"
        return (
            f"{self.misplaced:,} of the newest {self.records:,} events ({self.misplaced / self.records:.1%}) are on "
            "another partition than Kafka's default partitioner chooses for their key, so that their users have two "
            "half histories. Give all publishers that partitioner: partitioner=murmur2_random in clients on librdkafka"
        )


async def sample_keys(settings: Settings) -> KeySample:
    """Reads the newest events of each partition, with an operator's rights. Raises aiokafka's errors.

    What has not come within ten seconds is left out.
    """
    consumer = new_consumer(settings, "operator")
    try:
        await consumer.start()
        return await _sample(consumer, settings)
    finally:
        await consumer.stop()


async def _sample(consumer: AIOKafkaConsumer, settings: Settings) -> KeySample:
    partitions = [TopicPartition(settings.events_topic, number) for number in range(settings.partitions)]
    consumer.assign(partitions)
    begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    unread = {tp: ends[tp] for tp in partitions if ends[tp] > begins[tp]}
    for tp, end in unread.items():
        consumer.seek(tp, max(begins[tp], end - _NEWEST))
    keys: list[bytes] = []
    numbers: list[int] = []
    give_up = asyncio.get_running_loop().time() + _PATIENCE_S
    while unread and asyncio.get_running_loop().time() < give_up:
        fetched = await consumer.getmany(*unread, timeout_ms=_POLL_MS)
        for tp, records in fetched.items():
            keyed = [record.key for record in records if record.key]
            keys += keyed
            numbers += [tp.partition] * len(keyed)
        unread = {tp: end for tp, end in unread.items() if await consumer.position(tp) < end}
    lines = np.zeros(len(keys), np.uint16)
    misplaced = misplaced_keys(strings(keys), np.array(numbers, np.int64), settings.partitions, lines)
    return KeySample(len(keys), misplaced)
