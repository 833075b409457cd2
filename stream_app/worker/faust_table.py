"""The users' states as a Faust table: recovered from the changelog a fetch at a time, written by `delivery`.

Recovery brings the local store up to date; users come into memory when they are touched.

What this leans on in Faust 0.15.3: `Table._new_store`; recovery asks `persisted_offset` of the store where to begin and
hands it changelog events through `apply_changelog_batch`; `on_rebalance` of the store is called with the partitions
that were taken away before recovery begins; what `TableManager.on_start` does, and what else its subclass here says.
Faust's recovery swallows exceptions, so what goes wrong ends the process right here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import faust
from faust.stores.base import Store
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP

from model.errors import RecordCorrupt
from model.serving.state_engine import StateEngine
from model.state.user_record import record_position
from stream_app.contract.records import UnreadableBatch
from stream_app.kafka.topic_admin import changelog_facts
from stream_app.pipeline.damaged_users import DamagedUsers
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.settings import Settings
from stream_app.worker.faust_transport import FetchSchema
from stream_app.worker.local_store import LocalStore

TABLE: Final = "users"

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UsersStoreParts:
    """What the store of the users is made of; `fail` ends the process."""

    engine: StateEngine
    store: LocalStore
    settings: Settings
    metrics: WorkerMetrics
    fail: Callable[..., Any]


class UsersStore(Store):  # type: ignore[misc]
    """What Faust needs of a store, over the local store and the users in memory."""

    def __init__(self, *args: Any, parts: UsersStoreParts, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engine = parts.engine
        self._store = parts.store
        self._settings = parts.settings
        self._metrics = parts.metrics
        self._damaged = DamagedUsers(parts.metrics)
        self._fail = parts.fail

    def persisted_offset(self, tp: TP) -> int | None:
        """The last changelog offset that the local store contains; None: recover from the beginning."""
        return self._store.offset(tp.partition)

    def apply_changelog_batch(self, batch: Iterable[Any], **_: Any) -> None:
        """Takes in fetched changelog records, of each user only the newest."""
        try:
            for event in batch:
                self._apply(event.message.tp, event.message.value, event.message.offset)
        except Exception as error:
            self._fail(error)
            raise

    def _apply(self, tp: TP, records: list[Any], offset: int) -> None:
        """Stores changelog records up to `offset`, which is a marker's when the end of a transaction is all that came.

        Faust hands on what it had fetched of a partition that was taken away in between: that is dropped.
        """
        if tp.partition not in self._store.partitions:
            return
        records = [record for record in records if not self._is_unreadable(record)]
        states = [(user, record.value) for record in records if (user := _user_of(record)) is not None]
        known = self._store.read(tp.partition, list(dict(states)))
        newest = _newest(states, known, partial(self._damaged.note, tp.partition))
        self._store.write(tp.partition, [(user.encode(), value) for user, value in newest.items()], offset)
        self._metrics.recovered.inc(len(records))

    def _is_unreadable(self, record: Any) -> bool:
        """Returns whether this stands for records that are lost: their users go on from what is known of them."""
        if not isinstance(record, UnreadableBatch):
            return False
        self._metrics.unreadable.labels(record.reason).inc(record.records)
        return True

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Empties memory, and opens what is assigned and closes the rest.

        Also a partition that stays may have been another worker's in between.
        """
        try:
            self._engine.clear()
            await self._open_and_close(self._changelog_partitions(assigned))
        except Exception as error:
            self._fail(error)
            raise

    def _changelog_partitions(self, tps: set[TP]) -> set[int]:
        return {tp.partition for tp in tps if tp.topic == self._settings.state_topic}

    async def _open_and_close(self, assigned: set[int]) -> None:
        """Closes and opens partitions of the local store; standbys are among the assigned ones."""
        for partition in self._store.partitions - assigned:
            self._store.close(partition)
        arriving = assigned - self._store.partitions
        if arriving:
            ends, retention, cluster = await changelog_facts(self._settings, arriving)
            for partition in arriving:
                self._store.open(partition, ends[partition], retention, cluster)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Logs that the worker begins to answer; the records were applied as they came."""
        logger.info("answering on %d partitions", len(active_tps))

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """Not supported: the changelog is the backup, and Kafka replicates it."""
        raise NotImplementedError("the users table is backed up by its changelog")

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """See `backup_partition`."""
        raise NotImplementedError("the users table is restored from its changelog")

    def reset_state(self) -> None:
        """Does nothing: Faust calls this for `--clear` only, which nextact does not offer."""

    def __len__(self) -> int:
        return self._engine.user_counts().in_memory


def _user_of(record: Any) -> str | None:
    """Returns the user of a changelog record; None for a record that no worker wrote."""
    try:
        user: str = record.key.decode()
    except (AttributeError, UnicodeDecodeError):
        return None
    return user


def _newest(
    states: Sequence[tuple[str, bytes | None]], known: Mapping[str, bytes], damaged: Callable[[str, str], None]
) -> dict[str, bytes | None]:
    """Each user's newest record by the events that it has seen, if it is not older than the known one.

    A worker that had lost its partitions without knowing it may have written an older record after a newer one. Of two
    records of which one cannot be read, which `damaged` is told of, the other one counts.
    """
    newest: dict[str, bytes | None] = {}
    for user, value in states:
        before = newest.get(user, known.get(user))
        if before is None or value is None or _position(user, value, damaged) >= _position(user, before, damaged):
            newest[user] = value
    return newest


def _position(user: str, record: bytes, damaged: Callable[[str, str], None]) -> tuple[int, int]:
    """Where a record stands among its user's; a damaged one stands before all others."""
    try:
        return record_position(record)
    except RecordCorrupt as error:
        damaged(user, str(error))
        return -1, -1


