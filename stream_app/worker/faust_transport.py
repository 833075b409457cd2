"""A Faust transport that delivers fetches as messages: all of the events at once, the changelog's one by one.

Stock Faust spends tens of microseconds per event on futures, queues and sensors (`python -m tests.bench throughput`
shows its bare loop), and as much on each message here. So what a request to the brokers brought of the events is one
message, whatever its partitions: its value is the list of their fetches, and one of the partitions carries it. What is
to be acknowledged, committed and checked is noted by partition all the same. A message of the changelog, which Faust
reads by partition, has the records of one fetch as its value. A message's offset is the last one that its fetch covers.

What this leans on in Faust 0.15.3, each marked below where it is used, and each with a test in `test_faust_internals`:
`Consumer._drain_messages`, `getmany`, `_getmany`, `_wait_next_records`, `ack`, `perform_seek`, `_new_offset`, `_acked`,
`_acked_index`, `_read_offset`, `_committed_offset`, `_commit`, `commit`, `on_buffer_full`, `on_partitions_assigned`,
`on_partitions_revoked`, `_new_consumer_thread`, `_thread._consumer`, `Producer._new_producer`, a position's
`_position`, `tables.actives_ready`, `monitor.stream_inbound_time`, `app.transport` being assignable, and topics
decoding with their `schema`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import faust
from aiokafka import AIOKafkaProducer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream_app.errors import DataPathError
from stream_app.kafka.clients import new_producer
from stream_app.kafka.log_range import LogRange, OffsetGap
from stream_app.settings import Settings
from stream_app.worker.faust_fetch_thread import Fetch, FetchThread

_RECOVERY_POLL_S: Final = 0.02  # between two looks for something to recover
_RECOVERY_FETCH_S: Final = 0.1  # longest fetch during recovery
_FETCH_S: Final = 0.5  # longest fetch: a seek waits for it


class Heartbeats(Protocol):
    """Hears of each heartbeat that the group answered."""

    def __call__(self, sent: float, *, accepted: bool) -> None: ...


class FetchSchema(faust.Schema):  # type: ignore[misc]
    """Hands the records through as they are: our pipeline decodes them, where a bad one can become a dead letter."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Makes a function that wraps a message in an event. Leans on: topics ask their schema for it once."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, {}, message)

        return decode


class PartitionPosition(NamedTuple):
    """How far a partition is done; offsets."""

    done: int  # of the first record that is not acknowledged
    end: int  # that the next record will have

    @property
    def lag(self) -> int:
        """How many records are not acknowledged."""
        return max(self.end - self.done, 0)


class FetchConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, which hands out fetches as messages.

    Faust can drop what it has fetched: it clears queues when it resumes, and skips messages below its read offset. A
    dropped fetch that is not repeated would be lost with the next commit, so acknowledgements must come for every fetch
    that was handed out, in order.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # First and last offsets of the fetches not acknowledged yet.
        self._handed_out: defaultdict[TP, deque[tuple[int, int]]] = defaultdict(deque)
        self._done: dict[TP, int] = {}  # where the last acknowledged fetch ended
        self._expected: dict[TP, int] = {}  # where the next fetch must begin, at the latest

    def _new_consumer_thread(self) -> FetchThread:
        return FetchThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Locks out whoever had the partitions. Leans on: Faust begins to recover in here, so this comes first."""
        await self.transport.hooks.take_over({tp.partition for tp in assigned if not self._is_changelog_tp(tp)})
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finishes what was begun also while the app stops.

        Leans on: then Faust leaves the group at once, and asks nobody; else it asks after it has stopped the flow.
        """
        if self.app.should_stop:
            await self.transport.hooks.finish_first()
        await super().on_partitions_revoked(revoked)
        for tp in revoked:  # where they come back before the seek, another worker may have committed more
            self._done.pop(tp, None)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hands out messages until Faust stops its fetcher.

        Faust's own does this with nine tasks for each fetch, and looks for gaps between messages, which fetches do not
        have.
        Leans on: Faust's fetcher does nothing else; what is handed out waits for the flow in a rebalance, which ends
        the wait; what the consumer raises while the app stops is no error.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                await asyncio.sleep(0)
                async for tp, message in self.getmany(timeout=_FETCH_S):
                    await self._hand_out(tp, message)
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            if not self.app.should_stop:
                raise

    async def _hand_out(self, tp: TP, message: Any) -> None:
        read = self._read_offset[tp]
        if read is not None and message.offset < read:
            return
        handing = asyncio.ensure_future(self.callback(message))
        await asyncio.sleep(0)
        if handing.done():
            handing.result()
        else:
            await self.wait_first(handing, self.suspend_flow.wait())
        self._read_offset[tp] = message.offset

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """Fetches events, and what standbys read, only once recovery has ended.

        Faust resumes these partitions first and clears its queues afterwards: what came in between would be lost.
        Leans on: `tables.actives_ready` is set after that clearing and unset when a rebalance begins;
        `recovery.active_tps` is what recovery reads.
        """
        if active_partitions is not None and not self.app.tables.actives_ready:
            active_partitions = active_partitions & self.app.tables.recovery.active_tps
            if not active_partitions:
                await asyncio.sleep(_RECOVERY_POLL_S)
                return {}
            timeout = min(timeout, _RECOVERY_FETCH_S)  # the end of a transaction wakes nobody
        return await super()._getmany(active_partitions, min(timeout, _FETCH_S))

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:
        """Checks that no fetch got lost, and makes those of events one.

        Leans on: `getmany` reads (mapping of TP to list of records, active partitions) from here.
        """
        records, active = await super()._wait_next_records(timeout)
        if not records:
            return records, active
        for tp, fetched in list(records.items()):
            gap = getattr(fetched[0], "gap", None)
            if gap is not None and gap.reason == "truncated":
                del records[tp]
                await self._follow_cut(tp, gap)
            else:
                self._expect(tp, fetched)
        return self._carried(records, active), active

    def _carried(self, records: Mapping[TP, list[Any]], active: Collection[TP]) -> dict[TP, list[Any]]:
        """Has one partition carry the fetches of events of all those whose own message Faust would hand out.

        Each other one carries its own, and Faust drops it. All are of one generation of the group, which gives all
        partitions away at once: so the message is the worker's as long as each of its partitions is.
        Leans on: Faust hands out what is of an active partition and not below the read offset; it does so for the first
        of a mapping before anything else happens; it complains of a partition of which no stream has heard for long.
        """
        others: dict[TP, list[Any]] = {}
        together: dict[TP, Fetch] = {}
        for tp, fetches in records.items():
            if not self._has_events(tp):
                others[tp] = fetches
            elif tp in active and not self._is_below_read_offset(fetches[0]):
                together[tp] = fetches[0]
            else:
                others[tp] = [Fetch.carrying(fetches)]
        if not together:
            return others
        self._read_offset.update((tp, fetch.offset) for tp, fetch in together.items())
        self.app.monitor.stream_inbound_time.update(dict.fromkeys(together, monotonic()))
        return {next(iter(together)): [Fetch.carrying(list(together.values()))], **others}

    def _is_below_read_offset(self, fetch: Fetch) -> bool:
        read = self._read_offset[fetch.tp]
        return read is not None and fetch.offset < read

    def on_buffer_full(self, tp: TP) -> None:
        """Does nothing for events: once the buffer is full, Faust waits for room before it fetches more.

        It would leave out one partition after the other, those that carry the others, and when none was left it would
        sleep for a second.
        Leans on: Faust calls this before the buffer is full, to fetch no more of a partition.
        """
        if not self._has_events(tp):
            super().on_buffer_full(tp)

    async def _follow_cut(self, tp: TP, gap: OffsetGap) -> None:
        """Goes on at the end of a log that was cut, once all that was fetched before is finished.

        A rebalance meanwhile ends that: the committed offset, which the log does not have, will be refused again.
        Leans on: Faust drops what lies below `_read_offset`, and commits nothing below `_committed_offset`.
        """
        generation = self.app.consumer_generation_id
        while self.flow_active and self.app.consumer_generation_id == generation:
            if not self._handed_out[tp]:
                break
            await asyncio.sleep(_RECOVERY_POLL_S)
        else:
            return
        await self.transport.hooks.follow_cut(tp.partition, gap.next)
        # Before the commit, or one that begins meanwhile would set the group back to an offset that is gone.
        self._done.pop(tp, None)
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        await self.maybe_wait_for_commit_to_finish()
        if self.transport.hooks.commits and not await super()._commit({tp: gap.next}):
            return
        for offsets in (self._read_offset, self._committed_offset, self._expected):
            offsets[tp] = gap.next
        self.transport.hooks.missed(tp, gap)

    def _expect(self, tp: TP, fetches: list[Any]) -> None:
        """Raises `DataPathError` when a fetch before these never came here: it would count as read."""
        if tp.topic not in self.transport.fetch_topics:
            return
        for fetch in fetches:
            expected = self._expected.get(tp, fetch.start)
            if fetch.start > expected:
                raise DataPathError(f"{tp}: a fetch begins at offset {fetch.start}, after {expected}: one got lost")
            self._expected[tp] = fetch.offset + 1
            if not self._is_changelog_tp(tp):
                first = fetch.value[0].offset if fetch.value else fetch.offset + 1
                self._handed_out[tp].append((first, fetch.offset))
                if fetch.gap is not None:
                    self.transport.hooks.missed(tp, fetch.gap)

    async def perform_seek(self) -> None:
        """Goes back to the committed offsets: what was handed out before will be fetched again.

        Leans on: Faust keeps the committed offsets, None where there is none, in `_read_offset`.
        """
        await super().perform_seek()
        self._handed_out.clear()
        self._done.clear()
        self._expected = {tp: offset for tp, offset in self._expected.items() if self._is_changelog_tp(tp)}
        for tp in [tp for tp, offset in self._read_offset.items() if offset is None and self._has_events(tp)]:
            start = await self.transport.hooks.look_for_cut(tp.partition, partial(self._thread.log_range, tp))
            if start is not None and self.transport.hooks.commits:
                await super()._commit({tp: start})

    def _has_events(self, tp: TP) -> bool:
        return tp.topic in self.transport.fetch_topics and not self._is_changelog_tp(tp)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seeks, after which the next fetch may begin anywhere.

        Leans on: recovery seeks in the changelog through here.
        """
        await super().seek_wait(partitions)
        for tp in partitions:
            self._expected.pop(tp, None)

    def ack(self, message: Any) -> bool:
        """Acknowledges all fetches of a message.

        Raises `DataPathError` when one that was handed out before one of them was never acknowledged.
        Leans on: Faust commits what is a key of `_acked`, and adds the partition that carries the message.
        """
        if self._has_events(message.tp) and not message.acked:
            for fetch in message.value:
                self._note_done(fetch)
        return super().ack(message)  # type: ignore[no-any-return]

    def _note_done(self, fetch: Fetch) -> None:
        tp, waiting = fetch.tp, self._handed_out.get(fetch.tp)
        if waiting is None:
            return  # handed out before a seek: what follows is fetched again
        if waiting and waiting.popleft()[1] != fetch.offset:
            raise DataPathError(
                f"{tp}: the fetch up to offset {fetch.offset} is done, but one before it got lost in Faust"
            )
        self._done[tp] = fetch.offset + 1
        self._acked[tp]  # a defaultdict

    def partition_positions(self) -> dict[TP, PartitionPosition]:
        """The positions of the assigned event partitions whose ends are known from fetches.

        Leans on: the thread's aiokafka consumer, whose position also passes offsets that are never handed out
        (transaction markers, what retention took). So these are not lag, nor is what an open transaction of a publisher
        holds back. The thread may reset a position meanwhile: aiokafka's `position` would then fail.
        """
        consumer = self._thread._consumer
        subscription = consumer._subscription.subscription if consumer is not None else None
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return {}
        positions = {}
        for tp in map(TP._make, assignment.tps):
            if self._has_events(tp):
                state, waiting = assignment.state_value(tp), self._handed_out.get(tp)
                done, end = waiting[0][0] if waiting else state._position, state.lso  # None where not known yet
                if done is not None and end is not None:
                    positions[tp] = PartitionPosition(done, end)
        return positions

    def _new_offset(self, tp: TP) -> int | None:
        """The offset to commit. Acknowledgements of a partition's fetches come in order, so the last one counts.

        Leans on: acknowledged offsets collect in `_acked` and `_acked_index` and are removed here; one that is
        committed already is not committed again.
        """
        if tp.topic not in self.transport.fetch_topics:
            return super()._new_offset(tp)  # type: ignore[no-any-return]
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self._done.get(tp)

    async def commit_all(self) -> None:
        """Commits all that is acknowledged, also of partitions that are being given away.

        Leans on: Faust forgets what is acknowledged of them before anybody hears of it, and commits what is a key of
        `_acked`; a commit that is on its way makes another one wait for it and do nothing.
        """
        for tp in self._done:
            self._acked[tp]  # a defaultdict
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commits, unless deliveries do: this late, it could set back what a later transaction has committed.

        Leans on: all commits come through here, and Faust complains of a partition without one for long.
        """
        if self.transport.hooks.commits:
            return await super()._commit(offsets)  # type: ignore[no-any-return]
        self._thread.tp_last_committed_at.update(dict.fromkeys(offsets, monotonic()))
        return True

    async def on_stop(self) -> None:
        """Waits until all that was taken in is durable and acknowledged, so that the last commit covers it."""
        await self.transport.hooks.drained()
        await super().on_stop()


