"""Exactly once, on a real broker: workers that die or hang in the middle of a transaction, and what readers see."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice, takewhile

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from model.state.user_record import unpack
from model.state.user_states import EVENT_ID_WINDOW
from stream_app.contract.predictions import decode_prediction
from stream_app.kafka.clients import new_consumer, new_producer
from stream_app.kafka.pace import Pace
from stream_app.kafka.publisher import publish
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.principals import allow, reader_of
from tests.integration.running import Running
from tests.integration.test_end_to_end import Seen, Start, expected_lengths, shop_events, wait_answered
from tests.integration.topics import read_all, send_all

pytestmark = pytest.mark.broker

ADA = (b"ada", b'{"user_id":"ada","type":"view","item_id":"shoe"}')


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"delivery": "exactly-once"})


@contextmanager
def load(settings: Settings) -> Iterator[None]:
    """A shop's events, 200 a second, for as long as it is open; then some more, and all are published."""
    closed = threading.Event()
    events = iter(shop_events(20_000))
    paced = chain(takewhile(lambda _: not closed.is_set(), events), islice(events, 200))
    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(
            lambda: asyncio.run(publish(paced, kafka=settings, topic=settings.events_topic, pace=Pace(rate=200.0)))
        )
        try:
            yield
        finally:
            closed.set()
            publishing.result(60)


async def ends(settings: Settings, topic: str, isolation: str) -> dict[TopicPartition, int]:
    async with new_consumer(settings, reader_of(settings, topic), isolation_level=isolation) as consumer:
        return dict(await consumer.end_offsets([TopicPartition(topic, n) for n in range(settings.partitions)]))


def transaction_open(settings: Settings) -> bool:
    """Whether a prediction is written of which nobody knows yet whether it holds."""
    topic = settings.predictions_topic
    return asyncio.run(ends(settings, topic, "read_committed")) != asyncio.run(
        ends(settings, topic, "read_uncommitted")
    )


def freeze_in_transaction(worker: Running, settings: Settings) -> None:
    """Stops a busy worker at a moment when it has written predictions and not committed them."""
    deadline = time.monotonic() + 30
    rng = random.Random(1)
    while time.monotonic() < deadline:
        worker.freeze()
        if transaction_open(settings):
            return
        worker.thaw()
        time.sleep(rng.uniform(0.02, 0.2))
    pytest.fail(f"never in a transaction:\n{worker.tail()}")


def assert_exactly_once(seen: Seen, settings: Settings) -> None:
    """Each event one answer, each user's state that of all its events, the group at the end of the events."""
    assert seen.answered() == {(record.partition, record.offset): 1 for record in seen.events}
    lengths = expected_lengths(seen.events)
    last: dict[tuple[int, bytes], int] = {}
    for record, prediction in seen.predictions:
        source = prediction.source
        assert prediction.history_length == lengths[source.partition, source.offset]
        last[source.partition, record.key] = max(source.offset, last.get((source.partition, record.key), 0))
    expected = {user: (offset, lengths[user[0], offset]) for user, offset in last.items()}
    assert final_states(settings) == expected
    assert asyncio.run(committed(settings)) == asyncio.run(ends(settings, settings.events_topic, "read_committed"))


def final_states(settings: Settings) -> dict[tuple[int, bytes], tuple[int, int]]:
    """By partition and user: the offset of the last event and the number of events in the newest record."""
    states = {}
    for record in read_all(settings, settings.state_topic):
        (row,) = unpack([record.value], epoch=settings.stream_epoch, hidden=settings.hidden, ids=EVENT_ID_WINDOW).rows
        states[record.partition, record.key] = (int(row["offset"]), int(row["count"]))
    return states


async def committed(settings: Settings) -> dict[TopicPartition, int]:
    async with new_consumer(settings, "worker", group_id=settings.group) as consumer:
        partitions = [TopicPartition(settings.events_topic, n) for n in range(settings.partitions)]
        consumer.assign(partitions)
        return {partition: await consumer.committed(partition) or 0 for partition in partitions}


