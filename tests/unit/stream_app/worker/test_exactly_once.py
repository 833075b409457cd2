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
from stream_app.worker import exactly_once
from stream_app.worker.delivery import DeliveryReceipt
from stream_app.worker.exactly_once import ExactlyOnce, transactional_id
from tests.unit.builders.producers import (
    CHANGELOG,
    DEAD_LETTERS,
    JOINS,
    LATEST,
    PREDICTIONS,
    PROFILES,
    SIGNALS,
    Producer,
    SentBatch,
    batch,
    deliver,
    settled,
)

SETTINGS = load_settings({"signals_topic": SIGNALS, "predictions_latest_topic": LATEST, "profile_topic": PROFILES})
ALL = range(SETTINGS.partitions)


class TransactionalProducer(Producer):
    """One partition's producer, which notes what happens."""

    def __init__(self, cluster: Cluster, options: dict[str, Any]) -> None:
        super().__init__(at_once=cluster.at_once)
        self.options = options
        self._cluster = cluster
        self._name = options["transactional_id"].rpartition(".")[2]

    def note(self, what: str) -> None:
        self._cluster.happened.append(f"{self._name} {what}")
        self._cluster.noted.set()

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
        assert group == SETTINGS.group
        for source, offset in offsets.items():
            of = {SETTINGS.events_topic: "offset", SETTINGS.joins_topic: "joins"}[source.topic]
            self.note(f"{of} {source.partition}/{offset}")

    async def commit_transaction(self) -> None:
        self.note("commit")


