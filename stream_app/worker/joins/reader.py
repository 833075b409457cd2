"""Reads the joins of the partitions whose events this worker answers, and hands them to the agent, a fetch at a time.

Faust knows nothing of the joins topic: workers of before, which do not have it, can be members of the group, and which
partitions a worker has is decided by the events alone. Who has a partition of the events reads the same one of the
joins, once users are recovered, from the offset that the group has committed; a fetch is durable before the next one
is asked for. Nothing is read from the beginning of a rebalance to the end of the recovery after it.

What this leans on in Faust 0.15.3 and aiokafka, each with a test in `test_faust_internals`: `tables.actives_ready`, as
in `faust_transport`; `_thread._consumer` and its `_coordinator`, which commits any offsets as the member of the group.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import faust
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from stream_app.errors import AuthorizationFailed, TopicMismatch
from stream_app.kafka.clients import Consumer, new_consumer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.worker.joins.fetched import JoinsFetch, JoinsResponse

_WAIT_MS: Final = 500  # that a fetch waits at the broker when it finds nothing
_AT_ONCE: Final = 500  # records of a fetch
_RECOVERY_POLL_S: Final = 0.1  # between two looks whether users are recovered

logger: Final = logging.getLogger(__name__)


class JoinsReader:
    """Reads joins while this worker answers events."""

    def __init__(
        self, settings: Settings, *, take: Callable[[JoinsResponse], None], fail: Callable[..., Any], commits: bool
    ) -> None:
        """`take` hands a response to the agent; `fail` ends the process; `commits`: deliveries commit no offsets."""
        self._settings = settings
        self._take = take
        self._fail = fail
        self._commits = commits
        self._partitions: frozenset[int] | None = None  # another object after each rebalance; None: in one
        self._resumed = asyncio.Event()

    def pause(self) -> None:
        """Hands out nothing more until `resume`."""
        self._partitions = None
        self._resumed.clear()

    def resume(self, partitions: Collection[int]) -> None:
        """Reads these partitions from now on, once their users are recovered."""
        self._partitions = frozenset(partitions)
        self._resumed.set()

    async def run(self, app: faust.App) -> None:
        """Reads until it is cancelled; ends the process when it fails."""
        try:
            async with self._consumer() as consumer:
                while True:
                    await self._resumed.wait()
                    if (partitions := self._partitions) and app.tables.actives_ready and not app.should_stop:
                        await self._read(app, consumer, partitions)
                    else:
                        await asyncio.sleep(_RECOVERY_POLL_S)
        except Exception as error:
            self._fail(error)
            raise

    def _consumer(self) -> Consumer:
        """Makes a consumer that is no member of the group but knows its offsets."""
        return new_consumer(
            self._settings,
            "worker",
            group_id=self._settings.group,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=_AT_ONCE,
            fetch_max_wait_ms=_WAIT_MS,
        )

    async def _read(self, app: faust.App, consumer: Consumer, partitions: frozenset[int]) -> None:
        """Reads partitions until they are another worker's, or may be. Positions begin at the committed offsets."""
        topic = self._settings.joins_topic
        consumer.assign([TopicPartition(topic, partition) for partition in sorted(partitions)])
        while self._partitions is partitions and app.tables.actives_ready and not app.should_stop:
            fetched = await consumer.getmany(timeout_ms=_WAIT_MS)
            if fetched and self._partitions is partitions and app.tables.actives_ready and not app.should_stop:
                fetches = [JoinsFetch(tp.partition, records) for tp, records in fetched.items()]
                response = JoinsResponse(fetches, app.consumer_generation_id)
                self._take(response)
                if await response.ended and self._commits:
                    await self._commit(app, {TopicPartition(topic, one.partition): one.next for one in fetches})

    async def _commit(self, app: faust.App, offsets: Mapping[TopicPartition, int]) -> None:
        """Commits as the member of the group that this worker is. When it is none any more, the next owner repeats."""
        thread = app.consumer._thread
        try:
            await thread.call_thread(_commit_as_member, thread._consumer, offsets)
        except CommitFailedError:
            logger.info("the joins were read up to %s, which the next owner reads again", offsets)


async def _commit_as_member(consumer: Any, offsets: Mapping[TopicPartition, int]) -> None:
    committed = {tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
    await consumer._coordinator.commit_offsets(None, committed)


async def joins_are_possible(settings: Settings) -> bool:
    """Returns whether this worker is to apply joins, and can; says so where it cannot.

    A worker goes on without: on a cluster whose operator has not made the topic, or granted no rights on it, yet.
    """
    if not settings.joins:
        return False
    if settings.write_format == "previous":
        logger.info("identities are ignored: records of the previous format cannot say which joins a user has")
        return False
    try:
        await ensure_topics(settings, "worker", settings.joins_topic)
    except (TopicMismatch, AuthorizationFailed) as error:
        logger.warning("identities are ignored, as joins have no topic here (NEXTACT_JOINS=false says so): %s", error)
        return False
    return True
