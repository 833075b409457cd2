"""The thread of Faust's consumer, and what it makes of the records of a partition: a `Fetch`.

Only committed records are read: publishers may use transactions, and so does our own changelog. Between them lie
offsets without a record for a reader: markers at the end of transactions, records of aborted ones. So a fetch's offset
is taken from the position of the consumer, not from its last record, and a position that moves without records makes
a fetch without records: what is expected next moves with it, and so does what can be committed.

aiokafka would go on at the oldest record, and hardly say so, where a log does not have the offset that is wanted. It is
told not to (`auto_offset_reset`): `log_range` says what to do, and the fetch says what it means.

What this leans on in Faust 0.15.3, each marked below where it is used, and each with a test in `test_faust_internals`:
of `AIOKafkaConsumerThread` `on_start`, `_create_worker_consumer`, `_assignor`, `getmany`, `_fetch_records`,
`_seek_wait`, `seek_to_committed`, `_highwaters`, `earliest_offsets` and `highwater`, and of its queue of calls
`_process_enqueued`; in aiokafka its coordinator's `_do_heartbeat`, `_push_error_to_user` and `member_id`, its fetcher's
`_create_fetch_waiter`, `_notify`, `_fetch_max_wait_ms`, `_fetch_min_bytes` and `error_future`, the positions in a
subscription's assignment, and the two errors that a fetch raises for an offset that is not there, with what they carry.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.protocol.group import JoinGroupRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import QueuedMethod

from stream_app.errors import DataPathError
from stream_app.kafka.clients import new_consumer
from stream_app.kafka.log_range import LogRange, OffsetGap, gap_to
from stream_app.kafka.offsets import beginnings_of, ends_of
from stream_app.kafka.refusals import refusal

_FETCH_WAIT_MS: Final = 200  # that a fetch waits at the broker when it finds nothing
_LONGEST_PAUSE_S: Final = 0.02  # between two fetches of a busy worker
_BULK: Final = 65_536  # bytes that end the pause: some 500 events
_SECOND_LOOK_S: Final = 1.0  # after which a log that seems to be cut is looked at again
_TWIN_TIMES: Final = 4  # a process that stands still is forgotten once, one with a twin again and again
_TWIN_TIMEOUTS: Final = 4  # session timeouts in which that has to be
_REFUSALS: Final = (OffsetOutOfRangeError, NoOffsetForPartitionError)

logger: Final = logging.getLogger(__name__)


class Fetch:
    """The records of one fetch of one partition, with the attributes of a record that Faust reads."""

    __slots__ = ("gap", "offset", "partition", "start", "timestamp", "timestamp_type", "topic", "tp", "value")

    key: Final = None
    headers: Final = ()
    checksum: Final = None
    serialized_key_size: Final = 0
    serialized_value_size: Final = 0

    def __init__(self, tp: TP, records: Sequence[Any], start: int, position: int, gap: OffsetGap | None = None) -> None:
        """`start` is where this fetch began, `position` where the next one will; there may be no records in between.

        `gap` says that the log does not have `start`.
        """
        self.tp = tp
        self.start = start
        self.gap = gap
        self.topic: str = tp.topic
        self.partition: int = tp.partition
        self.offset: int = position - 1
        self.timestamp: int = records[-1].timestamp if records else 0
        self.timestamp_type: int = records[-1].timestamp_type if records else 0
        self.value = records

    @classmethod
    def carrying(cls, fetches: Sequence[Fetch]) -> Fetch:
        """Makes the fetch that takes others with it through Faust, as its value: it looks like the first of them."""
        first = fetches[0]
        return cls(first.tp, fetches, first.start, first.offset + 1)


class FetchThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread and event loop in which Faust runs aiokafka's consumer.

    Two calls can run at once there, and a fetch that Faust gave up in a rebalance goes on. So fetches and seeks take
    turns: the records of such a fetch are fetched again after the seek that follows, and no call moves a position while
    another one uses it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn = asyncio.Lock()
        self._fetching: set[asyncio.Task[Any]] = set()
        self._end_of_pause: asyncio.TimerHandle | None = None
        self._forgotten: deque[float] = deque()  # when the group did not know this process, seconds, monotonic

    async def on_start(self) -> None:
        """Starts the consumer, has each heartbeat reported with the time when it was sent, and hears of errors.

        Leans on: Faust starts aiokafka's consumer in here, and joins the group later; each heartbeat is one call of the
        coordinator's `_do_heartbeat`, which says whether it was taken and forgets the member's id when it is unknown;
        an error that keeps it out of the group goes through `_push_error_to_user`, after which it does nothing, no
        heartbeat either, until somebody calls its `check_errors`, which Faust's way of fetching does not.
        """
        await super().on_start()
        coordinator = self._consumer._coordinator
        beat = coordinator._do_heartbeat

        async def reported() -> bool:
            sent = monotonic()
            accepted: bool = await beat()
            if accepted or coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
                self.transport.hooks.heartbeat(sent, accepted=accepted)
            if not accepted and coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
                self._look_for_twin(sent)
            return accepted

        push = coordinator._push_error_to_user

        def pushed(error: Exception) -> Any:
            if not self.app.should_stop:
                self.transport.hooks.refused(self._named(error))
            return push(error)

        coordinator._do_heartbeat = reported
        coordinator._push_error_to_user = pushed

    def _named(self, error: Exception) -> Exception:
        """Returns an error that keeps this process out of its group, with what may be the cause where Kafka has none.

        aiokafka does not know the word by which brokers refuse a process whose instance id another one has taken over.
        """
        instance = self.transport.settings.instance_id
        if not instance or refusal(error, "Read") is not None:
            return error
        text = f"no place in the group: {error!r}. Does another worker have the same NEXTACT_INSTANCE_ID, {instance!r}?"
        named = DataPathError(text)
        named.__cause__ = error
        return named

    def _look_for_twin(self, now: float) -> None:
        """Ends the process when the group has forgotten it too often in a short time (`now` in seconds, monotonic).

        Of two processes with one instance id each takes the place of the other with every join, without end.
        """
        settings = self.transport.settings
        while self._forgotten and now - self._forgotten[0] > _TWIN_TIMEOUTS * settings.session_timeout:
            self._forgotten.popleft()
        self._forgotten.append(now)
        if settings.instance_id and len(self._forgotten) >= _TWIN_TIMES:
            self.transport.hooks.refused(
                DataPathError(
                    f"the group has given this process's place away {_TWIN_TIMES} times in "
                    f"{now - self._forgotten[0]:.0f} s: another worker has the same NEXTACT_INSTANCE_ID, "
                    f"{settings.instance_id!r}. Give each one its own, or none"
                )
            )

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        """Makes the consumer where all clients are made, with what Faust would give it, but for two options.

        Faust offers `read_committed` under its own processing guarantee only, and has a fetch that finds nothing wait
        at the broker for 1.5 s. Recovery, which asks for offsets over the same connection, would have to wait for it.
        Leans on: Faust makes its consumer here, and an app with tables has its partitions assigned by its assignor.
        """
        conf = self.app.conf
        self._assignor = self.app.assignor
        return new_consumer(
            transport.settings,
            "worker",
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            partition_assignment_strategy=[self._assignor],
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=_milliseconds(conf.broker_max_poll_interval),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            request_timeout_ms=_milliseconds(conf.broker_request_timeout),
            check_crcs=conf.broker_check_crcs,
            session_timeout_ms=_milliseconds(conf.broker_session_timeout),
            rebalance_timeout_ms=_milliseconds(conf.broker_rebalance_timeout),
            heartbeat_interval_ms=_milliseconds(conf.broker_heartbeat_interval),
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
        )

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:
        """Fetches in the thread, past the queue of calls: two turns of the thread's event loop begin a call, not six.

        Leans on: Faust fetches through here, and has the queue end in `_fetch_records`; with a call that is begun the
        queue does nothing but tell its end.
        """
        consumer, answer = self._ensure_consumer(), self.parent_loop.create_future()
        options = {"timeout": timeout, "max_records": consumer._max_poll_records}
        call = QueuedMethod(answer, self._fetch_records, (consumer, active_partitions), options)
        self.thread_loop.call_soon_threadsafe(self._begin, call)
        fetched: dict[TP, list[Any]] = await answer
        return fetched

    def _begin(self, call: QueuedMethod) -> None:
        task = self.thread_loop.create_task(self.method_queue._process_enqueued(call))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, list[Any]]:
        """Wraps the records of each partition in a `Fetch`, in the thread, where no position moves in between.

        Offsets without a record for a reader are handed on too, in a `Fetch` without records.
        Leans on: `Consumer._getmany` ends here; only fetches and seeks move a position.
        """
        async with self._turn:
            before = _positions(consumer, list(active_partitions))
            try:
                fetched = await self._wait_for_records(consumer, active_partitions, timeout or 0.0, max_records)
            except _REFUSALS as error:
                passed = self._passed(before, _positions(consumer, before))
                return passed | await self._find_the_log(consumer, *_refused(error))
            if not fetched:
                _check_alive(consumer)
            now = _positions(consumer, [*fetched, *before])
            if any(self._has_events(tp) for tp in fetched):
                self._pause(consumer)
        fetches = {
            tp: [Fetch(tp, records, min(before.get(tp, records[0].offset), records[0].offset), now[tp])]
            for tp, records in fetched.items()
            if tp.topic in self.transport.fetch_topics
        }
        return {**self._passed(before, now), **fetched, **fetches}

    async def _wait_for_records(
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP], timeout: float, max_records: int | None
    ) -> dict[TP, list[Any]]:
        """Waits for what aiokafka has fetched, as it does itself, but for no task and no timer that nobody needs.

        Leans on: the fetcher sets its waiters' results when it has something new, or an error of the group.
        """
        loop, fetcher = asyncio.get_running_loop(), consumer._fetcher
        end = loop.time() + timeout
        while True:
            fetched: dict[TP, list[Any]]
            fetched = await super()._fetch_records(consumer, active_partitions, timeout=0, max_records=max_records)
            if fetched or loop.time() >= end:
                return fetched
            waiter = fetcher._create_fetch_waiter()
            timer = loop.call_at(end, fetcher._notify, waiter)
            try:
                await waiter
            finally:
                timer.cancel()

    def _passed(self, before: Mapping[TP, int], now: Mapping[TP, int]) -> dict[TP, list[Any]]:
        """Makes a fetch without records of each partition whose position has moved."""
        moved = {
            tp: now[tp] for tp in before if tp.topic in self.transport.fetch_topics and now.get(tp, 0) > before[tp]
        }
        return {tp: [Fetch(tp, [], before[tp], position)] for tp, position in moved.items()}

    async def _find_the_log(self, consumer: AIOKafkaConsumer, tp: TP, wanted: int | None) -> dict[TP, list[Any]]:
        """Goes on where the log of a partition is, which does not have the offset `wanted` (None: nobody said any).

        A replica that lags behind refuses offsets too, so the log is what its leader says, and is looked at again
        before it counts as cut. Nothing is done for a partition that a rebalance or a seek has moved meanwhile.
        """
        log = await self.log_range(tp)
        if wanted is not None and wanted > log.end:
            await asyncio.sleep(_SECOND_LOOK_S)
            log = await self.log_range(tp)
        if _positions(consumer, [tp]).get(tp) != wanted or tp not in consumer.assignment():
            return {}
        if wanted is None:
            consumer.seek(tp, log.start)
            return {}
        gap = gap_to(log, wanted)
        if gap is None:
            logger.warning("%s: a broker did not have offset %d, which its leader has; asking again", tp, wanted)
            return {}
        if gap.reason == "truncated" and not self._has_events(tp):
            raise DataPathError(
                f"{tp}: the changelog ends at offset {log.end}, after {wanted} had been read: it was cut. The next "
                "start rebuilds the local state from what is left"
            )
        consumer.seek(tp, gap.next)
        return {tp: [Fetch(tp, [], wanted, gap.next, gap)]} if tp.topic in self.transport.fetch_topics else {}

    async def log_range(self, tp: TP) -> LogRange:
        """Asks the leader of a partition where its log begins and ends."""
        beginnings = await beginnings_of(self.transport.settings, "worker", [tp])
        ends = await ends_of(self.transport.settings, "worker", [tp])
        return LogRange(beginnings[tp], ends[tp])

    def _pause(self, consumer: AIOKafkaConsumer) -> None:
        """Has the next fetch wait at the broker while the worker is busy with this one.

        What came meanwhile would wait here anyway, and each fetch takes time from all other threads, as they share the
        interpreter. If that fetch finds nothing, the one after it is answered with the next event again.
        Leans on: aiokafka makes the request for the next fetch right after records were taken from it, by these two.
        """
        fetcher, milliseconds = consumer._fetcher, round(1000 * min(self.transport.hooks.pause(), _LONGEST_PAUSE_S))
        if self._end_of_pause is not None:
            self._end_of_pause.cancel()
        if milliseconds:
            fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = _BULK, milliseconds
            self._end_of_pause = asyncio.get_running_loop().call_later(milliseconds / 2000, _at_once, fetcher)
        else:
            _at_once(fetcher)

    async def _seek_wait(self, consumer: AIOKafkaConsumer, partitions: Mapping[TP, int]) -> None:
        """Seeks, but not while a fetch is on its way. Leans on: recovery seeks in the changelog through here."""
        async with self._turn:
            await super()._seek_wait(consumer, partitions)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seeks to the committed offsets and returns them. Leans on: streams begin where this says."""
        return await self.call_thread(self._seek_to_committed)  # type: ignore[no-any-return]

    async def _seek_to_committed(self) -> Mapping[TP, int]:
        """Seeks to the committed offsets, and to the oldest record of event partitions without one.

        aiokafka moves only to a committed offset above 0, else it stays where it is: after a fetch that was given up.
        """
        async with self._turn:
            consumer = self._ensure_consumer()
            committed: Mapping[TP, int] = await consumer.seek_to_committed()  # None where nothing is
            events = {tp: offset for tp, offset in committed.items() if self._has_events(tp)}
            new = [tp for tp, offset in events.items() if offset is None]
            oldest = await beginnings_of(self.transport.settings, "worker", new)
            for tp, offset in events.items():
                if tp in consumer.assignment():
                    consumer.seek(tp, oldest[tp] if offset is None else offset)
        return committed

    def _has_events(self, tp: TP) -> bool:
        return tp.topic in self.transport.fetch_topics and not self.consumer._is_changelog_tp(tp)

    async def _highwaters(self, partitions: Collection[TP]) -> Mapping[TP, int]:
        """Asks for the real ends, to which recovery must read.

        Leans on: recovery asks here how far the changelog goes. To a reader of committed records it would seem to end
        at the first open transaction, before acknowledged records that lie after it.
        """
        return await ends_of(self.transport.settings, "worker", partitions)

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Asks for the first offsets there are. Leans on: recovery asks here where the changelog begins."""
        beginnings: Mapping[TP, int]
        beginnings = await self.call_thread(beginnings_of, self.transport.settings, "worker", partitions)
        return beginnings

    def highwater(self, tp: TP) -> int | None:
        """The end of what can be read: lag is counted to it, not to the end of an open transaction."""
        return self._ensure_consumer().last_stable_offset(tp)  # type: ignore[no-any-return]


def _milliseconds(seconds: float | None) -> int:
    return int((seconds or 0) * 1000)


def _check_alive(consumer: AIOKafkaConsumer) -> None:
    """Raises `DataPathError` where aiokafka fetches no more: it only logs that, and what comes would wait for ever.

    Leans on: the fetcher's task is its `error_future`.
    """
    fetching = consumer._fetcher.error_future
    if fetching.done() and not fetching.cancelled() and (error := fetching.exception()) is not None:
        raise DataPathError(f"aiokafka has stopped to fetch: {error!r}") from error


def _at_once(fetcher: Any) -> None:
    """Lets the first event end a fetch, from the next request on."""
    fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = 1, _FETCH_WAIT_MS


def _refused(error: Exception) -> tuple[TP, int | None]:
    """The partition and the offset that a fetch was refused. Leans on: aiokafka raises for one partition at a time."""
    if isinstance(error, NoOffsetForPartitionError):
        return TP(*error.args[0]), None
    ((tp, offset),) = error.args[0].items()
    return TP(*tp), offset


def _positions(consumer: AIOKafkaConsumer, tps: Iterable[TP]) -> dict[TP, int]:
    """Where the next fetch of each partition begins, if it is assigned and has a position.

    Leans on: aiokafka's own `position` would wait for one, and with it the thread.
    """
    assignment = consumer._subscription.subscription.assignment
    states = {tp: assignment.state_value(tp) for tp in tps} if assignment is not None else {}
    return {tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position}
