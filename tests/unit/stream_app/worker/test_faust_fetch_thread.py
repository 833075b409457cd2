"""The fetch thread without a broker: what it makes of a fetch, how long it waits for one, how it seeks."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import Assignment, SubscriptionState
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnknownError,
)
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream_app.errors import DataPathError
from stream_app.kafka.log_range import OffsetGap
from stream_app.worker import faust_fetch_thread
from stream_app.worker.faust_fetch_thread import Fetch, FetchThread
from stream_app.worker.faust_transport import FetchConsumer
from tests.unit.builders.consumers import CHANGELOG, EVENTS, OTHER, SETTINGS, Delivery, records, run

NEW = TP(SETTINGS.events_topic, 4)  # just assigned


def test_a_fetch_looks_like_a_record_to_faust() -> None:
    fetched = records(5, 6, 9)
    fetch = Fetch(EVENTS, fetched, 5, 12)
    assert fetch.value is fetched
    assert (fetch.topic, fetch.partition, fetch.offset, fetch.timestamp) == (EVENTS.topic, 3, 11, 1009)
    assert (fetch.key, fetch.headers, fetch.checksum, fetch.serialized_key_size) == (None, (), None, 0)

    async def body(consumer: FetchConsumer) -> None:
        message = consumer._to_message(EVENTS, fetch)
        assert (message.tp, message.offset, message.value) == (EVENTS, 11, fetched)
        assert message.generation_id == consumer.app.consumer_generation_id
        assert consumer._to_message(CHANGELOG, Fetch(CHANGELOG, [], 9, 12)).offset == 11

    run(body)


def alive() -> Any:
    """The task of a fetcher that has not ended."""
    return SimpleNamespace(done=lambda: False)


class Fetches:
    """aiokafka's positions, and a fetch that moves them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tps: TP) -> None:
        self.assignment = Assignment(tps)
        for tp in tps:
            self.assignment.state_value(tp).reset_to(5)
        self.next: dict[TP, tuple[list[Any], int]] = {}  # records, position after them
        self.fetcher = SimpleNamespace(_fetch_min_bytes=1, _fetch_max_wait_ms=200, error_future=alive())
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", lambda *_, **__: self._fetch())

    async def _fetch(self) -> dict[TP, list[Any]]:
        for tp, (_, position) in self.next.items():
            self.assignment.state_value(tp).consumed_to(position)
        return {tp: fetched for tp, (fetched, _) in self.next.items() if fetched}

    async def of(self, thread: FetchThread) -> dict[TP, list[Any]]:
        subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=self.assignment))
        aiokafka: Any = SimpleNamespace(_subscription=subscription, _fetcher=self.fetcher)
        return await thread._fetch_records(aiokafka, set(self.assignment.tps), timeout=0)


def test_only_fetches_of_events_and_changelog_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        fetches = Fetches(monkeypatch, EVENTS, CHANGELOG, OTHER)
        fetched = records(5, 6)
        fetches.next = dict.fromkeys((EVENTS, CHANGELOG, OTHER), (fetched, 7))
        wrapped = await fetches.of(consumer._thread)
        assert wrapped[OTHER] is fetched
        for tp in (EVENTS, CHANGELOG):
            (fetch,) = wrapped[tp]
            assert (fetch.value, fetch.offset, fetch.partition) == (fetched, 6, tp.partition)

    run(body)


def test_a_fetch_covers_the_markers_after_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        fetches = Fetches(monkeypatch, EVENTS, CHANGELOG)
        fetches.next = {EVENTS: (records(5, 6), 9), CHANGELOG: (records(5), 7)}
        wrapped = await fetches.of(consumer._thread)
        assert (wrapped[EVENTS][0].offset, wrapped[CHANGELOG][0].offset) == (8, 6)

    run(body)


