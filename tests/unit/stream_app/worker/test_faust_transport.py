"""The transport without a broker: what is handed to Faust, what is acknowledged, and what may be committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import Assignment, SubscriptionState
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream_app.errors import DataPathError
from stream_app.worker.faust_fetch_thread import Fetch, FetchThread
from stream_app.worker.faust_transport import FetchConsumer, FetchSchema, PartitionPosition
from tests.unit.builders.basics import make_record
from tests.unit.builders.consumers import EVENTS, OTHER, SETTINGS, Delivery, run

NEW = TP(SETTINGS.events_topic, 4)  # just assigned
CHANGELOG = TP(SETTINGS.state_topic, 3)
STANDBY = TP(SETTINGS.state_topic, 4)


def records(*offsets: int) -> list[ConsumerRecord[bytes, bytes]]:
    return [make_record(b"{}", offset=offset, timestamp=offset + 1000, partition=3) for offset in offsets]


def hand_out(consumer: FetchConsumer, *offsets: int, tp: TP = EVENTS) -> Any:
    """The message that Faust makes of a fetch."""
    fetch = Fetch(tp, records(*offsets), consumer._expected.get(tp, offsets[0]), offsets[-1] + 1)
    consumer._expect(tp, [fetch])
    return consumer._to_message(tp, fetch)


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


def test_records_pass_the_schema_as_they_are() -> None:
    async def body(consumer: FetchConsumer) -> None:
        message = hand_out(consumer, 1, 2)
        event = await FetchSchema().compile(consumer.app, on_key_decode_error=None)(message, propagate=True)
        assert event.value is message.value
        assert event.message is message

    run(body)


class Fetches:
    """aiokafka's positions, and a fetch that moves them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tps: TP) -> None:
        self.assignment = Assignment(tps)
        for tp in tps:
            self.assignment.state_value(tp).reset_to(5)
        self.next: dict[TP, tuple[list[Any], int]] = {}  # records, position behind them
        self.fetcher = SimpleNamespace(_fetch_min_bytes=1, _fetch_max_wait_ms=200)
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", lambda *_, **__: self._fetch())

    async def _fetch(self) -> dict[TP, list[Any]]:
        for tp, (_, position) in self.next.items():
            self.assignment.state_value(tp).consumed_to(position)
        return {tp: fetched for tp, (fetched, _) in self.next.items() if fetched}

    async def of(self, thread: FetchThread) -> dict[TP, list[Any]]:
        subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=self.assignment))
        aiokafka: Any = SimpleNamespace(_subscription=subscription, _fetcher=self.fetcher)
        return await thread._fetch_records(aiokafka, set(self.assignment.tps), timeout=1.0)


def test_only_fetches_of_events_and_changelog_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        fetches = Fetches(monkeypatch, EVENTS, CHANGELOG, OTHER)
        fetched = records(5, 6)
        fetches.next = dict.fromkeys((EVENTS, CHANGELOG, OTHER), (fetched, 7))
        found = await fetches.of(consumer._thread)
        assert found[OTHER] is fetched
        for tp in (EVENTS, CHANGELOG):
            (fetch,) = found[tp]
            assert (fetch.value, fetch.offset, fetch.partition) == (fetched, 6, tp.partition)

    run(body)


def test_a_fetch_covers_the_markers_behind_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        fetches = Fetches(monkeypatch, EVENTS, CHANGELOG)
        fetches.next = {EVENTS: (records(5, 6), 9), CHANGELOG: (records(5), 7)}
        found = await fetches.of(consumer._thread)
        assert (found[EVENTS][0].offset, found[CHANGELOG][0].offset) == (8, 6)

    run(body)


def test_recovery_is_told_of_offsets_without_records_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        still = TP(CHANGELOG.topic, 4)
        fetches = Fetches(monkeypatch, EVENTS, CHANGELOG, OTHER, still)
        fetches.assignment.state_value(still).await_reset(0)  # no position yet: nothing to say of it
        fetches.next = dict.fromkeys((EVENTS, CHANGELOG, OTHER), ([], 8))
        found = await fetches.of(consumer._thread)
        assert set(found) == {CHANGELOG}
        assert (found[CHANGELOG][0].value, found[CHANGELOG][0].offset) == ([], 7)
        fetches.next = {}
        assert await fetches.of(consumer._thread) == {}

    run(body)


