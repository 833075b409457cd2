"""Counts stored user records that cannot be read, and logs the first of each partition, without the user's id."""

from __future__ import annotations

import logging
from typing import Final

from model.data.events import stable_hash
from stream_app.pipeline.metrics import WorkerMetrics

logger: Final = logging.getLogger(__name__)


class DamagedUsers:
    """What was damaged so far, so that one line per partition says it."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._logged: set[int] = set()  # partitions

    def note(self, partition: int, user: str, fault: str) -> None:
        """Takes in a record that was left out, of a user (id), and what is wrong with it."""
        self._metrics.damaged_users.inc()
        if partition not in self._logged:
            self._logged.add(partition)
            logger.warning(
                "a user's stored state on partition %d was left out (hash of the user id: %016x): %s. A user without "
                "an older state begins anew, and their next record replaces it. Others of this partition are counted "
                "only: nextact_damaged_users_total",
                partition,
                stable_hash(user),
                fault,
            )