def test_a_position_that_moves_without_records_makes_a_fetch_without_records(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        still = TP(CHANGELOG.topic, 4)
        fetches = Fetches(monkeypatch, EVENTS, CHANGELOG, OTHER, still)
        fetches.assignment.state_value(still).await_reset(0)  # no position yet
        fetches.next = dict.fromkeys((EVENTS, CHANGELOG, OTHER), ([], 8))
        wrapped = await fetches.of(consumer._thread)
        assert set(wrapped) == {EVENTS, CHANGELOG}
        for tp in (EVENTS, CHANGELOG):
            (fetch,) = wrapped[tp]
            assert (fetch.value, fetch.start, fetch.offset, fetch.gap) == ([], 5, 7, None)
            consumer._expect(tp, wrapped[tp])
        fetches.next = {EVENTS: (records(8), 9)}  # an aborted transaction before it once ended the worker
        consumer._expect(EVENTS, (await fetches.of(consumer._thread))[EVENTS])
        fetches.next = {}
        assert await fetches.of(consumer._thread) == {}

    run(body)


def test_a_fetcher_that_has_died_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka logs why, and then each fetch finds nothing, with a lag of 0."""

    async def nothing(*_: Any, **__: Any) -> dict[TP, list[Any]]:
        return {}

    def no_requests(*_: Any) -> None:
        raise AssertionError("what nobody has foreseen")

    async def body(consumer: FetchConsumer) -> None:
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", nothing)
        monkeypatch.setattr(Fetcher, "_get_actions_per_node", no_requests)
        assignment = Assignment([EVENTS])
        aiokafka = consumer_of(assignment)
        aiokafka._fetcher = Fetcher(SimpleNamespace(_loop=None, _metadata_max_age_ms=1), aiokafka._subscription)
        assert await consumer._thread._fetch_records(aiokafka, {EVENTS}, timeout=0) == {}
        await asyncio.wait([aiokafka._fetcher.error_future], timeout=5)
        with pytest.raises(DataPathError, match="has stopped to fetch"):
            await consumer._thread._fetch_records(aiokafka, {EVENTS})

    run(body)


class Waiting:
    """aiokafka's fetcher with nothing to do, and what it hands out when it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetched: list[dict[TP, list[Any]]] = []
        self.asked: list[float] = []  # the timeouts
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", self._take)
        self.consumer = consumer_of(Assignment([OTHER]))
        self.fetcher = self.consumer._fetcher
        vars(self.fetcher).update(_fetch_waiters=set(), _loop=asyncio.get_running_loop(), _fetch_task=alive())

    async def _take(self, *_: Any, timeout: float, max_records: int) -> dict[TP, list[Any]]:
        self.asked.append(timeout)
        assert max_records == 7
        return self.fetched.pop(0) if self.fetched else {}

    def begin(self, thread: FetchThread, timeout: float) -> asyncio.Task[Any]:
        return asyncio.create_task(thread._fetch_records(self.consumer, {OTHER}, timeout=timeout, max_records=7))

    async def waiter(self) -> asyncio.Future[None]:
        async with asyncio.timeout(5):
            while not self.fetcher._fetch_waiters:  # noqa: ASYNC110 - nothing says so
                await asyncio.sleep(0)
        (waiter,) = self.fetcher._fetch_waiters
        return waiter  # type: ignore[no-any-return]


def test_a_fetch_waits_until_there_are_records(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        waiting = Waiting(monkeypatch)
        fetching = waiting.begin(consumer._thread, 60)
        for fetched in ({}, {OTHER: [1]}):  # something new, but for nobody who waits
            waiting.fetched.append(fetched)
            waiting.fetcher._notify(await waiting.waiter())
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(fetching, 5) == {OTHER: [1]}
        assert waiting.asked == [0, 0, 0]
        assert not waiting.fetcher._fetch_waiters

    run(body)


def test_a_fetch_that_finds_nothing_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        waiting = Waiting(monkeypatch)
        assert await asyncio.wait_for(waiting.begin(consumer._thread, 0.02), 5) == {}
        assert len(waiting.asked) == 2

    run(body)


def test_an_error_of_the_group_ends_the_wait_and_one_that_is_given_up_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(consumer: FetchConsumer) -> None:
        waiting = Waiting(monkeypatch)
        fetching = waiting.begin(consumer._thread, 60)
        (await waiting.waiter()).set_exception(GroupAuthorizationFailedError("group"))
        with pytest.raises(GroupAuthorizationFailedError):
            await fetching
        given_up = waiting.begin(consumer._thread, 60)
        await waiting.waiter()
        given_up.cancel()
        await asyncio.wait([given_up])
        await asyncio.sleep(0)
        assert not waiting.fetcher._fetch_waiters

    run(body)


def test_a_fetch_runs_in_the_thread_and_its_end_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Any] = []
    threads: list[int] = []

    async def fetch(_: Any, aiokafka: Any, active: set[TP], timeout: float, max_records: int) -> Any:
        threads.append(threading.get_ident())
        assert (aiokafka._max_poll_records, active, timeout, max_records) == (7, {EVENTS}, 0.25, 7)
        await asyncio.sleep(0)
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(FetchThread, "_fetch_records", fetch)
    monkeypatch.setattr(FetchThread, "_ensure_consumer", lambda _: SimpleNamespace(_max_poll_records=7))

    async def body(consumer: FetchConsumer) -> None:
        thread = consumer._thread
        running = threading.Thread(target=thread.thread_loop.run_forever)
        running.start()
        try:
            ends.extend([{EVENTS: [1]}, OffsetOutOfRangeError({EVENTS: 5}), {}, {EVENTS: [2]}])
            assert await thread.getmany({EVENTS}, 0.25) == {EVENTS: [1]}
            with pytest.raises(OffsetOutOfRangeError):
                await thread.getmany({EVENTS}, 0.25)
            given_up = asyncio.create_task(thread.getmany({EVENTS}, 0.25))
            while len(threads) < 3:  # noqa: ASYNC110 - it begins in another thread
                await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
            assert await thread.getmany({EVENTS}, 0.25) == {EVENTS: [2]}
            assert set(threads) == {running.ident}
        finally:
            thread.thread_loop.call_soon_threadsafe(thread.thread_loop.stop)
            running.join()

    run(body)


class Log:
    """A log that refuses a fetch, and what a fetch thread that finds its range makes of that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, *ranges: tuple[int, int]) -> None:
        """`ranges`: of the log, (start, end) as it is looked at again and again."""
        self.ranges = list(ranges)
        self.error = error
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", self._refuse)
        monkeypatch.setattr(faust_fetch_thread, "beginnings_of", self._start)
        monkeypatch.setattr(faust_fetch_thread, "ends_of", self._end)
        monkeypatch.setattr(faust_fetch_thread, "_SECOND_LOOK_S", 0.0)

    async def _refuse(self, *_: Any, **__: Any) -> dict[TP, list[Any]]:
        raise self.error

    async def _start(self, *arguments: Any) -> dict[TP, int]:
        (tp,) = arguments[-1]
        return {tp: self.ranges[0][0]}

    async def _end(self, *arguments: Any) -> dict[TP, int]:
        (tp,) = arguments[-1]
        return {tp: (self.ranges.pop(0) if len(self.ranges) > 1 else self.ranges[0])[1]}

    async def fetch(self, consumer: FetchConsumer, tp: TP, position: int | None) -> tuple[list[Any], int | None]:
        """The fetches of the partition, and where the next one begins."""
        assignment = Assignment([tp])
        state = assignment.state_value(tp)
        if position is not None:
            state.reset_to(position)
        fetched = await consumer._thread._fetch_records(consumer_of(assignment), {tp}, timeout=1.0)
        return fetched.get(tp, []), state._position


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(9, 20)], OffsetGap("retention", 5, 9)),
        ([(0, 3)], OffsetGap("truncated", 5, 3)),
        ([(0, 0)], OffsetGap("truncated", 5, 0)),
        ([(0, 3), (0, 20)], None),  # the second look: it was only a replica that lags behind
        ([(0, 5)], None),
    ],
)
def test_an_offset_that_the_log_does_not_have_is_told_and_passed(
    monkeypatch: pytest.MonkeyPatch, ranges: list[tuple[int, int]], expected: OffsetGap | None
) -> None:
    log = Log(monkeypatch, OffsetOutOfRangeError({EVENTS: 5}), *ranges)

    async def body(consumer: FetchConsumer) -> None:
        fetched, position = await log.fetch(consumer, EVENTS, 5)
        if expected is None:
            assert (fetched, position) == ([], 5)
        else:
            (fetch,) = fetched
            assert (fetch.value, fetch.start, fetch.offset + 1, fetch.gap) == ([], 5, expected.next, expected)
            assert position == expected.next

    run(body)


def test_what_others_have_passed_is_told_beside_a_refused_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka had moved them before it raised; what they have passed would seem to be lost."""
    log = Log(monkeypatch, OffsetOutOfRangeError({EVENTS: 5}), (9, 20))

    async def body(consumer: FetchConsumer) -> None:
        assignment = Assignment([EVENTS, NEW])
        for tp in (EVENTS, NEW):
            assignment.state_value(tp).reset_to(5)

        async def refuse(*_: Any, **__: Any) -> dict[TP, list[Any]]:
            assignment.state_value(NEW).consumed_to(8)
            raise log.error

        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", refuse)
        fetched = await consumer._thread._fetch_records(consumer_of(assignment), {EVENTS, NEW}, timeout=1.0)
        assert {tp: (fetch.start, fetch.offset, fetch.value) for tp, (fetch,) in fetched.items()} == {
            EVENTS: (5, 8, []),
            NEW: (5, 7, []),
        }

    run(body)


def test_an_offset_that_was_refused_before_a_rebalance_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch, OffsetOutOfRangeError({EVENTS: 5}), (9, 20))

    async def body(consumer: FetchConsumer) -> None:
        assert await log.fetch(consumer, EVENTS, None) == ([], None)
        assert await log.fetch(consumer, EVENTS, 7) == ([], 7)
        assert await log.fetch(consumer, CHANGELOG, 5) == ([], 5)

    run(body)