def test_fetches_are_expected_back_from_faust(monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = [Fetch(EVENTS, records(1, 2), 1, 3)]
    fetched: list[Any] = [{}, None, {EVENTS: fetches, OTHER: records(7), CHANGELOG: [Fetch(CHANGELOG, [], 0, 3)]}]

    async def next_records(_: Any, timeout: float) -> tuple[Any, Any]:
        return fetched.pop(0), {EVENTS}

    monkeypatch.setattr(driver.Consumer, "_wait_next_records", next_records)

    async def body(consumer: FetchConsumer) -> None:
        assert await consumer._wait_next_records(1.0) == ({}, {EVENTS})
        assert await consumer._wait_next_records(1.0) == (None, {EVENTS})
        found, active = await consumer._wait_next_records(1.0)
        assert active == {EVENTS}
        assert found[EVENTS] is fetches
        assert {tp: list(offsets) for tp, offsets in consumer._handed_out.items()} == {EVENTS: [(1, 2)]}

    run(body)


def test_acknowledged_fetches_move_the_commit_to_their_end() -> None:
    async def body(consumer: FetchConsumer) -> None:
        assert consumer._new_offset(EVENTS) is None
        first, second, third = hand_out(consumer, 5, 6), hand_out(consumer, 8), hand_out(consumer, 9, 20)
        assert consumer.ack(first)
        assert consumer.ack(second)
        assert consumer._new_offset(EVENTS) == 9
        assert consumer._new_offset(EVENTS) is None
        assert consumer.ack(third)
        assert not consumer.ack(third)  # once only
        assert consumer._new_offset(EVENTS) == 21

    run(body)


def test_an_acknowledgement_over_a_lost_fetch_is_an_error() -> None:
    async def body(consumer: FetchConsumer) -> None:
        hand_out(consumer, 5, 6)
        with pytest.raises(DataPathError, match="offset 8 is done, but one before it got lost"):
            consumer.ack(hand_out(consumer, 7, 8))
        assert consumer._new_offset(EVENTS) is None

    run(body)


def test_after_a_seek_what_was_handed_out_before_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def to_committed(_: Any) -> dict[TP, int]:
        return {EVENTS: 5}

    monkeypatch.setattr(driver.Consumer, "seek_to_committed", to_committed)

    async def body(consumer: FetchConsumer) -> None:
        hand_out(consumer, 5, 6)
        await consumer.perform_seek()
        assert consumer._read_offset[EVENTS] == 5
        consumer.ack(hand_out(consumer, 5, 6, 7))
        assert consumer._new_offset(EVENTS) == 8

    run(body)


@pytest.mark.parametrize("tp", [EVENTS, CHANGELOG])
def test_a_fetch_that_never_came_ends_the_process_unless_a_seek_comes_first(
    monkeypatch: pytest.MonkeyPatch, tp: TP
) -> None:
    async def sought(*_: Any) -> dict[TP, int]:
        return {}

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "call_thread", sought)

    async def body(consumer: FetchConsumer) -> None:
        consumer._expect(tp, [Fetch(tp, records(4), 4, 6)])
        consumer._expect(tp, [Fetch(tp, records(8), 6, 9)])  # 6 and 7 are markers, or compacted away
        with pytest.raises(DataPathError, match="begins at offset 12, after 9"):
            consumer._expect(tp, [Fetch(tp, records(12), 12, 13)])
        await (consumer.perform_seek() if tp == EVENTS else consumer.seek_wait({tp: 0}))
        consumer._expect(tp, [Fetch(tp, records(12), 12, 13)])

    consumer_thread = driver.AIOKafkaConsumerThread
    monkeypatch.setattr(consumer_thread, "_ensure_consumer", lambda _: None)
    run(body)


