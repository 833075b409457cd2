"""Watches what the trainer promoted: a version that does worse in production than the one before is rolled back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from model.serving.canary import regression_message, total_arm
from stream_app.errors import VersionUnusable
from stream_app.settings import Settings
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.versions.admin import roll_back
from stream_app.versions.canary_reports import PHASES, CanaryReport, decode_canary_report
from stream_app.versions.promotions import CHAMPION, Promotion, Promotions, elect

logger: Final = logging.getLogger(__name__)

_RETRY_S: Final = 60.0  # seconds after a rollback that failed, as the registry may be away, until it is tried again
_MOST_WORKERS: Final = 10_000  # whose reports are kept; a worker without an instance id has a new name at each start


class RollbackWatch:
    """Holds the champion and what the workers report of it; rolls it back when it does worse."""

    def __init__(self, settings: Settings, metrics: TrainerMetrics, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._champion: Promotion | None = None
        self._reports: dict[str, CanaryReport] = {}  # the newest of each worker, the latest to come last
        self._rolled_back: set[str] = set()
        self._next_try = 0.0  # seconds since the epoch

    async def run(self) -> None:
        """Rolls back versions that do worse, until cancelled."""
        promotions = Promotions(self._settings, "trainer", self._settings.canary_topic)
        try:
            self._champion = elect(await promotions.start()).champion
            async for records in promotions.records():
                self.add(records)
                await self._judge()
        finally:
            await promotions.stop()

    def add(self, records: Iterable[Any]) -> None:
        """Adds records of the models topic, where earlier nextacts report too, and of the one for reports.

        Only the models topic promotes: who may write reports must not decide what serves.
        """
        for record in records:
            if record.key == CHAMPION and record.topic == self._settings.models_topic:
                self._champion = elect([record.value], self._champion).champion
            elif report := decode_canary_report(record.value):
                self._keep(report)

    def _keep(self, report: CanaryReport) -> None:
        self._reports.pop(report.worker, None)
        self._reports[report.worker] = report
        if len(self._reports) > _MOST_WORKERS:
            del self._reports[next(iter(self._reports))]

    def regression_message(self) -> str | None:
        """Says how the champion does worse; None where it does not yet, or where there is no version before it."""
        champion = self._champion
        if champion is None or not champion.predecessors:
            return None
        pair = champion.version, champion.predecessors[0].version
        reports = [report for report in self._reports.values() if (report.version, report.before) == pair]
        for phase in PHASES:
            arms = [report.arms for report in reports if report.phase == phase]
            new, before = (total_arm(pair[number] for pair in arms) for number in (0, 1))
            if message := regression_message(new, before, self._settings.rollback_margin):
                return message
        return None

    async def _judge(self) -> None:
        """Rolls the champion back once when it does worse; after a failure it is tried again with later reports."""
        message, champion = self.regression_message(), self._champion
        if message is None or champion is None or champion.version in self._rolled_back:
            return
        now = self._clock()
        if now < self._next_try:
            return
        try:
            at = datetime.fromtimestamp(now, UTC)
            done = await roll_back(self._settings, at, only=champion.version, role="trainer")
        except VersionUnusable as error:
            self._next_try = now + _RETRY_S
            logger.error(
                "version %s does worse than the one before, but serves on: %s: %s", champion.version, message, error
            )
            return
        self._rolled_back.add(champion.version)
        self._metrics.rollbacks.inc()
        logger.error("%s: %s", done, message)
