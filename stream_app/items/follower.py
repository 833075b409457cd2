"""Follows the items topic without a consumer group, so that every process has the whole catalogue.

Records are decoded and applied in a thread of their own; readers see each batch whole or not at all. A topic that is
missing, and may not be made, or may not be read is no catalogue: a line in the log says so once, and all else goes on.
A snapshot on disk spares most of the reading at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from model.items.catalogue import ItemCatalogue
from stream_app.contract.records import UnreadableBatch
from stream_app.errors import AuthorizationFailed, TopicMismatch
from stream_app.items.local_catalogue import LocalCatalogue, Offsets, RejectedItem
from stream_app.items.metrics import ItemMetrics
from stream_app.items.snapshot import Origin
from stream_app.kafka.clients import Role, new_consumer
from stream_app.kafka.topic_admin import compaction_facts, ensure_topics
from stream_app.settings import Settings

T = TypeVar("T")

_MOST: Final = 5_000  # records that are applied at once
_POLL_MS: Final = 10_000
_QUIET_MS: Final = 5_000  # that a fetch waits for the next record
_PAUSE_S: Final = 5.0  # after an error of Kafka's
_SNAPSHOT_S: Final = 600.0  # seconds between two snapshots, while anything changes
_WORTH: Final = 10_000  # records read at the start that are worth a snapshot at once

logger: Final = logging.getLogger(__name__)


class ItemsFollower:
    """The catalogue of this process, kept up to date."""

    def __init__(
        self,
        settings: Settings,
        role: Role,
        metrics: ItemMetrics,
        clock: Callable[[], float],
        rejected: Callable[[Sequence[RejectedItem]], None] = lambda _: None,
    ) -> None:
        """`clock` in seconds since the epoch. `rejected` is given, in the event loop, what is not an item."""
        self.local = LocalCatalogue(settings.data_dir / "items" / settings.items_topic, clock)
        self.may_save: Callable[[], bool] = lambda: True  # whether a snapshot may pass over what was rejected by now
        self._settings, self._role = settings, role
        self._metrics, self._rejected = metrics, rejected
        self._thread = ThreadPoolExecutor(1, "items")
        self._consumer: Any = None
        self._origin = Origin("", settings.items_topic)
        self._offsets: Offsets = {}
        self._unsaved = 0  # records applied since the snapshot
        self._saved = 0.0  # when the snapshot was written or read, by the loop's clock
        metrics.items.set_function(lambda: len(self.catalogue))

    @property
    def catalogue(self) -> ItemCatalogue:
        """The items; the same object at all times."""
        return self.local.items

    async def start(self) -> None:
        """Reads all that is there. Raises `UsageError` when no broker answers."""
        topic = self._settings.items_topic
        try:
            (report,) = await ensure_topics(self._settings, self._role, topic)
            retention, cluster = await compaction_facts(self._settings, self._role, topic)
        except (TopicMismatch, AuthorizationFailed) as error:
            logger.info("no catalogue: %s", error)
            return
        self._origin = Origin(cluster, topic)
        self._consumer = new_consumer(
            self._settings,
            self._role,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=_QUIET_MS,
        )
        await self._consumer.start()
        partitions = [TopicPartition(topic, number) for number in range(report.partitions)]
        await self._read_to(await self._consumer.end_offsets(partitions), retention)

    async def follow(self) -> None:
        """Follows the topic until cancelled."""
        if self._consumer is None:
            await asyncio.Event().wait()
        loop, broken = asyncio.get_running_loop(), False
        while True:
            try:
                await self._read(_POLL_MS)
                broken = False
            except KafkaError as error:
                if not broken:
                    logger.warning(
                        "the catalogue stays as it is while %s cannot be read: %r", self._origin.topic, error
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
        self.local.close()
        self._thread.shutdown()

    async def save(self) -> None:
        """Writes a snapshot, unless another process has written one that is as new."""
        if not self.may_save():
            return
        self._saved = asyncio.get_running_loop().time()
        if await self._in_thread(partial(self.local.save, self._origin, self._offsets)):
            self._unsaved = 0

    async def _read_to(self, ends: Mapping[TopicPartition, int], retention: float) -> None:
        """Goes on where the snapshot ends, or begins at the beginning, and reads up to these offsets.

        `ends` were asked for before the consumer fetches, so that it was answered at once.
        """
        by_partition = {tp.partition: end for tp, end in ends.items()}
        self._offsets = await self._in_thread(partial(self.local.load, self._origin, by_partition, retention))
        self._saved = asyncio.get_running_loop().time()
        self._consumer.assign(list(ends))
        for tp in ends:
            if tp.partition in self._offsets:
                self._consumer.seek(tp, self._offsets[tp.partition])
        if fresh := [tp for tp in ends if tp.partition not in self._offsets]:
            await self._consumer.seek_to_beginning(*fresh)
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            await self._read(timeout_ms=500)
        if self._offsets or len(self.catalogue):
            logger.info("%d items in the catalogue", len(self.catalogue))
        if self._unsaved >= _WORTH:
            self._saved -= _SNAPSHOT_S  # a snapshot is due, once whoever waits for the catalogue has it

    async def _read(self, timeout_ms: int) -> None:
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=_MOST)
        offsets = {tp.partition: await self._consumer.position(tp) for tp in self._consumer.assignment()}
        records = [record for several in fetched.values() for record in several]
        if records:
            self._note(await self._in_thread(partial(self.local.apply, records)))
        self._offsets = offsets
        self._unsaved += len(records)

    def _note(self, rejected: Sequence[RejectedItem]) -> None:
        """Counts what is not an item, and logs it: a line for what came together."""
        for record, rejection in rejected:
            count = record.records if isinstance(record, UnreadableBatch) else 1
            self._metrics.rejected.labels(rejection.reason).inc(count)
        if rejected:
            record, rejection = rejected[-1]
            logger.warning(
                "%d records of %s are not items, the last of them partition %d, offset %d: %s: %s; of these items "
                "stays what was known before",
                *(len(rejected), record.topic, record.partition, record.offset, rejection.reason, rejection.message),
            )
            self._rejected(rejected)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
