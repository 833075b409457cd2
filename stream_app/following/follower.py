"""Reads a compacted topic from where a snapshot on disk ends, and follows it; its content is somebody else's.

Records are applied in a thread of their own. A topic that is missing, and may not be made, or may not be read is no
content: a line in the log says so once, and all else goes on.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Generic, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stream_app.errors import AuthorizationFailed, TopicMismatch
from stream_app.following.content import Content, Offsets, Origin
from stream_app.kafka.clients import Role, new_consumer
from stream_app.kafka.topic_admin import compaction_facts, ensure_topics
from stream_app.settings import Settings

R = TypeVar("R")
T = TypeVar("T")

MOST: Final = 5_000  # records that are applied at once
_POLL_MS: Final = 10_000
_QUIET_MS: Final = 5_000  # that a fetch waits for the next record
_PAUSE_S: Final = 5.0  # after an error of Kafka's
_SNAPSHOT_S: Final = 600.0  # seconds between two snapshots, while anything changes
_WORTH: Final = 10_000  # records read at the start that are worth a snapshot at once

logger: Final = logging.getLogger(__name__)


class TopicFollower(Generic[R]):
    """Keeps the content of a topic up to date."""

    def __init__(
        self,
        settings: Settings,
        role: Role,
        topic: str,
        content: Content[R],
        *,
        called: str,
        noted: Callable[[R], None] = lambda _: None,
    ) -> None:
        """`called`: the content's name in the log. `noted` is given, in the event loop, what `apply` returns."""
        self.may_save: Callable[[], bool] = lambda: True
        self.is_read = False  # whether all that was there at the start was applied
        self._settings, self._role, self._called = settings, role, called
        self._content, self._noted = content, noted
        self._thread = ThreadPoolExecutor(1, called)
        self._consumer: Any = None
        self._origin = Origin("", topic)
        self._ends: Mapping[TopicPartition, int] = {}
        self._offsets: Offsets = {}
        self._unsaved = 0  # records applied since the snapshot
        self._saved = 0.0  # when the snapshot was written or read, by the loop's clock

    @property
    def partitions(self) -> int:
        """The number of the topic's partitions; 0: not known."""
        return len(self._ends)

    @property
    def has_topic(self) -> bool:
        """Whether there is a topic to follow."""
        return self._consumer is not None

    async def start(self, within: float = math.inf) -> None:
        """Reads all that is there, or what can be read in so many seconds. Raises `UsageError` when no broker answers.

        What is left is read by `follow`.
        """
        topic = self._origin.topic
        try:
            (report,) = await ensure_topics(self._settings, self._role, topic)
            retention, cluster = await compaction_facts(self._settings, self._role, topic)
        except (TopicMismatch, AuthorizationFailed) as error:
            logger.info("no %s: %s", self._called, error)
            return
        self._origin = Origin(cluster, topic)
        consumer = new_consumer(
            self._settings,
            self._role,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=_QUIET_MS,
        )
        await consumer.start()
        self._consumer = consumer
        # Asked for before the consumer fetches, so that it is answered at once.
        self._ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(report.partitions)])
        await self._seek(retention)
        await self._read_to_end(asyncio.get_running_loop().time() + within)

    async def follow(self) -> None:
        """Follows the topic until cancelled."""
        if self._consumer is None:
            await asyncio.Event().wait()
        loop, broken = asyncio.get_running_loop(), False
        while True:
            try:
                await self._read(_POLL_MS)
                if not self.is_read:
                    self.is_read = await self._is_at_end()
                broken = False
            except KafkaError as error:
                if not broken:
                    logger.warning(
                        "the %s stays as it is while %s cannot be read: %r", self._called, self._origin.topic, error
                    )
                broken = True
                await asyncio.sleep(_PAUSE_S)
            if self._unsaved and loop.time() - self._saved >= _SNAPSHOT_S:
                await self.save()

    async def stop(self) -> None:
        """Disconnects; writes a snapshot if anything has changed."""
        if self._consumer is not None:
            await self._consumer.stop()
            if self._unsaved:
                await self.save()
        self._thread.shutdown()

    async def save(self) -> None:
        """Writes a snapshot, unless another process has written one that is as new."""
        if not self.may_save():
            return
        self._saved = asyncio.get_running_loop().time()
        if await self._in_thread(partial(self._content.save, self._origin, self._offsets)):
            self._unsaved = 0

    async def _seek(self, retention: float) -> None:
        """Goes on where the snapshot ends, or begins at the beginning."""
        ends = {tp.partition: end for tp, end in self._ends.items()}
        self._offsets = await self._in_thread(partial(self._content.load, self._origin, ends, retention))
        self._saved = asyncio.get_running_loop().time()
        self._consumer.assign(list(self._ends))
        for tp in self._ends:
            if tp.partition in self._offsets:
                self._consumer.seek(tp, self._offsets[tp.partition])
        if fresh := [tp for tp in self._ends if tp.partition not in self._offsets]:
            await self._consumer.seek_to_beginning(*fresh)

    async def _read_to_end(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while not (is_at_end := await self._is_at_end()) and loop.time() < deadline:
            await self._read(timeout_ms=500)
        self.is_read = is_at_end
        if self._unsaved >= _WORTH and is_at_end:
            self._saved -= _SNAPSHOT_S  # a snapshot is due, once whoever waits for the content has it

    async def _is_at_end(self) -> bool:
        return all([await self._consumer.position(tp) >= end for tp, end in self._ends.items()])

    async def _read(self, timeout_ms: int) -> None:
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=MOST)
        offsets = {tp.partition: await self._consumer.position(tp) for tp in self._consumer.assignment()}
        records = [record for several in fetched.values() for record in several]
        if records:
            self._noted(await self._in_thread(partial(self._content.apply, records)))
        self._offsets = offsets
        self._unsaved += len(records)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
