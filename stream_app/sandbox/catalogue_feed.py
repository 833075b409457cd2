"""Publishes the simulated shop's catalogue, and then what changes in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer

from stream_app.kafka.publisher import publish, started_producer
from stream_app.sandbox.assortment import Assortment
from stream_app.settings import Settings

_EVERY_S: Final = 2.0  # seconds between two looks for changes


@asynccontextmanager
async def catalogue_feed(assortment: Assortment, settings: Settings) -> AsyncIterator[None]:
    """Publishes all items, and inside the block what changes, every two seconds and at the end. Raises `UsageError`."""
    producer = await started_producer(settings, "publisher")
    try:
        await publish(assortment.records(), kafka=producer, topic=settings.items_topic)
        changes = asyncio.create_task(_publish_changes(assortment, settings, producer))
        try:
            yield
        finally:
            changes.cancel()
            await asyncio.gather(changes, return_exceptions=True)
        await publish(assortment.changed(), kafka=producer, topic=settings.items_topic)
    finally:
        await producer.stop()


async def _publish_changes(assortment: Assortment, settings: Settings, producer: AIOKafkaProducer) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        await publish(assortment.changed(), kafka=producer, topic=settings.items_topic)