@pytest.mark.parametrize("tp", [EVENTS, CHANGELOG])
def test_a_partition_without_an_offset_begins_at_its_oldest_record(monkeypatch: pytest.MonkeyPatch, tp: TP) -> None:
    log = Log(monkeypatch, NoOffsetForPartitionError(tp), (9, 20))

    async def body(consumer: FetchConsumer) -> None:
        assert await log.fetch(consumer, tp, None) == ([], 9)

    run(body)


def test_recovery_goes_on_where_the_changelog_begins_and_ends_where_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        log = Log(monkeypatch, OffsetOutOfRangeError({CHANGELOG: 5}), (6, 20))
        ((fetch,), position) = await log.fetch(consumer, CHANGELOG, 5)
        assert (fetch.offset, position) == (5, 6)
        cut = Log(monkeypatch, OffsetOutOfRangeError({CHANGELOG: 5}), (0, 3))
        with pytest.raises(DataPathError, match="the changelog ends at offset 3, after 5 had been read"):
            await cut.fetch(consumer, CHANGELOG, 5)

    run(body)


@pytest.mark.parametrize("committed", [None, 0, 3])
def test_a_seek_to_committed_gives_back_the_first_fetch_of_a_partition_too(
    monkeypatch: pytest.MonkeyPatch, committed: int | None
) -> None:
    """A first fetch that a rebalance had Faust give up once took 644 events with it."""
    offsets = {EVENTS: committed, CHANGELOG: None, NEW: None}

    async def beginnings(*arguments: Any) -> dict[TP, int]:
        return dict.fromkeys(arguments[-1], 2)

    monkeypatch.setattr(faust_fetch_thread, "beginnings_of", beginnings)

    async def committed_of(_: Any, tp: TP) -> int | None:
        return offsets[tp]

    monkeypatch.setattr(AIOKafkaConsumer, "committed", committed_of)

    async def body(consumer: FetchConsumer) -> None:
        assignment = Assignment(list(offsets))
        for tp in (EVENTS, CHANGELOG):
            assignment.state_value(tp).reset_to(5)
        aiokafka = consumer_of(assignment)
        monkeypatch.setattr(FetchThread, "_ensure_consumer", lambda _: aiokafka)
        assert await consumer._thread._seek_to_committed() == offsets
        assert assignment.state_value(EVENTS).position == (2 if committed is None else committed)
        assert assignment.state_value(CHANGELOG).position == 5
        assert assignment.state_value(NEW).position == 2

    run(body)


