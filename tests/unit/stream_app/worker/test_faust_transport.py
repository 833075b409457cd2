"""The transport without a broker: what is handed to Faust, what is acknowledged, and what may be committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream_app.errors import DataPathError
from stream_app.kafka.log_range import OffsetGap
from stream_app.worker.faust_fetch_thread import Fetch
from stream_app.worker.faust_transport import FetchConsumer, FetchSchema, PartitionPosition
from tests.unit.builders.consumers import CHANGELOG, EVENTS, OTHER, STANDBY, Delivery, hand_out, records, run


def record_commits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Has Faust's commits succeed, and collects their offsets."""
    committed: list[Any] = []

    async def commit(_: Any, offsets: Any) -> bool:
        committed.append(offsets)
        return True

    monkeypatch.setattr(driver.Consumer, "_commit", commit)
    return committed


def test_records_pass_the_schema_as_they_are() -> None:
    async def body(consumer: FetchConsumer) -> None:
        message = hand_out(consumer, 1, 2, tp=CHANGELOG)
        event = await FetchSchema().compile(consumer.app, on_key_decode_error=None)(message, propagate=True)
        assert event.value is message.value
        assert event.message is message

    run(body)


def test_fetches_are_expected_back_from_faust(monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = [Fetch(EVENTS, records(1, 2), 1, 3)]
    fetched_other = records(7)
    fetched: list[Any] = [{}, None, {EVENTS: fetches, OTHER: fetched_other, CHANGELOG: [Fetch(CHANGELOG, [], 0, 3)]}]

    async def next_records(_: Any, timeout: float) -> tuple[Any, Any]:
        return fetched.pop(0), {EVENTS}

    monkeypatch.setattr(driver.Consumer, "_wait_next_records", next_records)

    async def body(consumer: FetchConsumer) -> None:
        assert await consumer._wait_next_records(1.0) == ({}, {EVENTS})
        assert await consumer._wait_next_records(1.0) == (None, {EVENTS})
        handed_on, active = await consumer._wait_next_records(1.0)
        assert active == {EVENTS}
        assert [carrier.value for carrier in handed_on[EVENTS]] == [fetches]
        assert handed_on[OTHER] is fetched_other
        assert {tp: list(offsets) for tp, offsets in consumer._handed_out.items()} == {EVENTS: [(1, 2)]}

    run(body)


def fetches_of(consumer: FetchConsumer, **offsets: tuple[int, ...]) -> dict[TP, list[Any]]:
    """Fetches of partitions `p0`, `p1` and so on, as they come from the thread."""
    made = {TP(EVENTS.topic, int(name[1:])): which for name, which in offsets.items()}
    return {
        tp: [Fetch(tp, records(*which), consumer._expected.get(tp, which[0]), which[-1] + 1)]
        for tp, which in made.items()
    }


def handed_out(monkeypatch: pytest.MonkeyPatch, consumer: FetchConsumer, fetched: Any, active: set[TP]) -> Any:
    """Has Faust take these fetches, and returns the messages that it hands out."""

    async def next_records(_: Any, timeout: float) -> tuple[Any, Any]:
        return fetched, active

    monkeypatch.setattr(driver.Consumer, "_wait_next_records", next_records)
    monkeypatch.setattr(FetchConsumer, "highwater", lambda *_: 0)
    consumer.flow_active = True

    async def messages() -> list[Any]:
        return [message async for _, message in consumer.getmany(timeout=1.0)]

    return messages()


P0, P1, P2 = (TP(EVENTS.topic, partition) for partition in range(3))


def test_one_partition_carries_the_fetches_of_all_and_each_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        standby = [Fetch(STANDBY, [], 0, 3)]
        fetched = {STANDBY: standby, **fetches_of(consumer, p1=(5, 6), p0=(50,), p2=(7, 8))}
        message, other = await handed_out(monkeypatch, consumer, fetched, {P0, P1, P2, STANDBY})
        assert (message.tp, message.offset, other.tp, other.value) == (P1, 6, STANDBY, standby[0].value)
        assert [(fetch.tp, fetch.offset) for fetch in message.value] == [(P1, 6), (P0, 50), (P2, 8)]
        assert dict(consumer._read_offset) == {P1: 6, P0: 50, P2: 8}
        assert [consumer._new_offset(tp) for tp in (P0, P1, P2)] == [None, None, None]
        consumer.ack(message)
        assert {P0, P1, P2} <= set(consumer._filter_tps_with_pending_acks())
        assert [consumer._new_offset(tp) for tp in (P0, P1, P2)] == [51, 7, 9]

    run(body)


def test_a_passenger_that_faust_would_drop_is_not_carried_and_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        consumer._read_offset[P2] = 9
        fetched = fetches_of(consumer, p0=(5,), p1=(6,), p2=(7, 8))
        message, below = await handed_out(monkeypatch, consumer, fetched, {P1, P2})
        assert [fetch.tp for fetch in message.value] == [P1]
        assert below.value == fetched[P2]
        assert below.offset < consumer._read_offset[P2], "Faust drops it"
        consumer.ack(message)
        for tp in (P0, P2):
            (later,) = await handed_out(monkeypatch, consumer, fetches_of(consumer, **{f"p{tp.partition}": (9,)}), {tp})
            with pytest.raises(DataPathError, match="offset 9 is done, but one before it got lost"):
                consumer.ack(later)
            assert consumer._new_offset(tp) is None

    run(body)


def test_when_a_message_is_dropped_all_that_it_carries_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        fetched = fetches_of(consumer, p0=(5,), p1=(6,), p2=(7, 8))
        (_,) = await handed_out(monkeypatch, consumer, fetched, {P0, P1, P2})
        for tp in (P0, P1, P2):
            (later,) = await handed_out(monkeypatch, consumer, fetches_of(consumer, **{f"p{tp.partition}": (9,)}), {tp})
            with pytest.raises(DataPathError, match="offset 9 is done, but one before it got lost"):
                consumer.ack(later)

    run(body)


def test_what_was_handed_out_before_a_seek_moves_nothing_when_it_is_done_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def to_committed(_: Any) -> dict[TP, int]:
        return {P0: 5, P1: 6}

    monkeypatch.setattr(driver.Consumer, "seek_to_committed", to_committed)

    async def body(consumer: FetchConsumer) -> None:
        before = fetches_of(consumer, p0=(5, 6), p1=(6, 7))
        (message,) = await handed_out(monkeypatch, consumer, before, {P0, P1})
        await consumer.perform_seek()
        consumer.ack(message)
        assert [consumer._new_offset(tp) for tp in (P0, P1)] == [None, None]
        (again,) = await handed_out(monkeypatch, consumer, fetches_of(consumer, p1=(6,), p0=(5, 6)), {P0, P1})
        consumer.ack(again)
        assert [consumer._new_offset(tp) for tp in (P0, P1)] == [7, 7]

    run(body)


def test_faust_neither_stops_to_fetch_events_nor_complains_of_a_passenger() -> None:
    async def body(consumer: FetchConsumer) -> None:
        consumer._active_partitions = {P0, P1, STANDBY}
        for tp in (P0, STANDBY):
            consumer.on_buffer_full(tp)
        assert consumer._active_partitions == {P0, P1}
        consumer._carried(fetches_of(consumer, p0=(5,), p1=(6,)), {P0, P1})
        assert set(consumer.app.monitor.stream_inbound_time) == {P0, P1}

    run(body)


def test_a_fetch_without_records_moves_what_is_expected_and_is_acknowledged_in_its_turn() -> None:
    async def body(consumer: FetchConsumer) -> None:
        first = hand_out(consumer, 5, 6)
        passed = Fetch(EVENTS, [], 7, 9)
        consumer._expect(EVENTS, [passed])
        assert list(consumer._handed_out[EVENTS]) == [(5, 6), (9, 8)]
        second = hand_out(consumer, 9)  # was once taken for the one after a lost one
        consumer.ack(first)
        assert consumer._new_offset(EVENTS) == 7
        consumer.ack(consumer._to_message(EVENTS, Fetch.carrying([passed])))
        assert consumer._new_offset(EVENTS) == 9
        consumer.ack(second)
        assert consumer._new_offset(EVENTS) == 10

    run(body)


def test_offsets_that_are_gone_are_told_once_and_passed() -> None:
    told: list[Any] = []

    async def body(consumer: FetchConsumer) -> None:
        missed = lambda *gap: told.append(gap)  # noqa: E731
        consumer.transport.hooks = replace(consumer.transport.hooks, missed=missed)
        hand_out(consumer, 5, 6)
        gap = OffsetGap("retention", 7, 20)
        consumer._expect(EVENTS, [Fetch(EVENTS, [], 7, 20, gap)])
        hand_out(consumer, 20)
        consumer._expect(CHANGELOG, [Fetch(CHANGELOG, [], 7, 20, gap)])
        assert told == [(EVENTS, gap)]

    run(body)


def test_a_log_that_was_cut_is_followed_once_all_before_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    gap = OffsetGap("truncated", 8, 3)
    happened: list[Any] = []

    async def next_records(_: Any, timeout: float) -> tuple[Any, Any]:
        return {EVENTS: [Fetch(EVENTS, [], 8, 3, gap)]}, {EVENTS}

    async def follow_cut(partition: int, offset: int) -> None:
        happened.append((partition, offset))

    async def commit(_: Any, offsets: Any) -> bool:
        happened.append(offsets)
        return True

    monkeypatch.setattr(driver.Consumer, "_wait_next_records", next_records)
    monkeypatch.setattr(driver.Consumer, "_commit", commit)

    async def body(consumer: FetchConsumer) -> None:
        missed = lambda *gap: happened.append(gap)  # noqa: E731
        consumer.transport.hooks = replace(consumer.transport.hooks, follow_cut=follow_cut, missed=missed)
        consumer.flow_active = True
        last = hand_out(consumer, 5, 6, 7)
        consumer._read_offset[EVENTS] = consumer._committed_offset[EVENTS] = 7
        fetching = asyncio.create_task(consumer._wait_next_records(1.0))
        await asyncio.sleep(0.05)
        assert happened == []
        consumer.ack(last)
        assert await fetching == ({}, {EVENTS})
        assert happened == [(3, 3), {EVENTS: 3}, (EVENTS, gap)]
        assert consumer._read_offset[EVENTS] == consumer._committed_offset[EVENTS] == 3
        assert consumer._new_offset(EVENTS) is None
        consumer.ack(hand_out(consumer, 3, 4))
        assert consumer._should_commit(EVENTS, consumer._new_offset(EVENTS) or 0)

    run(body)


def test_no_commit_beside_that_of_a_cut_goes_back_to_what_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed offset would be refused, and what came since the cut passed over as if cut again."""
    committed: list[Any] = []

    async def commit(_: Any, offsets: Any) -> bool:
        committed.append(offsets)
        if len(committed) == 1:
            await consumers[0].commit()  # as Faust does each second
        return True

    consumers: list[FetchConsumer] = []
    monkeypatch.setattr(driver.Consumer, "_commit", commit)
    monkeypatch.setattr(driver.Consumer, "assignment", lambda _: {EVENTS})

    async def nothing(*_: Any) -> None: ...

    async def body(consumer: FetchConsumer) -> None:
        consumers.append(consumer)
        hooks = consumer.transport.hooks
        consumer.transport.hooks = replace(hooks, follow_cut=nothing, missed=lambda *_: None)
        monkeypatch.setattr(consumer.app.producer, "flush", nothing)
        consumer.flow_active = True
        consumer.ack(hand_out(consumer, 5, 6, 7))
        await consumer._follow_cut(EVENTS, OffsetGap("truncated", 8, 3))
        assert committed == [{EVENTS: 3}]

    run(body)


def test_a_partition_that_was_given_away_is_not_committed_when_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def revoked(*_: Any) -> None: ...

    monkeypatch.setattr(driver.Consumer, "on_partitions_revoked", revoked)

    async def body(consumer: FetchConsumer) -> None:
        consumer.ack(hand_out(consumer, 5, 6))
        await consumer.on_partitions_revoked({EVENTS})
        assert consumer._new_offset(EVENTS) is None

    run(body)


@pytest.mark.parametrize("rebalance", ["flow", "generation"])
def test_a_rebalance_ends_the_wait_for_what_came_before_a_cut(monkeypatch: pytest.MonkeyPatch, rebalance: str) -> None:
    gap = OffsetGap("truncated", 8, 3)

    async def next_records(_: Any, timeout: float) -> tuple[Any, Any]:
        return {EVENTS: [Fetch(EVENTS, [], 8, 3, gap)]}, {EVENTS}

    monkeypatch.setattr(driver.Consumer, "_wait_next_records", next_records)

    async def body(consumer: FetchConsumer) -> None:
        consumer.flow_active = True
        hand_out(consumer, 5, 6, 7)
        fetching = asyncio.create_task(consumer._wait_next_records(1.0))
        await asyncio.sleep(0.03)
        if rebalance == "flow":
            consumer.flow_active = False
        else:
            consumer.app.consumer_generation_id += 1
        assert await asyncio.wait_for(fetching, 5) == ({}, {EVENTS})

    run(body)


def test_acknowledged_fetches_move_the_commit_to_their_end() -> None:
    async def body(consumer: FetchConsumer) -> None:
        assert consumer._new_offset(EVENTS) is None
        first, second, third = hand_out(consumer, 5, 6), hand_out(consumer, 8), hand_out(consumer, 9, 20)
        assert consumer.ack(first)
        assert consumer.ack(second)
        assert consumer._new_offset(EVENTS) == 9
        assert not consumer._acked[EVENTS]
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


@pytest.mark.parametrize("start", [None, 4])
def test_a_log_without_an_offset_of_the_group_is_looked_at(monkeypatch: pytest.MonkeyPatch, start: int | None) -> None:
    looked: list[int] = []

    async def to_committed(_: Any) -> dict[TP, int | None]:
        return {EVENTS: None, CHANGELOG: None, TP(EVENTS.topic, 4): 0}

    async def look(partition: int, _: Any) -> int | None:
        looked.append(partition)
        return start

    monkeypatch.setattr(driver.Consumer, "seek_to_committed", to_committed)
    committed = record_commits(monkeypatch)

    async def body(consumer: FetchConsumer) -> None:
        consumer.transport.hooks = replace(consumer.transport.hooks, look_for_cut=look)
        await consumer.perform_seek()

    run(body)
    assert looked == [3]
    assert committed == ([] if start is None else [{EVENTS: 4}])


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


def test_a_partition_is_done_up_to_its_oldest_fetch_in_flight_or_its_position() -> None:
    states = {tp: SimpleNamespace(_position=12, highwater=40, lso=30) for tp in (EVENTS, CHANGELOG)}
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
        states[EVENTS]._position = None  # the thread has just lost it
        assert consumer.partition_positions()[EVENTS] == PartitionPosition(8, 30)
        states[EVENTS].lso = None  # no fetch has told it
        assert consumer.partition_positions() == {}
        states[EVENTS].lso = 30
        consumer._handed_out.clear()
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
def test_a_commit_never_passes_a_fetch_without_acknowledgement(fetches: Sequence[tuple[int, bool]]) -> None:
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
        assert consumer._new_offset(EVENTS) == (end or None)

    run(body)


def test_other_topics_commit_only_up_to_the_first_gap() -> None:
    async def body(consumer: FetchConsumer) -> None:
        for offset in (1, 2, 4):
            (record,) = records(offset)
            assert consumer.ack(consumer._to_message(OTHER, record))
        assert consumer._new_offset(OTHER) == 3

    run(body)


class Stream:
    """What a consumer fetches and to whom it hands it out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, consumer: FetchConsumer, *messages: Any) -> None:
        self.messages = list(messages)
        self.handed_out: list[Any] = []
        self.error: BaseException | None = None  # that the fetching raises at its end
        self.fetcher = SimpleNamespace(should_stop=False)
        self.room = asyncio.Event()
        self.room.set()
        monkeypatch.setattr(FetchConsumer, "getmany", lambda *_, **__: self._fetch())
        consumer.callback = self._take
        self.draining = asyncio.create_task(consumer._drain_messages(self.fetcher))

    async def _fetch(self) -> Any:
        while self.messages:
            message = self.messages.pop(0)
            yield message.tp, message
        if self.error is not None:
            raise self.error
        self.fetcher.should_stop = True

    async def _take(self, message: Any) -> None:
        await self.room.wait()
        if message.offset < 0:
            raise ConnectionError
        self.handed_out.append(message)


