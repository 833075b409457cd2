"""Trials: what the workers measure of a new version and the one before, on the models topic for the trainer to judge.

Every worker has a key of its own, so compaction leaves its newest report.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from model.serving.canary import HitCounts
from stream_app.settings import Settings

logger: Final = logging.getLogger(__name__)

KEY: Final = b"trial:"
_EVERY_S: Final = 5.0


class CanaryReport(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's counts since `version` came, of it and of `before`."""

    worker: str
    version: str
    before: str
    new: HitCounts
    old: HitCounts


def decode_canary_report(value: bytes | None) -> CanaryReport | None:
    """None for what is no trial, or of another nextact."""
    try:
        return msgspec.json.decode(value or b"", type=CanaryReport)
    except (ValueError, RecursionError):
        return None


async def report_canary(settings: Settings, worker: str, trial: Callable[[], CanaryReport | None]) -> None:
    """Publishes what `trial` gives, when it changes, until cancelled. A report that is not sent is not missed."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers)
    sent = None
    await producer.start()
    try:
        while True:
            await asyncio.sleep(_EVERY_S)
            found = trial()
            if found is not None and found != sent:
                try:
                    await producer.send_and_wait(
                        settings.models_topic, msgspec.json.encode(found), KEY + worker.encode(), partition=0
                    )
                    sent = found
                except KafkaError as error:
                    logger.warning("the trial of %s was not reported, it is tried again: %r", found.version, error)
    finally:
        await producer.stop()