@pytest.mark.parametrize(
    ("busy", "tp", "expected"),
    [
        (0.008, EVENTS, (65_536, 8)),
        (5.0, EVENTS, (65_536, 20)),  # a large batch: events that come meanwhile are not to wait that long
        (0.0, EVENTS, (1, 200)),
        (0.008, CHANGELOG, (1, 200)),  # recovery never waits
    ],
)
def test_the_fetch_after_one_of_events_waits_at_the_broker_while_the_worker_is_busy(
    monkeypatch: pytest.MonkeyPatch, busy: float, tp: TP, expected: tuple[int, int]
) -> None:
    async def body(consumer: FetchConsumer) -> None:
        fetches = Fetches(monkeypatch, tp)
        fetches.next = {tp: (records(5, 6), 7)}
        await fetches.of(consumer._thread)
        assert asked(fetches) == expected
        async with asyncio.timeout(5):
            while asked(fetches) != (1, 200):  # noqa: ASYNC110 - nothing says when the wait is over
                await asyncio.sleep(0.001)
        fetches.next = {}
        await fetches.of(consumer._thread)
        assert asked(fetches) == (1, 200)

    def asked(fetches: Fetches) -> tuple[int, int]:
        return fetches.fetcher._fetch_min_bytes, fetches.fetcher._fetch_max_wait_ms

    run(body, pause=busy)


