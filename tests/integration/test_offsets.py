"""Where partitions begin and end, asked of a real broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from stream_app.kafka.clients import new_admin
from stream_app.kafka.offsets import beginnings_of, ends_of
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.principals import allow
from tests.integration.topics import send_all

pytestmark = pytest.mark.broker


def test_partitions_begin_behind_what_was_deleted_and_end_behind_the_last_record(settings: Settings) -> None:
    async def bounds() -> tuple[dict[int, int], dict[int, int]]:
        partitions = [TopicPartition(settings.events_topic, number) for number in range(settings.partitions)]
        allow(settings, "operator", "Delete", "Topic", settings.events_topic)
        admin = new_admin(settings, "operator")
        await admin.start()
        try:
            await admin.delete_records({partitions[1]: RecordsToDelete(2)})
        finally:
            await admin.close()
        firsts = await beginnings_of(settings, "operator", partitions)
        ends = await ends_of(settings, "operator", partitions)
        return {tp.partition: firsts[tp] for tp in partitions}, {tp.partition: ends[tp] for tp in partitions}

    asyncio.run(ensure_topics(settings))
    # By the partitioner of Kafka's Java client "d" belongs to partition 1 of four.
    send_all(settings, [(b"d", b"{}")] * 5)
    firsts, ends = asyncio.run(bounds())
    assert firsts == {0: 0, 1: 2, 2: 0, 3: 0}
    assert ends == {0: 0, 1: 5, 2: 0, 3: 0}