def test_workers_killed_in_transactions_leave_each_event_one_answer(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    workers = []
    with load(settings):
        for _ in range(3):
            workers.append(worker := start("worker"))
            worker.wait_ready()
            worker.wait_until(lambda worker=worker: worker.metric("nextact_predictions_total", "rules") > 0)  # type: ignore[misc]
            freeze_in_transaction(worker, settings)
            worker.kill()
        last = start("worker")
        last.wait_ready()
    seen = wait_answered(last, settings)
    assert last.terminate() == 0

    assert_exactly_once(seen, settings)
    everything = read_all(settings, settings.predictions_topic, isolation="read_uncommitted")
    assert len(everything) > len(seen.predictions), "no aborted transaction: nothing was tested"
    for worker in (*workers, last):  # which the broker says when it is asked two things about a transaction at once
        assert "NotEnoughReplicas" not in worker.log.read_text()


def test_a_worker_that_hangs_in_a_transaction_is_locked_out(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    with load(settings):
        zombie = start("worker")
        zombie.wait_ready()
        zombie.wait_until(lambda: zombie.metric("nextact_predictions_total", "rules") > 0)
        freeze_in_transaction(zombie, settings)
        heir = start("worker")
        heir.wait_ready()
        heir.wait_until(lambda: heir.metric("nextact_partitions") == settings.partitions)
        heir.wait_until(
            lambda: not transaction_open(settings) or heir.metric("nextact_predictions_total", "rules") > 500
        )
        zombie.thaw()
        assert zombie.wait(30) == 70, zombie.tail()
        assert "ProducerFenced" in zombie.log.read_text()
    seen = wait_answered(heir, settings)
    assert heir.terminate() == 0

    assert_exactly_once(seen, settings)


def other_writer(settings: Settings) -> AIOKafkaProducer:
    """Somebody else who may write to the changelog, in transactions."""
    name = f"{settings.group}.test"
    allow(settings, "worker", "Write", "TransactionalId", name)
    return new_producer(settings, "worker", transactional_id=name)


async def write_in_transaction(settings: Settings, partitions: Sequence[int], *, commit: bool) -> None:
    """One record that nobody can read as a user, to the changelog, in a transaction of somebody else."""
    async with other_writer(settings) as producer:
        await producer.begin_transaction()
        for partition in partitions:
            await producer.send_and_wait(settings.state_topic, b"damage", b"nobody", partition=partition)
        await (producer.commit_transaction if commit else producer.abort_transaction)()


def test_recovery_ends_where_the_changelog_ends_in_markers(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, [ADA] * 3)
    worker = start("worker")
    worker.wait_ready()
    seen = wait_answered(worker, settings)
    assert worker.terminate() == 0
    (home,) = {record.partition for record in seen.events}
    empty = (home + 1) % settings.partitions  # will have nothing but markers and aborted records

    committed_end = start("worker")  # ada's partition ends with the marker of a commit
    committed_end.wait_ready()
    assert committed_end.terminate() == 0
    asyncio.run(write_in_transaction(settings, [home, empty], commit=False))
    aborted_end = start("worker")
    aborted_end.wait_ready()
    send_all(settings, [ADA])
    lengths = [prediction.history_length for _, prediction in wait_answered(aborted_end, settings).predictions]
    assert lengths == [1, 2, 3, 4]


def test_recovery_waits_for_an_open_transaction_and_reads_what_lies_behind(settings: Settings, start: Start) -> None:
    settings = settings.model_copy(update={"delivery": "at-least-once"})
    asyncio.run(ensure_topics(settings))
    first = start("worker", "--delivery", "at-least-once")
    first.wait_ready()
    asyncio.run(recover_behind_a_transaction(settings, first, start))


async def recover_behind_a_transaction(settings: Settings, first: Running, start: Start) -> None:
    async with other_writer(settings) as producer:
        await producer.begin_transaction()
        for partition in range(settings.partitions):
            await producer.send_and_wait(settings.state_topic, b"damage", b"nobody", partition=partition)
        await asyncio.to_thread(send_all, settings, [ADA] * 3)  # its changelog record lies behind the open transaction
        await asyncio.to_thread(wait_answered, first, settings)
        assert await asyncio.to_thread(first.terminate) == 0
        second = start("worker", "--delivery", "at-least-once", "--log-level", "debug")  # to see it recover
        await asyncio.to_thread(
            second.wait_until,
            lambda: "Restoring state" in second.log.read_text() or second.metric("nextact_ready") == 1,
        )
        await producer.abort_transaction()
    await asyncio.to_thread(second.wait_ready)
    await asyncio.to_thread(send_all, settings, [ADA])
    seen = await asyncio.to_thread(wait_answered, second, settings)
    assert [prediction.history_length for _, prediction in seen.predictions] == [1, 2, 3, 4]


def test_the_guarantee_can_be_changed_on_the_same_topics(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(2000)
    for place, guarantee in enumerate(("at-least-once", "exactly-once", "at-least-once", "exactly-once")):
        send_all(settings, events[500 * place : 500 * (place + 1)])
        worker = start("worker", "--delivery", guarantee)
        worker.wait_ready()
        seen = wait_answered(worker, settings)
        assert worker.terminate() == 0
    assert_exactly_once(seen, settings)
    for record in read_all(settings, settings.predictions_topic):
        assert decode_prediction(record.value).source.partition == record.partition