@pytest.mark.parametrize(
    ("answers", "member", "expected"), [(True, "m1", [True]), (False, "m1", []), (False, "", [False])]
)
def test_heartbeats_are_reported_with_the_time_when_they_were_sent(
    monkeypatch: pytest.MonkeyPatch, answers: bool, member: str, expected: list[bool]
) -> None:
    """One without an answer is not."""
    monkeypatch.setattr(faust_fetch_thread, "monotonic", iter([7.0, 8.0]).__next__)

    async def beat() -> bool:
        return answers

    async def started(_: Any) -> None: ...

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_start", started)
    delivery = Delivery()

    async def body(consumer: FetchConsumer) -> None:
        thread = consumer._thread
        coordinator = SimpleNamespace(_do_heartbeat=beat, member_id=member, _push_error_to_user=None)
        thread._consumer = SimpleNamespace(_coordinator=coordinator)
        await thread.on_start()
        assert await coordinator._do_heartbeat() is answers
        thread._consumer = None

    run(body, delivery=delivery)
    assert delivery.heartbeats == [(7.0, accepted) for accepted in expected]


@pytest.mark.parametrize(
    ("instance", "forgotten", "ends"),
    [
        ("one", [0.0, 1.2, 2.4, 3.6], True),
        ("one", [0.0, 1.2, 2.4], False),
        ("one", [0.0, 100.0, 200.0, 300.0], False),  # a machine that is suspended now and then
        ("", [0.0, 1.2, 2.4, 3.6], False),
    ],
)
def test_a_twin_of_the_same_instance_id_is_named(
    monkeypatch: pytest.MonkeyPatch, instance: str, forgotten: list[float], ends: bool
) -> None:
    refused: list[Exception] = []

    async def body(consumer: FetchConsumer) -> None:
        transport = consumer.transport
        transport.hooks = replace(transport.hooks, refused=refused.append)
        transport.settings = transport.settings.model_copy(update={"instance_id": instance})
        coordinator = await coordinator_of(consumer._thread, monkeypatch, member_id="")
        monkeypatch.setattr(faust_fetch_thread, "monotonic", iter(forgotten).__next__)
        for _ in forgotten:
            await coordinator._do_heartbeat()

    run(body)
    assert ["same NEXTACT_INSTANCE_ID, 'one'" in str(error) for error in refused] == [True] * ends