class TimelyTableManager(TableManager):  # type: ignore[misc]
    """Faust's manager, which is ready for the present rebalance alone, and waits for no late tables: there are none.

    Faust says at the end of a recovery that users are recovered, also when the next rebalance has begun meanwhile, in
    the consumer's thread: with the partitions that came with that one, questions would be answered, and joins and
    timers applied, by what this machine's disk happens to have of them, until they are recovered as well.
    Leans on: `app.rebalancing_count` grows before anything else is done in a rebalance, and not again before
    `on_rebalance` of that one has ended; where `actives_ready` is set and unset.
    """

    _assigned = 0  # the rebalance, by its number, with the newest assignment
    _completing = 0  # the one whose recovery is at its end
    _recovered: int | None = None  # the one whose recovery has ended
    _recovery: Recovery | None

    @property
    def actives_ready(self) -> bool:
        """Whether all users of the partitions are recovered. Another thread may ask."""
        return bool(self._recovered == self.app.rebalancing_count)

    @actives_ready.setter
    def actives_ready(self, ready: bool) -> None:
        self._recovered = self._completing if ready else None

    @property
    def recovery(self) -> Recovery:
        """What recovers users."""
        if self._recovery is None:
            self._recovery = _UsersRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Notes which rebalance has assigned partitions."""
        self._assigned = self.app.rebalancing_count
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    def completes(self) -> None:
        """Notes that a recovery is at its end: what is said to be ready is so after this rebalance, and no later one.

        Leans on: Faust says nothing of one that is not of the newest assignment by now.
        """
        self._completing = self._assigned

    async def on_start(self) -> None:
        """Leans on: the rest of what Faust does here, which is a wait of a second for late tables."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class _UsersRecovery(Recovery):  # type: ignore[misc]
    """Faust's recovery, which tells the manager of its end before it goes to the committed offsets."""

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Ends the recovery after the assignment of a generation of the group."""
        self.tables.completes()
        await super().on_recovery_completed(generation_id)


class UsersTable(faust.Table):  # type: ignore[misc]
    """The table that ties the store to the changelog topic; nobody reads or writes it as a mapping."""

    def __init__(
        self,
        app: faust.App,
        *,
        settings: Settings,
        engine: StateEngine,
        store: LocalStore,
        metrics: WorkerMetrics,
        fail: Callable[..., Any],
    ) -> None:
        self._parts = UsersStoreParts(engine, store, settings, metrics, fail)
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
        return UsersStore("memory://", self.app, self, table_name=TABLE, parts=self._parts)
