"""The users' states as a Faust table: recovered from the changelog a fetch at a time, written by `delivery`.

Recovery brings the local store up to date; users come into memory when they are touched.

What this leans on in Faust 0.15.3: `Table._new_store`; recovery asks `persisted_offset` of the store where to begin and
hands it changelog events through `apply_changelog_batch`; `on_rebalance` of the store is called with what was
taken away before recovery begins; what `TableManager.on_start` does. Faust's recovery swallows exceptions, so damage
ends the process right here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import faust
from faust.stores.base import Store
from faust.tables.manager import TableManager
from faust.types import TP

from model.serving.engine import Fold
from model.state.user_record import position
from stream_app.kafka.topic_admin import changelog_facts
from stream_app.settings import Settings
from stream_app.worker.faust_transport import FetchSchema
from stream_app.worker.local_store import LocalStore
from stream_app.worker.metrics import WorkerMetrics

TABLE: Final = "users"

logger: Final = logging.getLogger(__name__)


class UsersStore(Store):  # type: ignore[misc]
    """What Faust needs of a store, over the local store and the slots of the fold."""

    def __init__(
        self,
        *args: Any,
        fold: Fold,
        store: LocalStore,
        settings: Settings,
        metrics: WorkerMetrics,
        fail: Callable[..., Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._fold = fold
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._fail = fail

    def persisted_offset(self, tp: TP) -> int | None:
        """The last changelog offset that the local store contains; None: recover from the beginning."""
        return self._store.offset(tp.partition)

    def apply_changelog_batch(self, batch: Iterable[Any], **_: Any) -> None:
        """Takes in fetched changelog records: of each user only the newest."""
        try:
            for event in batch:
                self._apply(event.message.tp, event.message.value, event.message.offset)
        except Exception as error:
            self._fail(error)
            raise

    def _apply(self, tp: TP, records: list[Any], offset: int) -> None:
        """Up to `offset`: of a marker, when the end of a transaction is all that came.

        Faust hands on what it had fetched of a partition that was taken away in between.
        """
        if tp.partition not in self._store.partitions:
            return
        known = self._store.read(tp.partition, list({record.key.decode() for record in records}))
        changes = [(user.encode(), value) for user, value in _newest(records, known).items()]
        self._store.write(tp.partition, changes, offset)
        self._metrics.recovered.inc(len(records))

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Memory begins empty: also a partition that stays may have been another worker's in between."""
        try:
            self._fold.clear()
            await self._open_and_close(self._of_changelog(assigned))
        except Exception as error:
            self._fail(error)
            raise

    def _of_changelog(self, tps: set[TP]) -> set[int]:
        return {tp.partition for tp in tps if tp.topic == self._settings.state_topic}

    async def _open_and_close(self, assigned: set[int]) -> None:
        """Standbys are among the assigned ones."""
        for partition in self._store.partitions - assigned:
            self._store.close(partition)
        arriving = assigned - self._store.partitions
        if arriving:
            ends, retention, cluster = await changelog_facts(self._settings, arriving)
            for partition in arriving:
                self._store.open(partition, ends[partition], retention, cluster)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Records were applied as they came; this is when the worker begins to answer."""
        logger.info("answering on %d partitions", len(active_tps))

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """Backups are Kafka's: the changelog is replicated."""
        raise NotImplementedError("the users table is backed up by its changelog")

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """See `backup_partition`."""
        raise NotImplementedError("the users table is restored from its changelog")

    def reset_state(self) -> None:
        """Faust calls this for `--clear` only, which nextact does not offer."""

    def __len__(self) -> int:
        return len(self._fold.states)


def _newest(records: Sequence[Any], known: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """Of each user the record that is newer than the known one, and newest by the events that it has seen.

    A worker that had lost its partitions without knowing may have written an older one behind it.
    """
    newest: dict[str, bytes | None] = {}
    for record in records:
        user, value = record.key.decode(), record.value
        before = newest.get(user, known.get(user))
        if not (before and value and position(value) < position(before)):
            newest[user] = value
    return newest


class NoWaitTableManager(TableManager):  # type: ignore[misc]
    """Faust's, without the second that it waits for tables which come late: here there is one, from the beginning."""

    async def on_start(self) -> None:
        """Leans on: the rest of what Faust does here."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class UsersTable(faust.Table):  # type: ignore[misc]
    """The table that ties the store to the changelog topic; nobody reads or writes it as a mapping."""

    def __init__(
        self,
        app: faust.App,
        *,
        settings: Settings,
        fold: Fold,
        store: LocalStore,
        metrics: WorkerMetrics,
        fail: Callable[..., Any],
    ) -> None:
        self._parts: dict[str, Any] = {
            "fold": fold,
            "store": store,
            "settings": settings,
            "metrics": metrics,
            "fail": fail,
        }
        changelog = app.topic(
            settings.state_topic,
            schema=FetchSchema(),
            acks=False,
            internal=True,
            partitions=settings.partitions,
        )
        super().__init__(
            app,
            name=TABLE,
            changelog_topic=changelog,
            recovery_buffer_size=2,  # with a buffer of one Faust would go on reading the changelog after recovery
            standby_buffer_size=1,  # a standby stores each fetch as it comes
            partitions=settings.partitions,
        )

    def _new_store(self) -> UsersStore:
        return UsersStore("memory://", self.app, self, table_name=TABLE, **self._parts)