def test_messages_are_handed_out_in_order_but_those_below_the_read_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        consumer._read_offset[EVENTS] = 6
        messages = [hand_out(consumer, *offsets) for offsets in ((4, 5), (6,), (7, 8), (9,))]
        stream = Stream(monkeypatch, consumer, *messages)
        await asyncio.wait_for(stream.draining, 5)
        assert stream.handed_out == messages[1:]
        assert consumer._read_offset[EVENTS] == 9

    run(body)


def test_a_message_waits_for_room_until_the_flow_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        consumer.resume_flow()
        first, second, third = (hand_out(consumer, offset) for offset in (5, 6, 7))
        stream = Stream(monkeypatch, consumer, first, second, third)
        stream.room.clear()
        done, _ = await asyncio.wait([stream.draining], timeout=0.02)
        assert not done
        assert stream.handed_out == []
        consumer.stop_flow()
        await asyncio.wait_for(stream.draining, 5)
        stream.room.set()
        await asyncio.sleep(0)
        assert stream.handed_out == [], "Faust clears its queues then: what came later would stay there"

    run(body)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), driver.ConsumerStoppedError(), ConnectionError()], ids=str)
@pytest.mark.parametrize("stopping", [False, True])
def test_while_the_app_stops_the_end_of_the_consumer_is_no_error(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, stopping: bool
) -> None:
    async def body(consumer: FetchConsumer) -> None:
        stream = Stream(monkeypatch, consumer, hand_out(consumer, 5))
        stream.error = error
        if stopping:
            consumer.app._stopped.set()
        (result,) = await asyncio.gather(stream.draining, return_exceptions=True)
        assert isinstance(result, type(error)) == (not stopping or isinstance(error, ConnectionError))

    run(body)