async def coordinator_of(thread: FetchThread, monkeypatch: pytest.MonkeyPatch, member_id: str) -> Any:
    """What a thread makes of a coordinator that knows no heartbeat."""

    async def beat() -> bool:
        return False

    async def started(_: Any) -> None: ...

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_start", started)
    coordinator = SimpleNamespace(_do_heartbeat=beat, member_id=member_id, _push_error_to_user=None)
    thread._consumer = SimpleNamespace(_coordinator=coordinator)
    await thread.on_start()
    thread._consumer = None
    return coordinator


@pytest.mark.parametrize("stopping", [False, True])
def test_an_error_that_keeps_the_worker_out_of_its_group_is_reported(
    monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    """aiokafka would wait for somebody to ask for it, for ever and without a heartbeat."""

    async def started(_: Any) -> None: ...

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_start", started)
    refused: list[Exception] = []
    pushed: list[Exception] = []

    async def body(consumer: FetchConsumer) -> None:
        consumer.transport.hooks = replace(consumer.transport.hooks, refused=refused.append)
        thread = consumer._thread
        coordinator = SimpleNamespace(_do_heartbeat=None, member_id="", _push_error_to_user=pushed.append)
        thread._consumer = SimpleNamespace(_coordinator=coordinator)
        await thread.on_start()
        if stopping:
            consumer.app._stopped.set()
        for error in (UnknownError(), GroupAuthorizationFailedError("group")):
            coordinator._push_error_to_user(error)
        thread._consumer = None

    run(body)
    assert [type(error) for error in pushed] == [UnknownError, GroupAuthorizationFailedError]
    assert refused == ([] if stopping else pushed)


def test_an_error_without_a_name_leads_to_the_instance_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a broker refuse one of two workers of the same id (FENCED_INSTANCE_ID)."""

    async def body(consumer: FetchConsumer) -> None:
        transport = consumer.transport
        transport.settings = transport.settings.model_copy(update={"instance_id": "one"})
        unknown, refusal = UnknownError(), GroupAuthorizationFailedError("group")
        named = consumer._thread._named(unknown)
        assert "the same NEXTACT_INSTANCE_ID, 'one'" in str(named)
        assert named.__cause__ is unknown
        assert consumer._thread._named(refusal) is refusal

    run(body)


def consumer_of(assignment: Assignment) -> Any:
    """aiokafka's own consumer with nothing but an assignment."""
    subscriptions: Any = SubscriptionState()
    subscriptions._subscription = SimpleNamespace(assignment=assignment)
    consumer, fetcher = AIOKafkaConsumer.__new__(AIOKafkaConsumer), Fetcher.__new__(Fetcher)
    vars(fetcher).update(_subscriptions=subscriptions, _records={}, _wait_consume_future=None)
    vars(consumer).update(_subscription=subscriptions, _fetcher=fetcher, _closed=True)
    return consumer


def test_fetches_and_seeks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    release = asyncio.Event()

    async def fetch(*_: Any, **__: Any) -> dict[TP, list[Any]]:
        happened.append("fetch")
        await release.wait()
        happened.append("fetched")
        return {}

    async def seek(*_: Any) -> None:
        happened.append("seek")

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_seek_wait", seek)
    assigned = SimpleNamespace(subscription=SimpleNamespace(assignment=None))
    aiokafka: Any = SimpleNamespace(_subscription=assigned, _fetcher=SimpleNamespace(error_future=alive()))

    async def body(consumer: FetchConsumer) -> None:
        thread = FetchThread(consumer)
        fetching = asyncio.create_task(thread._fetch_records(aiokafka, {CHANGELOG}))
        await asyncio.sleep(0)
        seeking = asyncio.create_task(thread._seek_wait(aiokafka, {CHANGELOG: 0}))
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(fetching, seeking)
        thread.thread_loop.close()

    run(body)
    assert happened == ["fetch", "fetched", "seek"]