class Cluster:
    """What happened, by the partitions of the producers, and what the group has committed."""

    def __init__(self, *, at_once: bool = True, committed: dict[int, int] | None = None) -> None:
        self.at_once = at_once
        self.committed_offsets = committed or {}
        self.happened: list[str] = []
        self.producers: list[TransactionalProducer] = []
        self.noted = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until what producers did makes it true."""
        while not condition():
            self.noted.clear()
            await self.noted.wait()

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


def test_newest_predictions_and_profiles_are_in_the_transaction() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        await deliver(delivery, batch(dead_letters=0, changes=0, latest=1, profiles=1), range(10, 17))

    cluster = Cluster()
    happened = run(cluster, body)
    assert happened == ["1 begin", f"1 {PREDICTIONS}", f"1 {LATEST}", f"1 {PROFILES}", "1 offset 1/17", "1 commit"]
    assert [sent.partition for sent in cluster.sent] == [1, 1, 1]


def test_joins_and_the_offset_up_to_which_they_were_read_are_in_the_transaction() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        result = batch(predictions=0, dead_letters=0, joins=1)
        result.joins_read = 9
        (receipt,) = await delivery.deliver([result], {})
        assert receipt.changelog == range(42)
        await deliver(delivery, batch(predictions=0, dead_letters=0, changes=0), range(3, 5))  # no event came twice

    cluster = Cluster()
    happened = run(cluster, body)
    assert happened == [
        "1 begin",
        f"1 {CHANGELOG}",
        f"1 {JOINS}",
        "1 joins 1/9",
        "1 commit",
        "1 begin",
        "1 offset 1/5",
        "1 commit",
    ]
    (sent,) = [sent for sent in cluster.sent if sent.topic == JOINS]
    assert sent.partition == 6


def test_what_silence_says_is_a_transaction_without_an_offset() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        (receipt,) = await delivery.deliver([batch(predictions=0, dead_letters=0, signals=2)], {})
        assert receipt.changelog == range(42)

    assert run(Cluster(), body) == ["1 begin", f"1 {SIGNALS}", f"1 {CHANGELOG}", "1 commit"]


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


def test_neither_offset_nor_transaction_is_committed_before_all_is_acknowledged() -> None:
    cluster = Cluster(at_once=False)

    async def body(delivery: ExactlyOnce) -> None:
        task = asyncio.create_task(deliver(delivery, batch(), range(2)))
        await settled()
        for sent in cluster.sent:
            assert cluster.happened[-1] == f"1 {CHANGELOG}"  # neither the offset nor the commit
            sent.acknowledge()
            await settled()
        assert "1 commit" in cluster.happened
        await task

    run(cluster, body)


@pytest.mark.parametrize("failing", [PREDICTIONS, DEAD_LETTERS, CHANGELOG])
def test_after_a_refused_record_neither_its_transaction_nor_a_later_one_is_committed(failing: str) -> None:
    cluster = Cluster(at_once=False)

    async def body(delivery: ExactlyOnce) -> None:
        first = await under_way(delivery, batch(0), range(2))
        second = asyncio.create_task(deliver(delivery, batch(1), range(2, 4)))
        await settled()
        refuse(cluster, failing)
        for task in (first, second):
            with pytest.raises(ConnectionError):
                await task
        with pytest.raises(ConnectionError):
            await deliver(delivery, batch(2), range(4, 6))

    happened = run(cluster, body)
    assert happened.count("1 begin") == 1
    assert "1 commit" not in happened


@pytest.mark.parametrize("failing", [PREDICTIONS, DEAD_LETTERS, CHANGELOG])
def test_a_record_that_is_refused_fails_all_batches_of_its_transaction(failing: str) -> None:
    cluster = Cluster(at_once=False)

    async def body(delivery: ExactlyOnce) -> None:
        together = [
            asyncio.create_task(deliver(delivery, batch(number), range(number, number + 1))) for number in range(3)
        ]
        await settled()
        refuse(cluster, failing, number=1)
        for task in together:
            with pytest.raises(ConnectionError):
                await task

    happened = run(cluster, body)
    assert happened.count("1 begin") == 1
    assert not [entry for entry in happened if entry == "1 commit" or "offset" in entry]


def refuse(cluster: Cluster, failing: str, number: int = 0) -> None:
    """Refuses what batch `number` sent to a topic, and acknowledges all else."""
    for sent in cluster.sent:
        if sent is [other for other in cluster.sent if other.topic == failing][number]:
            sent.acknowledged.set_exception(ConnectionError("refused"))
        else:
            sent.acknowledge()


async def under_way(delivery: ExactlyOnce, *arguments: Any) -> asyncio.Task[DeliveryReceipt]:
    """Begins a delivery; returns when all its records are on their way."""
    task = asyncio.create_task(deliver(delivery, *arguments))
    await settled()
    return task


def test_batches_that_come_during_a_transaction_are_committed_together_in_the_next_one() -> None:
    cluster = Cluster(at_once=False)

    async def body(delivery: ExactlyOnce) -> None:
        first = await under_way(delivery, batch(0), range(2))
        later = [
            asyncio.create_task(deliver(delivery, batch(1), range(2, 4))),
            asyncio.create_task(deliver(delivery, batch(2, changes=0), range(4, 5))),
            asyncio.create_task(deliver(delivery, batch(3, changes=5), range(5, 9))),
        ]
        await settled()
        assert cluster.happened == ["1 begin", f"1 {PREDICTIONS}", f"1 {DEAD_LETTERS}", f"1 {CHANGELOG}"]
        acknowledge(cluster)
        assert (await first).changelog == range(42)
        await cluster.until(lambda: cluster.happened.count("1 begin") == 2)
        await settled()
        acknowledge(cluster)
        receipts = await asyncio.gather(*later)
        assert [receipt.changelog for receipt in receipts] == [range(44), None, range(49)]
        assert len({receipt.answered_at for receipt in receipts}) == 1

    happened = run(cluster, body)
    assert [entry for entry in happened if entry.split()[1] in ("begin", "offset", "commit")] == [
        "1 begin",
        "1 offset 1/2",
        "1 commit",
        "1 begin",
        "1 offset 1/9",
        "1 commit",
    ]
    values = [record.value for sent in cluster.producers[0].of(CHANGELOG) for record in sent.records]
    assert values == [f"change {n}.{k}".encode() for n, changes in ((0, 2), (1, 2), (3, 5)) for k in range(changes)]


def test_the_next_transaction_of_a_partition_waits_until_the_broker_has_written_the_markers_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exactly_once, "PAUSE_S", 3600.0)

    async def body(delivery: ExactlyOnce) -> None:
        await deliver(delivery, batch(0), range(1))
        waiting = asyncio.create_task(deliver(delivery, batch(1), range(1, 2)))
        await deliver(delivery, batch(2, partition=2), range(1))  # another partition does not wait
        await settled()
        waiting.cancel()

    happened = run(Cluster(), body)
    assert [entry for entry in happened if entry.endswith(("begin", "commit"))] == [
        "1 begin",
        "1 commit",
        "2 begin",
        "2 commit",
    ]


def acknowledge(cluster: Cluster) -> None:
    """Acknowledges all that has been sent."""
    for sent in cluster.sent:
        if not sent.acknowledged.done():
            sent.acknowledge()


def test_a_transaction_that_is_refused_between_two_topics_says_what_was_refused() -> None:
    async def body(delivery: ExactlyOnce) -> None:
        manager = TransactionManager("nextact.shop.events.1", 1000)
        manager.set_pid_and_epoch(1, 1)
        producer: Any = delivery._partitions[1]._producer
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
        first = await under_way(delivery, batch(0), range(2))
        second = asyncio.create_task(deliver(delivery, batch(1), range(2, 4)))
        other = await under_way(delivery, batch(2, partition=2), range(2))
        assert cluster.happened.count("1 begin") == 1
        for sent in cluster.producers[1].sent:
            sent.acknowledge()
        await other
        assert "1 commit" not in cluster.happened
        acknowledge(cluster)
        await first
        await cluster.until(lambda: cluster.happened.count("1 begin") == 2)
        await settled()
        acknowledge(cluster)
        await second

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
