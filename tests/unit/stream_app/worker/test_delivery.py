"""What is durable when: a producer that acknowledges when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, count

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream_app.contract.records import OutgoingRecord
from stream_app.contract.topics import LARGEST_DEAD_LETTER
from stream_app.errors import DataPathError
from stream_app.kafka import clients
from stream_app.pipeline.batch_result import BatchResult
from stream_app.worker import delivery as delivery_module
from stream_app.worker.delivery import AtLeastOnce, DeliveryReceipt
from tests.unit.builders.basics import packed, unpacked
from tests.unit.builders.producers import (
    CHANGELOG,
    DEAD_LETTERS,
    JOINS,
    LATEST,
    PREDICTIONS,
    PROFILES,
    SETTINGS,
    SIGNALS,
    Producer,
    batch,
    deliver,
    settled,
)


def run(producer: Producer, body: Callable[[AtLeastOnce], Awaitable[None]], *, beat: float = 0.0) -> None:
    batch()  # what is compiled for it takes longer than a lease

    async def whole() -> None:
        ticks = count(100)
        delivery = AtLeastOnce(SETTINGS, lambda: float(next(ticks)))
        await delivery.start()
        await body(delivery)
        await delivery.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "Producer", producer)
        patch.setattr(delivery_module, "BatchQueue", producer.queue)
        patch.setattr(delivery_module, "make_lean", lambda _: None)
        patch.setattr(delivery_module, "_BEAT_S", beat)
        asyncio.run(whole())
    assert producer.stopped


class BrokenOff:
    """A lease that ends when it is told to."""

    def __init__(self, checks: int) -> None:
        self.left = checks

    async def held(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise DataPathError("stood still")


def test_the_changelog_waits_for_predictions_and_dead_letters() -> None:
    producer = Producer()

    async def body(delivery: AtLeastOnce) -> None:
        task = asyncio.create_task(deliver(delivery, batch()))
        await settled()
        assert producer.topics() == [PREDICTIONS, DEAD_LETTERS]
        producer.sent[1].acknowledge()
        await settled()
        assert not producer.of(CHANGELOG)
        producer.sent[0].acknowledge()
        await settled()
        assert producer.topics() == [PREDICTIONS, DEAD_LETTERS, CHANGELOG]
        assert not task.done()
        producer.sent[2].acknowledge()
        assert await task == DeliveryReceipt(100.0, range(40, 42))

    run(producer, body)
    predictions, changes = unpacked(batch().predictions), unpacked(batch().changelog)
    assert [sent.records for sent in producer.sent] == [predictions, unpacked(batch().dead_letters), changes]
    assert {sent.partition for sent in producer.sent} == {1}


def test_the_changelog_waits_for_signals() -> None:
    producer = Producer()

    async def body(delivery: AtLeastOnce) -> None:
        told = batch(predictions=0, dead_letters=0, signals=3)
        task = asyncio.create_task(delivery.deliver([told], {}))
        await settled()
        assert producer.topics() == [SIGNALS]
        producer.sent[0].acknowledge()
        await settled()
        assert producer.topics() == [SIGNALS, CHANGELOG]
        producer.sent[1].acknowledge()
        assert await task == [DeliveryReceipt(100.0, range(40, 42))]

    run(producer, body)
    assert producer.sent[0].records == unpacked(batch(signals=3).signals)


@pytest.mark.parametrize("kind", ["latest", "profiles"])
def test_the_changelog_waits_for_the_newest_predictions_and_for_profiles(kind: str) -> None:
    producer = Producer()
    result = batch(dead_letters=0, **{kind: 1})

    async def body(delivery: AtLeastOnce) -> None:
        task = asyncio.create_task(deliver(delivery, result))
        await settled()
        assert producer.topics() == [PREDICTIONS, {"latest": LATEST, "profiles": PROFILES}[kind]]
        producer.sent[0].acknowledge()
        await settled()
        assert not producer.of(CHANGELOG)
        producer.sent[1].acknowledge()
        await settled()
        producer.of(CHANGELOG)[0].acknowledge()
        assert await task == DeliveryReceipt(100.0, range(40, 42))

    run(producer, body)
    assert producer.sent[1].records == unpacked(getattr(result, kind))


def test_joins_wait_for_the_changelog_and_the_receipt_for_them() -> None:
    producer = Producer()

    async def body(delivery: AtLeastOnce) -> None:
        tasks = [
            asyncio.create_task(deliver(delivery, batch(n, predictions=0, dead_letters=0, joins=1))) for n in (0, 1)
        ]
        await settled()
        assert set(producer.topics()) == {CHANGELOG}
        for sent in producer.of(CHANGELOG):
            assert not producer.of(JOINS, 6)
            sent.acknowledge()
            await settled()
        first, second = producer.of(JOINS, 6)
        assert [sent.records for sent in (first, second)] == [unpacked([batch(n, joins=1).joins[0][1]]) for n in (0, 1)]
        first.acknowledge()
        await settled()
        assert not any(task.done() for task in tasks)
        second.acknowledge()
        assert [receipt.changelog for receipt in await asyncio.gather(*tasks)] == [range(40, 42), range(42, 44)]

    run(producer, body)


def test_a_later_batch_is_answered_early_but_changes_nothing_before_the_one_before() -> None:
    producer = Producer()

    async def body(delivery: AtLeastOnce) -> None:
        first = asyncio.create_task(deliver(delivery, batch(0, dead_letters=0)))
        second = asyncio.create_task(deliver(delivery, batch(1, dead_letters=0)))
        await settled()
        assert producer.topics() == [PREDICTIONS, PREDICTIONS]
        producer.sent[1].acknowledge()
        await settled()
        assert not producer.of(CHANGELOG)
        producer.sent[0].acknowledge()
        await settled()
        assert [sent.records for sent in producer.of(CHANGELOG)] == [unpacked(batch(n).changelog) for n in (0, 1)]
        producer.of(CHANGELOG)[0].acknowledge()
        await settled()
        assert not first.done()
        producer.of(CHANGELOG)[1].acknowledge()
        assert (await first).changelog == range(40, 42)
        assert (await second).changelog == range(42, 44)

    run(producer, body)


@hypothesis_settings(max_examples=30)
@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 5))
def test_every_topic_gets_its_records_in_the_order_of_the_log(pauses: list[int], batches: int) -> None:
    producer = Producer(at_once=True, pauses=pauses)
    results = [batch(n) for n in range(batches)]

    async def body(delivery: AtLeastOnce) -> None:
        done = await asyncio.gather(*(deliver(delivery, result) for result in results))
        assert [delivered.changelog for delivered in done] == [range(40 + 2 * n, 42 + 2 * n) for n in range(batches)]

    run(producer, body)
    for topic, sent in (
        (PREDICTIONS, [unpacked(result.predictions) for result in results]),
        (DEAD_LETTERS, [unpacked(result.dead_letters) for result in results]),
        (CHANGELOG, [unpacked(result.changelog) for result in results]),
    ):
        assert [record for one in producer.of(topic) for record in one.records] == list(chain.from_iterable(sent))


def test_nothing_is_written_while_no_heartbeat_gets_through_nor_after_the_group_gave_the_process_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producer, now = Producer(at_once=True), [100.0]
    monkeypatch.setattr(delivery_module, "monotonic", lambda: now[0])

    async def body(delivery: AtLeastOnce) -> None:
        await delivery.assigned({1})
        now[0] += SETTINGS.session_timeout
        task = asyncio.create_task(deliver(delivery, batch()))
        await settled()
        assert producer.topics() == []
        delivery.heartbeat(now[0] - 0.1, accepted=True)
        await task
        delivery.heartbeat(now[0], accepted=False)
        with pytest.raises(DataPathError, match="the group has given this process up"):
            await deliver(delivery, batch())

    run(producer, body)


def test_partitions_of_a_batch_go_together_and_have_a_receipt_each() -> None:
    producer = Producer()

    async def body(delivery: AtLeastOnce) -> None:
        results = [batch(0, changes=0), batch(1, partition=2), batch(2, partition=3, predictions=0, dead_letters=0)]
        task = asyncio.create_task(delivery.deliver(results, {}))
        await settled()
        assert [(sent.topic, sent.partition) for sent in producer.sent] == [
            *((PREDICTIONS, 1), (DEAD_LETTERS, 1)),
            *((PREDICTIONS, 2), (DEAD_LETTERS, 2)),
        ]
        assert len(producer.puts) == 1
        for sent in producer.sent:
            assert not producer.of(CHANGELOG, 3)
            sent.acknowledge()
        await settled()
        for partition in (2, 3):
            (change,) = producer.of(CHANGELOG, partition)
            change.acknowledge()
        assert [receipt.changelog for receipt in await task] == [None, range(2), range(2)]

    run(producer, body)


def test_small_batches_wait_for_each_other_before_they_change_anything() -> None:
    producer, beat = Producer(), 0.02

    async def body(delivery: AtLeastOnce) -> None:
        tasks = [asyncio.create_task(deliver(delivery, batch(n, dead_letters=0, changes=n))) for n in (1, 2, 3)]
        await settled()
        for sent in producer.of(PREDICTIONS)[:2]:
            sent.acknowledge()
        await settled()
        assert not producer.of(CHANGELOG)
        await asyncio.sleep(2 * beat)
        assert [len(sent.records) for sent in producer.of(CHANGELOG)] == [1, 2]  # the third is not answered yet
        assert producer.puts[-1] == [CHANGELOG] * 2
        for sent in producer.of(CHANGELOG):
            sent.acknowledge()
        assert [(await task).changelog for task in tasks[:2]] == [range(40, 41), range(41, 43)]
        assert not tasks[2].done()
        tasks[2].cancel()

    run(producer, body, beat=beat)


@pytest.mark.parametrize("number", [SETTINGS.in_flight - 2, SETTINGS.in_flight - 1])
def test_a_busy_stream_does_not_wait_for_permits(number: int) -> None:
    producer = Producer(at_once=True)

    async def body(delivery: AtLeastOnce) -> None:
        tasks = [asyncio.create_task(deliver(delivery, batch(n))) for n in range(number)]
        await settled()
        assert any(task.done() for task in tasks) == (number == SETTINGS.in_flight - 1)
        for task in tasks:
            task.cancel()

    run(producer, body, beat=60.0)


def test_a_large_batch_waits_for_nobody() -> None:
    producer = Producer(at_once=True)

    async def body(delivery: AtLeastOnce) -> None:
        small = asyncio.create_task(deliver(delivery, batch(0)))
        await settled()
        assert not small.done()
        await deliver(delivery, BatchResult(2, "rules", states=[(b"user", b"state")] * 256))
        await small

    run(producer, body, beat=60.0)


def test_batches_of_other_partitions_change_nothing_before_the_one_before_either() -> None:
    """Whole batches are in order: simpler than an order for each partition, and no slower on one connection."""
    producer = Producer()

    async def body(delivery: AtLeastOnce) -> None:
        stuck = asyncio.create_task(deliver(delivery, batch(0)))
        other = asyncio.create_task(deliver(delivery, batch(1, partition=2)))
        await settled()
        for sent in [*producer.of(PREDICTIONS, 2), *producer.of(DEAD_LETTERS, 2)]:
            sent.acknowledge()
        await settled()
        assert not producer.of(CHANGELOG, 2)
        for task in (stuck, other):
            task.cancel()

    run(producer, body)


@pytest.mark.parametrize("failing", [PREDICTIONS, DEAD_LETTERS, CHANGELOG])
def test_a_failure_ends_this_batch_and_the_next_before_their_changes(failing: str) -> None:
    producer = Producer()

    async def body(delivery: AtLeastOnce) -> None:
        first = asyncio.create_task(deliver(delivery, batch(0)))
        second = asyncio.create_task(deliver(delivery, batch(1)))
        for _ in range(3):
            await settled()
            for sent in producer.sent:
                if sent.acknowledged.done():
                    continue
                if sent in producer.of(failing)[:1]:
                    sent.acknowledged.set_exception(ConnectionError("broker gone"))
                else:
                    sent.acknowledge()
        for task in (first, second):
            with pytest.raises(ConnectionError):
                await task

    run(producer, body)
    assert len(producer.of(CHANGELOG)) == (2 if failing == CHANGELOG else 0)  # both were answered, and wrote theirs


def test_nothing_to_send_is_nothing_sent() -> None:
    producer = Producer()

    async def body(delivery: AtLeastOnce) -> None:
        nothing = await deliver(delivery, batch(predictions=0, dead_letters=0, changes=0))
        assert nothing == DeliveryReceipt(100.0, None)

    run(producer, body)
    assert producer.sent == []


@hypothesis_settings(max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_offsets_of_others_are_never_among_our_own(others: list[int]) -> None:
    """Other workers write so many records before each of our batches."""
    producer = Producer(at_once=True, others=others)
    changes = [batch for _ in range(6) for batch in packed([OutgoingRecord(b"k", bytes(80))])]

    async def body(delivery: AtLeastOnce) -> None:
        changelog = (await deliver(delivery, BatchResult(1, "rules", changelog=changes))).changelog
        own = {sent.base + n for sent in producer.of(CHANGELOG) for n in range(len(sent.records))}
        assert changelog is not None
        assert changelog.stop - 1 == max(own)
        assert own >= set(changelog)
        assert changelog.start - 1 not in own

    run(producer, body)
    assert len(producer.of(CHANGELOG)) == 6


def test_the_producer_is_safe_and_takes_large_dead_letters() -> None:
    producer = Producer()

    async def body(_: AtLeastOnce) -> None: ...

    run(producer, body)
    assert producer.options["acks"] == "all"
    assert producer.options["enable_idempotence"] is True
    assert producer.options["max_request_size"] == LARGEST_DEAD_LETTER
    assert producer.options["bootstrap_servers"] == SETTINGS.brokers


def test_stopping_before_the_start_is_fine() -> None:
    asyncio.run(AtLeastOnce(SETTINGS, lambda: 0.0).stop())


class SlowToLook:
    """A lease for which the first who asks waits longest."""

    def __init__(self) -> None:
        self.turns = 60

    async def held(self) -> None:
        self.turns = max(self.turns - 20, 0)
        for _ in range(self.turns):
            await asyncio.sleep(0)


def test_batches_that_wait_for_the_lease_are_still_written_in_their_order() -> None:
    producer = Producer(at_once=True)

    async def body(delivery: AtLeastOnce) -> None:
        delivery._lease = SlowToLook()  # type: ignore[assignment]
        first = asyncio.create_task(deliver(delivery, batch(0)))
        await asyncio.gather(first, deliver(delivery, batch(1)))

    run(producer, body)
    written = [record for sent in producer.of(PREDICTIONS) for record in sent.records]
    assert written == [*unpacked(batch(0).predictions), *unpacked(batch(1).predictions)]


@pytest.mark.parametrize(("checks", "written"), [(0, []), (1, [PREDICTIONS, DEAD_LETTERS])])
def test_a_process_that_stood_still_writes_nothing_more(checks: int, written: list[str]) -> None:
    producer = Producer(at_once=True)

    async def body(delivery: AtLeastOnce) -> None:
        delivery._lease = BrokenOff(checks)  # type: ignore[assignment]
        with pytest.raises(DataPathError, match="stood still"):
            await deliver(delivery, batch())
        assert producer.topics() == written

    run(producer, body)
