"""The trainer's watch over what it promoted: a version that does worse in production than the one before goes back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from model.serving.canary import regression_message, total
from stream_app.errors import VersionUnusable
from stream_app.settings import Settings
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.versions.admin import roll_back
from stream_app.versions.canary_reports import CanaryReport, decode_canary_report
from stream_app.versions.promotions import CHAMPION, Promotion, Promotions, elect

logger: Final = logging.getLogger(__name__)


class RollbackWatch:
    """The champion and what the workers report of it."""

    def __init__(self, settings: Settings, metrics: TrainerMetrics, clock: Callable[[], float]) -> None:
        """`clock`: seconds since the epoch."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._champion: Promotion | None = None
        self._trials: dict[str, CanaryReport] = {}  # newest of each worker
        self._taken_back: set[str] = set()

    async def follow(self) -> None:
        """Takes back what does worse, until cancelled."""
        promotions = Promotions(self._settings)
        try:
            self._champion = elect(await promotions.start()).champion
            async for records in promotions.records():
                self.take(records)
                await self._judge()
        finally:
            await promotions.stop()

    def take(self, records: Iterable[Any]) -> None:
        """Takes in records of the models topic."""
        for record in records:
            if record.key == CHAMPION:
                self._champion = elect([record.value], self._champion).champion
            elif trial := decode_canary_report(record.value):
                self._trials[trial.worker] = trial

    def regression_message(self) -> str | None:
        """What is wrong with the champion; None: nothing yet, or there is no version before it."""
        champion = self._champion
        if champion is None or not champion.predecessors:
            return None
        pair = champion.version, champion.predecessors[0].version
        trials = [trial for trial in self._trials.values() if (trial.version, trial.before) == pair]
        new, before = total(trial.new for trial in trials), total(trial.old for trial in trials)
        return regression_message(new, before, self._settings.rollback_margin)

    async def _judge(self) -> None:
        why, champion = self.regression_message(), self._champion
        if why is None or champion is None or champion.version in self._taken_back:
            return
        self._taken_back.add(champion.version)
        try:
            done = await roll_back(self._settings, datetime.fromtimestamp(self._clock(), UTC), only=champion.version)
        except VersionUnusable as error:
            logger.error(
                "version %s does worse than the one before, but serves on: %s: %s", champion.version, why, error
            )
            return
        self._metrics.rollbacks.inc()
        logger.error("%s: %s", done, why)