class FaustProducer(driver.Producer):  # type: ignore[misc]
    """Faust's producer, which it starts though nothing is written with it: deliveries have their own."""

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        """Makes the producer where all clients are made. Leans on: Faust makes its producer here."""
        return new_producer(
            self.transport.settings,
            "worker",
            request_timeout_ms=int(self.request_timeout * 1000),
            transactional_id=transactional_id,
        )


@dataclass(frozen=True, slots=True)
class TransportHooks:
    """What the transport asks of the worker around it, and tells it."""

    drained: Callable[[], Awaitable[None]]  # returns when no fetch is being worked on
    finish_first: Callable[[], Awaitable[None]]  # returns when all that was begun is finished and committed
    take_over: Callable[[set[int]], Awaitable[None]]  # returns when nobody else can answer these partitions' events
    commits: bool  # whether acknowledged offsets are to be committed
    pause: Callable[[], float]  # for how many seconds after a fetch of events the next one is not worth its cost
    follow_cut: Callable[[int, int], Awaitable[None]]  # has states take events from an offset on for new, by partition
    # The same for all events of a log that turns out to be made anew: returns where it begins.
    look_for_cut: Callable[[int, Callable[[], Awaitable[LogRange]]], Awaitable[int | None]]
    missed: Callable[[TP, OffsetGap], None]  # hears of events that are not there
    refused: Callable[[Exception], Any]  # hears, in the thread, of what keeps this process out of its group
    heartbeat: Heartbeats  # hears of heartbeats, in the thread: see `Delivery`


class FetchTransport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with `FetchConsumer`; assign it to `app.transport`."""

    Consumer: ClassVar[type] = FetchConsumer
    Producer: ClassVar[type] = FaustProducer

    def __init__(self, *args: Any, settings: Settings, hooks: TransportHooks, **kwargs: Any) -> None:
        """Fetches of the events and of the changelog become messages."""
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.hooks = hooks
        self.fetch_topics = frozenset((settings.events_topic, settings.state_topic))