@pytest.mark.parametrize("committed", [None, 0, 3])
def test_a_seek_to_committed_gives_back_the_first_fetch_of_a_partition_too(
    monkeypatch: pytest.MonkeyPatch, committed: int | None
) -> None:
    """A first fetch that a rebalance had Faust give up once took 644 events with it."""
    offsets = {EVENTS: committed, CHANGELOG: None, NEW: None}

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
        assert assignment.state_value(EVENTS).position == (committed or 0)
        assert assignment.state_value(CHANGELOG).position == 5
        assert not assignment.state_value(NEW).has_valid_position

    run(body)


@pytest.mark.parametrize(
    ("busy", "tp", "expected"),
    [
        (0.008, EVENTS, (65_536, 8)),
        (5.0, EVENTS, (65_536, 20)),  # a large batch: events that come meanwhile are not to wait that long
        (0.0, EVENTS, (1, 200)),
        (0.008, CHANGELOG, (1, 200)),  # recovery waits for nobody
    ],
)
def test_the_fetch_behind_one_of_events_waits_at_the_broker_while_the_worker_is_busy(
    monkeypatch: pytest.MonkeyPatch, busy: float, tp: TP, expected: tuple[int, int]
) -> None:
    async def body(consumer: FetchConsumer) -> None:
        fetches = Fetches(monkeypatch, tp)
        fetches.next = {tp: (records(5, 6), 7)}
        await fetches.of(consumer._thread)
        assert asked(fetches) == expected
        async with asyncio.timeout(5):
            while asked(fetches) != (1, 200):  # noqa: ASYNC110 - the one after it waits for nobody: nothing says when
                await asyncio.sleep(0.001)
        fetches.next = {}
        await fetches.of(consumer._thread)
        assert asked(fetches) == (1, 200)

    def asked(fetches: Fetches) -> tuple[int, int]:
        return fetches.fetcher._fetch_min_bytes, fetches.fetcher._fetch_max_wait_ms

    run(body, pause=busy)


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
    aiokafka: Any = SimpleNamespace(_subscription=assigned)

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


def test_a_partition_stands_at_its_oldest_fetch_under_way_or_at_its_position() -> None:
    states = {
        tp: SimpleNamespace(position=12, highwater=40, lso=30, has_valid_position=True) for tp in (EVENTS, CHANGELOG)
    }
    assignment = SimpleNamespace(tps=set(states), state_value=states.get)
    subscribed = SimpleNamespace(_subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)))

    async def body(consumer: FetchConsumer) -> None:
        assert consumer.partition_positions() == {}  # nothing is assigned yet
        consumer._thread._consumer = subscribed
        assert consumer.partition_positions() == {EVENTS: PartitionPosition(12, 30)}
        first = hand_out(consumer, 5, 6)
        hand_out(consumer, 8, 11)
        assert consumer.partition_positions()[EVENTS] == PartitionPosition(5, 30)
        consumer.ack(first)
        assert consumer.partition_positions()[EVENTS].lag == 22
        states[EVENTS].lso = None  # no fetch has told it
        assert consumer.partition_positions() == {}
        consumer._thread._consumer = None

    run(body)


def test_partitions_are_acknowledged_apart_and_the_changelog_not_at_all() -> None:
    async def body(consumer: FetchConsumer) -> None:
        hand_out(consumer, 1)
        elsewhere = TP(EVENTS.topic, 4)
        consumer.ack(hand_out(consumer, 50, tp=elsewhere))
        assert (consumer._new_offset(elsewhere), consumer._new_offset(EVENTS)) == (51, None)
        hand_out(consumer, 1, tp=CHANGELOG)
        assert not consumer.ack(hand_out(consumer, 2, tp=CHANGELOG))

    run(body)


@hypothesis_settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=20))
def test_a_commit_never_passes_what_is_not_acknowledged(fetches: Sequence[tuple[int, bool]]) -> None:
    async def body(consumer: FetchConsumer) -> None:
        end, waiting, acknowledged = 0, list[Any](), 0
        for size, commit in fetches:
            waiting.append(hand_out(consumer, *range(end, end + size)))
            end += size
            if commit:
                done = waiting.pop(0)
                consumer.ack(done)
                acknowledged = done.offset + 1
                assert consumer._new_offset(EVENTS) == acknowledged
        for message in waiting:
            consumer.ack(message)
        assert consumer._new_offset(EVENTS) == (end if waiting else None)

    run(body)


