"""The topics of one run: made, read back, and how far the workers are behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stream_app.contract.topics import topics
from stream_app.kafka.clients import new_admin, new_consumer
from stream_app.settings import Settings
from tests.integration.principals import reader_of

PARTITIONS: Final = 8
_LOOK_EVERY_S: Final = 0.5


def stream_settings(brokers: str, name: str, place: Path) -> Settings:
    """Settings of a stream that nobody else uses; what is not about places is the program's default."""
    return Settings(
        brokers=brokers,
        group=f"{name}-nextact",
        events_topic=f"{name}.events",
        predictions_topic=f"{name}.predictions",
        dead_letters_topic=f"{name}.dead-letters",
        state_topic=f"{name}.changelog",
        models_topic=f"{name}.models",
        canary_topic=f"{name}.canary-reports",
        items_topic=f"{name}.items",
        joins_topic=f"{name}.joins",
        statistics_topic=f"{name}.statistics",
        audiences_topic=f"{name}.audiences",
        partitions=PARTITIONS,
        registry=str(place / "models"),
        history=str(place / "history"),
        data_dir=place / "data",
        device="cpu",
    )


def topic_names(settings: Settings) -> list[str]:
    """All topics of a stream."""
    return [spec.name for spec in topics(settings)]


async def caught_up(settings: Settings, timeout: float) -> float | None:
    """Seconds until every record of the events topic is committed; None if that took longer than `timeout`."""
    start = time.monotonic()
    while time.monotonic() - start < timeout:
        if await lag(settings) == 0:
            return time.monotonic() - start
        await asyncio.sleep(_LOOK_EVERY_S)
    return None


async def lag(settings: Settings) -> int | None:
    """Offsets not committed yet, or committed and not there; None when no broker could tell."""
    partitions = [TopicPartition(settings.events_topic, number) for number in range(settings.partitions)]
    consumer, admin = new_consumer(settings, "worker"), new_admin(settings, "worker")
    try:
        await consumer.start()
        await admin.start()
        ends = await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(settings.group)
    except (KafkaError, OSError, TimeoutError):
        return None
    finally:
        await consumer.stop()
        await admin.close()
    open_: int = sum(abs(end - (committed[tp].offset if tp in committed else 0)) for tp, end in ends.items())
    return open_


async def ends_of(settings: Settings, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends now."""
    async with new_consumer(settings, reader_of(settings, topic)) as consumer:
        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(settings.partitions)])
    return {tp.partition: end for tp, end in ends.items()}
