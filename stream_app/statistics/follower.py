"""Follows the statistics' topic in a worker, and says how old what it knows is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from stream_app.following.follower import TopicFollower
from stream_app.settings import Settings
from stream_app.statistics.counting import SavedTable
from stream_app.statistics.live import LiveStatistics
from stream_app.statistics.live_counting import warm_up
from stream_app.statistics.metrics import StatisticsMetrics

_WITHIN_S: Final = 60.0  # seconds that a start waits for all statistics

logger: Final = logging.getLogger(__name__)


class StatisticsFollower(TopicFollower[None]):
    """The statistics of this process, kept up to date."""

    def __init__(
        self, settings: Settings, table: SavedTable, metrics: StatisticsMetrics, clock: Callable[[], float]
    ) -> None:
        """`clock` in seconds since the epoch."""
        topic = settings.statistics_topic
        self.live = LiveStatistics(table, settings.data_dir / "statistics" / topic, clock, time.monotonic)
        super().__init__(settings, "worker", topic, self.live, called="statistics")
        self._clock, self._begun = clock, clock()
        metrics.items.set_function(lambda: len(table))
        metrics.bytes.set_function(lambda: table.nbytes)
        metrics.age.set_function(self._age)
        metrics.dropped.counts = self._dropped

    async def start(self, within: float = _WITHIN_S) -> None:
        """See `TopicFollower`; what cannot be read in time is read while this process works."""
        if not self._settings.statistics:
            return
        await self._in_thread(warm_up)
        await super().start(within)
        if self.has_topic and not self.is_read:
            logger.warning(
                "the statistics were not read to their end in %g s: the rest follows while this worker answers", within
            )
        if len(self.live.table):
            logger.info("%d items in the statistics", len(self.live.table))

    def _age(self) -> float:
        if not self.has_topic:
            return math.nan
        position = self.live.position
        return self._clock() - (position.until / 1000 if position and position.until else self._begun)

    def _dropped(self) -> Mapping[str, int]:
        """What was forgotten here, and by the process that counts."""
        own, position = self.live.table.dropped, self.live.position
        theirs = position.dropped if position else {}
        return {kind: own.get(kind, 0) + theirs.get(kind, 0) for kind in {*own, *theirs}}
