"""What is in a transaction, when it is committed, and what locks another worker out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, TransactionalIdAuthorizationFailed
from aiokafka.producer.transaction_manager import TransactionManager

from stream_app.contract.topics import LARGEST_DEAD_LETTER
from stream_app.errors import AuthorizationFailed, DataPathError
from stream_app.kafka import clients
from stream_app.settings import load_settings
from stream_app.worker.delivery import DeliveryReceipt
from stream_app.worker.exactly_once import ExactlyOnce, transactional_id
from tests.unit.builders.producers import (
    CHANGELOG,
    DEAD_LETTERS,
    PREDICTIONS,
    Producer,
    SentBatch,
    batch,
    deliver,
    settled,
)

SETTINGS = load_settings()
ALL = range(SETTINGS.partitions)


class TransactionalProducer(Producer):
    """One partition's producer, which notes what happens."""

    def __init__(self, cluster: Cluster, options: dict[str, Any]) -> None:
        super().__init__(at_once=cluster.at_once)
        self.options = options
        self._happened = cluster.happened
        self._name = options["transactional_id"].rpartition(".")[2]

    def note(self, what: str) -> None:
        self._happened.append(f"{self._name} {what}")

    async def start(self) -> None:
        await asyncio.sleep(0)
        self.note("locked the others out")

    async def stop(self) -> None:
        self.note("stopped")

    async def begin_transaction(self) -> None:
        self.note("begin")

    async def send_batch(self, builder: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        self.note(topic)
        return await super().send_batch(builder, topic, partition=partition)

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, int], group: str) -> None:
        ((source, offset),) = offsets.items()
        assert (source.topic, group) == (SETTINGS.events_topic, SETTINGS.group)
        self.note(f"offset {source.partition}/{offset}")

    async def commit_transaction(self) -> None:
        self.note("commit")


class Cluster:
    """What happened, by the partitions of the producers, and what the group has committed."""

    def __init__(self, *, at_once: bool = True, committed: dict[int, int] | None = None) -> None:
        self.at_once = at_once
        self.committed_offsets = committed or {}
        self.happened: list[str] = []
        self.producers: list[TransactionalProducer] = []

    def new_producer(self, **options: Any) -> TransactionalProducer:
        self.producers.append(TransactionalProducer(self, options))
        return self.producers[-1]

    def new_consumer(self, **options: Any) -> Cluster:
        assert options["group_id"] == SETTINGS.group
        assert options["enable_auto_commit"] is False
        return self

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: Any) -> None: ...

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    async def committed(self, tp: TopicPartition) -> int | None:
        self.happened.append(f"{tp.partition} asked for its offset")
        return self.committed_offsets.get(tp.partition)

    @property
    def sent(self) -> list[SentBatch]:
        return [sent for producer in self.producers for sent in producer.sent]


def run(
    cluster: Cluster, body: Callable[[ExactlyOnce], Awaitable[None]], assigned: tuple[int, ...] = (1, 2)
) -> list[str]:
    """What happened after the assignment."""

    async def whole() -> None:
        ticks = count(100)
        delivery = ExactlyOnce(SETTINGS, lambda: float(next(ticks)))
        await delivery.start()
        await delivery.assigned(assigned)
        cluster.happened.clear()
        await body(delivery)
        await delivery.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "Producer", cluster.new_producer)
        patch.setattr(clients, "Consumer", cluster.new_consumer)
        asyncio.run(whole())
    return [entry for entry in cluster.happened if not entry.endswith("stopped")]


def test_a_batch_is_one_transaction() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        # The batches are stamped at 100, 101 and 102.
        assert await deliver(delivery, batch(), range(10, 17)) == DeliveryReceipt(103.0, range(42))

    happened = run(Cluster(), body)
    assert (happened[0], happened[-1]) == ("1 begin", "1 commit")
    assert sorted(happened[1:-1]) == sorted(
        ["1 offset 1/17", f"1 {PREDICTIONS}", f"1 {DEAD_LETTERS}", f"1 {CHANGELOG}"]
    )


def test_a_batch_without_answers_commits_its_offset() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        nothing = await deliver(delivery, batch(predictions=0, dead_letters=0, changes=0), range(3, 5))
        assert nothing == DeliveryReceipt(100.0, None)

    assert run(Cluster(), body) == ["1 begin", "1 offset 1/5", "1 commit"]


def test_offsets_of_a_log_that_was_cut_are_answered_once_more() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        with pytest.raises(DataPathError, match="answered up to offset 1000, and offset 10 came again"):
            await deliver(delivery, batch(), range(10, 10))
        delivery.log_was_cut(1)
        await deliver(delivery, batch(0, predictions=0, dead_letters=0), range(10, 10))
        await deliver(delivery, batch(1), range(10, 12))
        with pytest.raises(DataPathError, match="answered up to offset 12"):
            await deliver(delivery, batch(), range(11, 12))

    happened = run(Cluster(committed={1: 1000}), body)
    assert [entry for entry in happened if "offset" in entry] == ["1 offset 1/10", "1 offset 1/12"]


def test_nothing_is_committed_before_all_is_acknowledged() -> None:
    cluster = Cluster(at_once=False)

    async def body(delivery: ExactlyOnce) -> None:
        task = asyncio.create_task(deliver(delivery, batch(), range(2)))
        await settled()
        for sent in cluster.sent:
            assert "1 commit" not in cluster.happened
            sent.acknowledge()
            await settled()
        assert "1 commit" in cluster.happened
        await task

    run(cluster, body)


