"""Reads the joins of the partitions whose events this worker answers, and hands them to the agent, a fetch at a time.

Faust knows nothing of the joins topic: workers of before, which do not have it, can be members of the group, and which
partitions a worker has is decided by the events alone. Who has a partition of the events reads the same one of the
joins, once users are recovered, from the offset that the group has committed; a fetch is durable before the next one
is handed out, piece by piece. Nothing is read from the beginning of a rebalance to the end of the recovery after it.

What this leans on in Faust 0.15.3 and aiokafka, each with a test in `test_faust_internals`: `tables.actives_ready`, as
in `faust_transport`; `_thread._consumer` and its `_coordinator`, which commits any offsets as the member of the group.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import faust
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from stream_app.errors import AuthorizationFailed, TopicMismatch
from stream_app.kafka.clients import Consumer, new_consumer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.pipeline.joins.fetched import JoinsFetch, JoinsResponse
from stream_app.settings import Settings

_WAIT_MS: Final = 500  # that a fetch waits at the broker when it finds nothing
_AT_ONCE: Final = 500  # records of a fetch
_LARGEST: Final = 128 * 1024  # bytes of the records of a response: some ms of the thread that steps events, too
_UNDER_WAY: Final = 4  # responses of a fetch that are not durable yet, at most
_RECOVERY_POLL_S: Final = 0.1  # between two looks whether users are recovered

logger: Final = logging.getLogger(__name__)


class Aside(Protocol):
    """Something beside the stream of events that goes by who owns the partitions."""

    def pause(self) -> None:
        """Owns nothing until `resume`."""

    def resume(self, partitions: Collection[int]) -> None:
        """Owns these partitions from now on."""


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
        while self._may_read(app, partitions):
            fetched = await consumer.getmany(timeout_ms=_WAIT_MS)
            waiting = deque[JoinsResponse]()
            for fetches in in_pieces(fetched.values(), _LARGEST):
                if not self._may_read(app, partitions):
                    return  # the next call begins at the committed offsets again
                waiting.append(JoinsResponse(fetches, app.consumer_generation_id))
                self._take(waiting[-1])
                if len(waiting) == _UNDER_WAY and not await self._is_done(app, waiting.popleft()):
                    return
            for response in waiting:
                if not await self._is_done(app, response):
                    return

    async def _is_done(self, app: faust.App, response: JoinsResponse) -> bool:
        """Waits until a response is durable, and commits it; False: it is another worker's by now."""
        if not await response.ended:
            return False
        if self._commits:
            topic = self._settings.joins_topic
            await self._commit(app, {TopicPartition(topic, one.partition): one.next for one in response.value})
        return True

    def _may_read(self, app: faust.App, partitions: frozenset[int]) -> bool:
        """Tells whether the partitions are still this worker's, and their users known to it."""
        return self._partitions is partitions and app.tables.actives_ready and not app.should_stop

    async def _commit(self, app: faust.App, offsets: Mapping[TopicPartition, int]) -> None:
        """Commits as the member of the group that this worker is. When it is none any more, the next owner repeats."""
        thread = app.consumer._thread
        try:
            await thread.call_thread(_commit_as_member, thread._consumer, offsets)
        except CommitFailedError:
            logger.info("the joins were read up to %s, which the next owner reads again", offsets)


def in_pieces(fetched: Iterable[Sequence[Any]], largest: int) -> Iterator[list[JoinsFetch]]:
    """Yields the records of partitions in their order, in pieces of at most so many bytes or one record."""
    piece, size = list[JoinsFetch](), 0
    for records in fetched:
        begin = 0
        for index, record in enumerate(records):
            length = len(record.value or b"")
            if size and size + length > largest:
                piece += _fetch(records[begin:index])
                yield piece
                piece, size, begin = [], 0, index
            size += length
        piece += _fetch(records[begin:])
    if piece:
        yield piece


def _fetch(records: Sequence[Any]) -> list[JoinsFetch]:
    return [JoinsFetch(records[0].partition, records)] if records else []


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
