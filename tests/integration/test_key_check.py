"""Whether keys lie on the partitions where they belong, on a real broker."""

from __future__ import annotations

import asyncio

import pytest

from stream_app.cli.key_check import KeySample, sample_keys
from stream_app.kafka.clients import new_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.topics import send_all

pytestmark = pytest.mark.broker


def test_the_newest_records_show_a_publisher_with_another_partitioner(settings: Settings) -> None:
    async def send_to_the_first_partition(keys: list[bytes | None]) -> None:
        async with new_producer(settings, "publisher") as producer:
            for key in keys:
                await producer.send_and_wait(settings.events_topic, b"{}", key=key, partition=0)

    asyncio.run(ensure_topics(settings))
    assert asyncio.run(sample_keys(settings)) == KeySample(0, 0)
    # By the partitioner of Kafka's Java client "d" belongs to partition 1 of four.
    send_all(settings, [(b"d", b"{}")] * 350)
    assert asyncio.run(sample_keys(settings)) == KeySample(300, 0)
    asyncio.run(send_to_the_first_partition([b"d", None, b"d"]))
    assert asyncio.run(sample_keys(settings)) == KeySample(302, 2)
