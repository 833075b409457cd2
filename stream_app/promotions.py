"""Promotions: the records of the compacted models topic that say which version is the champion."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream_app.settings import Settings

CHAMPION: Final = b"champion"


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version lies and what it must be; `manifest_sha256` stands for all of its bytes."""

    version: str
    path: str
    manifest_sha256: str
    promoted_at: str  # RFC 3339
    metrics: dict[str, float]


def encode_promotion(promotion: Promotion) -> bytes:
    """JSON in UTF-8."""
    return msgspec.json.encode(promotion)


def decode_promotion(value: bytes) -> Promotion:
    """The inverse; raises `msgspec.DecodeError`."""
    return msgspec.json.decode(value, type=Promotion)


async def publish(promotion: Promotion, settings: Settings) -> None:
    """Makes a version the champion; returns when the broker has acknowledged it."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(settings.models_topic, encode_promotion(promotion), CHAMPION, partition=0)
    finally:
        await producer.stop()


class Promotions:
    """Follows the models topic without a group: every process sees every promotion."""

    def __init__(self, settings: Settings) -> None:
        self._partition = TopicPartition(settings.models_topic, 0)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.brokers, auto_offset_reset="earliest", enable_auto_commit=False
        )

    async def start(self) -> bytes | None:
        """Connects and returns the present champion's record, None if there is none yet."""
        await self._consumer.start()
        self._consumer.assign([self._partition])
        await self._consumer.seek_to_beginning(self._partition)
        end = (await self._consumer.end_offsets([self._partition]))[self._partition]
        champion: bytes | None = None
        while await self._consumer.position(self._partition) < end:
            for record in await self._fetched(timeout_ms=500):
                champion = record
        return champion

    async def follow(self) -> AsyncIterator[bytes]:
        """Promotions as they come; of several at once only the last counts."""
        while True:
            fetched = await self._fetched(timeout_ms=60_000)
            if fetched:
                yield fetched[-1]

    async def stop(self) -> None:
        """Disconnects."""
        await self._consumer.stop()

    async def _fetched(self, timeout_ms: int) -> list[bytes]:
        records = (await self._consumer.getmany(timeout_ms=timeout_ms)).get(self._partition, [])
        return [record.value for record in records if record.key == CHAMPION and record.value]


async def champion(settings: Settings) -> Promotion | None:
    """The present champion; None if there is none yet. Raises `msgspec.DecodeError` if its record is damaged."""
    promotions = Promotions(settings)
    try:
        value = await promotions.start()
    finally:
        await promotions.stop()
    return decode_promotion(value) if value else None
