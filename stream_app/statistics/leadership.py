"""Agrees with other processes on the one that writes: whoever is given partition 0 of the topic leads.

The group reads nothing of the topic; it is only there to notice within the session timeout that a leader is gone. That
two believe to lead for a moment does no harm: the newer one locks the older one's producer out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from stream_app.contract.access import statistics_group
from stream_app.kafka.clients import new_consumer
from stream_app.settings import Settings

LEADING: Final = 0  # the partition whose owner leads
_POLL_MS: Final = 500


class Leadership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Has work done while this process leads."""

    def __init__(self, settings: Settings, work: Callable[[], Awaitable[None]]) -> None:
        """`work` is begun when this process is to lead, and cancelled when it no longer is."""
        self._settings, self._work = settings, work
        self._task: asyncio.Future[None] | None = None
        # Whoever leads goes on when others join, as taking over means reading the whole topic.
        self._consumer: Any = new_consumer(
            settings,
            "trainer",
            group_id=statistics_group(settings),
            auto_offset_reset="latest",
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=round(1000 * settings.session_timeout),
            heartbeat_interval_ms=round(1000 * settings.session_timeout / 5),
        )

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self._task is not None

    async def run(self) -> None:
        """Is a member of the group until cancelled; raises what `work` raises."""
        consumer = self._consumer
        await consumer.start()
        try:
            consumer.subscribe([self._settings.statistics_topic], listener=self)
            while True:
                await consumer.getmany(timeout_ms=_POLL_MS)  # paused: it only says that this process is alive
                if self._task is not None and self._task.done():
                    self._task.result()
                    return
        finally:
            await self._end()
            await consumer.stop()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Does nothing: what changes is known when partitions are assigned."""

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begins to lead, or ends it."""
        self._consumer.pause(*assigned)
        if not any(tp.partition == LEADING for tp in assigned):
            await self._end()
        elif self._task is None:
            self._task = asyncio.ensure_future(self._work())

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
