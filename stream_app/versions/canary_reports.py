"""Canary reports: how a new version and the one before do live, sent by the workers to the trainer, which judges.

They go to a topic of their own, so that a worker needs no right to write promotions. Every worker has a key of its
own, so compaction leaves its newest report, and after a while the topic forgets it. Workers of earlier nextacts report
to the models topic, under the same keys.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Literal, get_args

import msgspec
from aiokafka.errors import KafkaError

from model.serving.canary import Arm, HitCounts
from model.serving.hit_moments import HitMoments
from stream_app.kafka.clients import new_producer
from stream_app.settings import Settings

logger: Final = logging.getLogger(__name__)

KEY: Final = b"trial:"  # in front of the worker's name in a record's key
_LONGEST: Final = 4096  # bytes of a report that is read: the trainer keeps one per worker
_MOST_EVENTS: Final = 2**53  # that a report may count: above, sums of floats are not exact
_EVERY_S: Final = 5.0  # seconds between two reports


Phase = Literal["canary", "holdback"]  # while the version is on trial; afterwards, with fewer users
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)


class CanaryReport(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's hit counts of `version` and of the one `before`, since the `phase` began.

    Workers of earlier nextacts do not name a phase, as they have one, and report no moments.
    """

    worker: str
    version: str
    before: str
    new: HitCounts
    old: HitCounts
    new_moments: HitMoments | None = None
    old_moments: HitMoments | None = None
    phase: Phase = "canary"

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """How the new version and the one before did."""
        return Arm.of(self.new, self.new_moments), Arm.of(self.old, self.old_moments)


def decode_canary_report(value: bytes | None) -> CanaryReport | None:
    """Decodes a report; returns None for a value that is not a report, not one of this nextact, or cannot be true."""
    if not value or len(value) > _LONGEST:
        return None
    try:
        report = msgspec.json.decode(value, type=CanaryReport)
    except (ValueError, RecursionError):
        return None
    possible = _possible(report.new, report.new_moments) and _possible(report.old, report.old_moments)
    return report if possible else None


def _possible(counts: HitCounts, moments: HitMoments | None) -> bool:
    if not 0 <= counts.reciprocal_ranks <= counts.hits <= counts.scored <= _MOST_EVENTS:
        return False
    return moments is None or all(0 <= each <= _MOST_EVENTS**2 for each in moments)


async def report_canary(settings: Settings, worker: str, current_report: Callable[[], CanaryReport | None]) -> None:
    """Publishes the current report when it has changed, until cancelled.

    A report that could not be sent needs no repeat: the next one has its counts, too.
    """
    producer = new_producer(settings, "worker")
    sent = None
    await producer.start()
    try:
        while True:
            await asyncio.sleep(_EVERY_S)
            report = current_report()
            if report is not None and report != sent:
                try:
                    await producer.send_and_wait(
                        settings.canary_topic, msgspec.json.encode(report), KEY + worker.encode(), partition=0
                    )
                    sent = report
                except KafkaError as error:
                    logger.warning("the canary report on %s was not sent, trying again: %r", report.version, error)
    finally:
        await producer.stop()