def test_other_topics_commit_only_what_is_without_a_hole() -> None:
    async def body(consumer: FetchConsumer) -> None:
        for offset in (1, 2, 4):
            (record,) = records(offset)
            assert consumer.ack(consumer._to_message(OTHER, record))
        assert consumer._new_offset(OTHER) == 3

    run(body)


def test_gaps_between_fetches_are_none() -> None:
    async def body(consumer: FetchConsumer) -> None:
        await consumer._add_gap(EVENTS, 1, 9)
        await consumer._add_gap(OTHER, 1, 9)
        assert not consumer._gap[EVENTS]
        assert consumer._gap[OTHER]

    run(body)


def test_events_and_standbys_are_not_fetched_before_the_state_is_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[TP] | None] = []

    async def getmany(_: Any, active_partitions: set[TP] | None, timeout: float) -> dict[TP, Any]:
        asked.append(active_partitions)
        return {}

    monkeypatch.setattr(driver.Consumer, "_getmany", getmany)

    async def body(consumer: FetchConsumer) -> None:
        tables = consumer.app.tables
        assert not tables.actives_ready
        tables.recovery.active_tps.add(CHANGELOG)
        assert await consumer._getmany({EVENTS, STANDBY}, 1.0) == {}
        assert asked == []
        await consumer._getmany({EVENTS, STANDBY, CHANGELOG}, 1.0)
        tables.actives_ready = True
        await consumer._getmany({EVENTS, STANDBY}, 1.0)
        assert asked == [{CHANGELOG}, {EVENTS, STANDBY}]

    run(body)


@pytest.mark.parametrize("delivery_commits", [False, True])
def test_offsets_are_committed_once_by_faust_or_by_the_delivery(
    monkeypatch: pytest.MonkeyPatch, delivery_commits: bool
) -> None:
    committed: list[Any] = []

    async def commit(_: Any, offsets: Any) -> bool:
        committed.append(offsets)
        return True

    monkeypatch.setattr(driver.Consumer, "_commit", commit)
    monkeypatch.setattr(driver.Consumer, "assignment", lambda _: {EVENTS})

    async def body(consumer: FetchConsumer) -> None:
        consumer.ack(hand_out(consumer, 5, 6))
        assert await consumer.commit()
        assert not await consumer.commit()
        assert (EVENTS in consumer._thread.tp_last_committed_at) == delivery_commits

    run(body, delivery=Delivery(commits_offsets=delivery_commits))
    assert committed == ([] if delivery_commits else [{EVENTS: 7}])


def test_whoever_had_the_partitions_is_locked_out_before_faust_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = Delivery()
    seen: list[list[set[int]]] = []

    async def recover(_: Any, assigned: set[TP], generation_id: int) -> None:
        seen.append(list(delivery.taken_over))

    monkeypatch.setattr(driver.Consumer, "on_partitions_assigned", recover)

    async def body(consumer: FetchConsumer) -> None:
        await consumer.on_partitions_assigned({EVENTS, CHANGELOG, TP(EVENTS.topic, 0)}, 7)

    run(body, delivery=delivery)
    assert seen == [[{0, 3}]]


def test_a_take_over_that_fails_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[BaseException] = []

    async def recover(*_: Any) -> None:
        pytest.fail("recovered all the same")

    monkeypatch.setattr(driver.Consumer, "on_partitions_assigned", recover)

    async def body(consumer: FetchConsumer) -> None:
        with pytest.raises(ConnectionError):
            await consumer.on_partitions_assigned({EVENTS}, 7)

    run(body, delivery=Delivery(broken=True), fail=failed.append)
    assert len(failed) == 1


def test_stopping_waits_for_what_was_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    async def drained() -> None:
        happened.append("drained")

    async def on_stop(_: Any) -> None:
        happened.append("last commit")

    monkeypatch.setattr(driver.Consumer, "on_stop", on_stop)

    async def body(consumer: FetchConsumer) -> None:
        await consumer.on_stop()

    run(body, drained=drained)
    assert happened == ["drained", "last commit"]


def test_faust_is_the_one_that_this_was_written_for() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert faust.__version__ == "0.15.3"