@pytest.mark.parametrize("failing", [PREDICTIONS, DEAD_LETTERS, CHANGELOG])
def test_after_a_refused_record_neither_its_transaction_nor_a_later_one_is_committed(failing: str) -> None:
    cluster = Cluster(at_once=False)

    async def body(delivery: ExactlyOnce) -> None:
        first = asyncio.create_task(deliver(delivery, batch(0), range(2)))
        second = asyncio.create_task(deliver(delivery, batch(1), range(2, 4)))
        await settled()
        for sent in cluster.sent:
            if sent.topic == failing:
                sent.acknowledged.set_exception(ConnectionError("refused"))
            else:
                sent.acknowledge()
        for task in (first, second):
            with pytest.raises(ConnectionError):
                await task

    happened = run(cluster, body)
    assert happened.count("1 begin") == 1
    assert "1 commit" not in happened


def test_a_transaction_that_is_refused_between_two_topics_says_what_was_refused() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        manager = TransactionManager("nextact.shop.events.1", 1000)
        manager.set_pid_and_epoch(1, 1)
        producer: Any = delivery._producers[1]
        queue = producer.send_batch
        producer._txn_manager = manager

        async def refused_after_the_first(builder: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
            if topic != PREDICTIONS:
                raise IllegalOperation("not in transaction")
            manager.begin_transaction()
            manager.fatal_error(TransactionalIdAuthorizationFailed("nextact.shop.events.1"))
            acknowledged: asyncio.Future[Any] = await queue(builder, topic, partition=partition)
            return acknowledged

        producer.send_batch = refused_after_the_first
        with pytest.raises(AuthorizationFailed, match="right to Write on transactional id 'nextact"):
            await deliver(delivery, batch(), range(2))

    assert "1 commit" not in run(Cluster(), body)


def test_batches_of_a_partition_follow_each_other_and_partitions_do_not_wait() -> None:
    cluster = Cluster(at_once=False)

    async def body(delivery: ExactlyOnce) -> None:
        first = asyncio.create_task(deliver(delivery, batch(0), range(2)))
        second = asyncio.create_task(deliver(delivery, batch(1), range(2, 4)))
        other = asyncio.create_task(deliver(delivery, batch(2, partition=2), range(2)))
        await settled()
        assert cluster.happened.count("1 begin") == 1
        for sent in cluster.producers[1].sent:
            sent.acknowledge()
        await other
        assert "1 commit" not in cluster.happened
        for sent in cluster.producers[0].sent:
            sent.acknowledge()
        await settled()
        for sent in cluster.producers[0].sent[3:]:
            sent.acknowledge()
        await asyncio.gather(first, second)

    happened = [entry for entry in run(cluster, body) if entry.startswith("1 ") and entry[2:] in ("begin", "commit")]
    assert happened == ["1 begin", "1 commit"] * 2


def test_others_are_locked_out_before_the_committed_offsets_are_read() -> None:
    cluster = Cluster()

    async def body(delivery: ExactlyOnce) -> None:
        await delivery.assigned([2, 3])

    run(cluster, body)
    assert cluster.happened[:6] == [
        "1 stopped",
        "2 stopped",
        "2 locked the others out",
        "3 locked the others out",
        "2 asked for its offset",
        "3 asked for its offset",
    ]


@pytest.mark.parametrize("offsets", [range(4, 8), range(6, 7)])
def test_offsets_answered_before_the_assignment_are_not_answered_again(offsets: range) -> None:
    async def body(delivery: ExactlyOnce) -> None:
        with pytest.raises(DataPathError, match=f"answered up to offset 7, and offset {offsets.start} came again"):
            await deliver(delivery, batch(), offsets)

    assert run(Cluster(committed={1: 7}), body) == []


def test_offsets_answered_in_a_transaction_are_not_answered_again() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        await deliver(delivery, batch(0), range(7, 9))
        await deliver(delivery, batch(1), range(12, 13))  # offsets without records between them
        with pytest.raises(DataPathError, match="answered up to offset 13, and offset 12 came again"):
            await deliver(delivery, batch(2), range(12, 20))

    assert run(Cluster(committed={1: 7}), body).count("1 commit") == 2


def test_a_partition_that_was_given_away_cannot_be_answered() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        await delivery.assigned([2])
        with pytest.raises(DataPathError, match="partition 1 of the events was given away"):
            await deliver(delivery, batch(), range(2))

    assert "1 begin" not in run(Cluster(), body)


def test_each_partition_has_an_id_of_its_own_whoever_owns_it() -> None:
    cluster = Cluster()

    async def body(_: ExactlyOnce) -> None: ...

    run(cluster, body, assigned=tuple(ALL))
    assert [producer.options["transactional_id"] for producer in cluster.producers] == [
        f"nextact.shop.events.{partition}" for partition in ALL
    ]
    assert transactional_id(SETTINGS, 3) == "nextact.shop.events.3"
    for producer in cluster.producers:
        assert producer.options["acks"] == "all"
        assert producer.options["max_request_size"] == LARGEST_DEAD_LETTER
        assert 10_000 < producer.options["transaction_timeout_ms"] <= 900_000