def test_what_the_hand_out_raises_ends_the_fetcher(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(consumer: FetchConsumer) -> None:
        stream = Stream(monkeypatch, consumer, hand_out(consumer, 5), SimpleNamespace(tp=OTHER, offset=-1))
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(stream.draining, 5)

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
    committed = record_commits(monkeypatch)
    monkeypatch.setattr(driver.Consumer, "assignment", lambda _: {EVENTS})

    async def body(consumer: FetchConsumer) -> None:
        consumer.ack(hand_out(consumer, 5, 6))
        assert await consumer.commit()
        assert not await consumer.commit()
        assert (EVENTS in consumer._thread.tp_last_committed_at) == delivery_commits

    run(body, delivery=Delivery(commits_offsets=delivery_commits))
    assert committed == ([] if delivery_commits else [{EVENTS: 7}])


def test_what_is_acknowledged_is_committed_although_faust_forgets_it_in_a_rebalance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    committed = record_commits(monkeypatch)
    monkeypatch.setattr(driver.Consumer, "assignment", lambda _: {EVENTS})

    async def body(consumer: FetchConsumer) -> None:
        consumer.app._stopped.set()  # then Faust asks nobody before it leaves the group
        monkeypatch.setattr(consumer.app, "_on_rebalance_when_stopped", lambda: None)
        consumer.ack(hand_out(consumer, 5, 6))
        hand_out(consumer, 7)
        await driver.Consumer.on_partitions_revoked(consumer, {EVENTS})
        assert committed == []
        await consumer.on_partitions_revoked({EVENTS})
        await consumer.on_partitions_revoked({EVENTS})

    run(body)
    assert committed == [{EVENTS: 7}], "once: later another worker may have committed more"


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


def test_faust_has_the_version_that_this_was_written_for() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert faust.__version__ == "0.15.3"
