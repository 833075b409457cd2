"""Logs with holes, on a real broker: aborted transactions, deleted records, offsets that the log does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from stream_app.contract.predictions import decode_prediction
from stream_app.kafka.clients import new_admin, new_consumer, new_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.principals import allow
from tests.integration.running import Running
from tests.integration.test_end_to_end import Start
from tests.integration.topics import read_all

pytestmark = pytest.mark.broker

MODES = ["at-least-once", "exactly-once"]


def event(user: str, item: str = "shoe") -> tuple[bytes, bytes]:
    return user.encode(), f'{{"user_id":"{user}","type":"view","item_id":"{item}"}}'.encode()


async def write(
    settings: Settings, partitions: Iterable[int], events: Sequence[tuple[bytes, bytes]], *, transaction: str = ""
) -> None:
    """Writes events to each of the partitions; with `transaction` ("commit" or "abort") in one that ends so."""
    options = {"transactional_id": f"{settings.group}-publisher"} if transaction else {}
    if transaction:
        allow(settings, "publisher", "Write", "TransactionalId", options["transactional_id"])
    async with new_producer(settings, "publisher", **options) as producer:
        if transaction:
            await producer.begin_transaction()
        for partition in partitions:
            for key, value in events:
                await producer.send_and_wait(settings.events_topic, key=key, value=value, partition=partition)
        if transaction == "abort":
            await producer.abort_transaction()
        elif transaction:
            await producer.commit_transaction()


async def delete_before(settings: Settings, offset: int) -> None:
    """Deletes the records before an offset, in partition 0."""
    allow(settings, "operator", "Delete", "Topic", settings.events_topic)
    admin = new_admin(settings, "operator")
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(settings.events_topic, 0): RecordsToDelete(offset)})
    finally:
        await admin.close()


async def make_anew(settings: Settings) -> None:
    """Deletes the events topic and makes it again."""
    allow(settings, "operator", "Delete", "Topic", settings.events_topic)
    admin = new_admin(settings, "operator")
    await admin.start()
    try:
        await admin.delete_topics([settings.events_topic])
        while settings.events_topic in await admin.list_topics():  # noqa: ASYNC110 - nothing says when it is gone
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
    await ensure_topics(settings)


async def commit(settings: Settings, offset: int) -> None:
    """Commits an offset of partition 0 for the group, as if a worker had come so far."""
    tp = TopicPartition(settings.events_topic, 0)
    async with new_consumer(settings, "worker", group_id=settings.group) as consumer:
        consumer.assign([tp])
        await consumer.commit({tp: offset})


async def committed(settings: Settings) -> list[int | None]:
    """The group's offsets, by partition."""
    tps = [TopicPartition(settings.events_topic, number) for number in range(settings.partitions)]
    async with new_consumer(settings, "worker", group_id=settings.group) as consumer:
        consumer.assign(tps)
        return [await consumer.committed(tp) for tp in tps]


def answered(settings: Settings) -> list[tuple[int, int]]:
    """Partition and offset of each event with an answer, as often as it has one."""
    sources = [decode_prediction(record.value).source for record in read_all(settings, settings.predictions_topic)]
    return sorted((source.partition, source.offset) for source in sources)


def wait_predictions(worker: Running, count: int) -> None:
    worker.wait_until(lambda: worker.metric("nextact_predictions_total", "rules") >= count)


def missed(worker: Running, reason: str) -> float:
    return worker.metric("nextact_missed_records_total", reason)


@pytest.mark.parametrize("mode", MODES)
def test_offsets_without_records_pass_a_worker_that_has_caught_up(settings: Settings, start: Start, mode: str) -> None:
    """An aborted transaction once ended every worker that had caught up."""
    everywhere = range(settings.partitions)
    asyncio.run(ensure_topics(settings))
    asyncio.run(write(settings, everywhere, [event("ada")]))
    worker = start("worker", delivery=mode)
    worker.wait_ready()
    wait_predictions(worker, 4)
    asyncio.run(write(settings, everywhere, [event("eve")] * 2, transaction="abort"))
    # The offsets are committed, although no event came: lag is not stuck, and retention that takes them is no loss.
    worker.wait_until(lambda: asyncio.run(committed(settings)) == [4] * settings.partitions)
    asyncio.run(write(settings, everywhere, [event("bob")], transaction="commit"))
    asyncio.run(write(settings, everywhere, [event("ada")]))
    wait_predictions(worker, 12)
    worker.wait_until(lambda: asyncio.run(committed(settings)) == [7] * settings.partitions)
    assert worker.terminate() == 0
    assert answered(settings) == [(partition, offset) for partition in everywhere for offset in (0, 4, 6)]


@pytest.mark.parametrize("mode", MODES)
def test_records_deleted_while_no_worker_ran_are_counted(settings: Settings, start: Start, mode: str) -> None:
    asyncio.run(ensure_topics(settings))
    asyncio.run(write(settings, [0], [event("ada")] * 10))
    asyncio.run(commit(settings, 2))
    asyncio.run(delete_before(settings, 7))
    worker = start("worker", delivery=mode)
    worker.wait_ready()
    wait_predictions(worker, 3)
    assert missed(worker, "retention") == 5
    assert "offsets 2 to 6 were deleted before they were answered" in worker.log.read_text()
    assert worker.terminate() == 0
    assert answered(settings) == [(0, 7), (0, 8), (0, 9)]


def test_what_was_deleted_before_the_first_worker_came_is_not_missed(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    asyncio.run(write(settings, [0], [event("ada")] * 3))
    asyncio.run(delete_before(settings, 1))
    worker = start("worker")
    worker.wait_ready()
    wait_predictions(worker, 2)
    assert missed(worker, "retention") == 0


def test_records_deleted_under_a_worker_that_lags_are_counted(settings: Settings, start: Start) -> None:
    """It once ended, saying that Faust had lost them."""
    asyncio.run(ensure_topics(settings))
    asyncio.run(write(settings, [0], [event("ada")]))
    worker = start("worker")
    worker.wait_ready()
    wait_predictions(worker, 1)
    worker.freeze()
    asyncio.run(write(settings, [0], [event("bob")] * 9))
    asyncio.run(delete_before(settings, 10))  # the fetch that waits at the broker may have some of them
    asyncio.run(write(settings, [0], [event("ada")] * 2))
    worker.thaw()
    worker.wait_until(lambda: asyncio.run(committed(settings))[0] == 12)
    found = answered(settings)
    assert found[-2:] == [(0, 10), (0, 11)]
    assert len(found) + missed(worker, "retention") == 12
    assert missed(worker, "retention") > 0
    assert worker.terminate() == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_committed_offset_beyond_the_end_of_the_log_ends_nothing(settings: Settings, start: Start, mode: str) -> None:
    """It once was a crash loop, until the log had grown past that offset: all events before were then lost."""
    asyncio.run(ensure_topics(settings))
    asyncio.run(write(settings, [0], [event("ada")] * 10))
    asyncio.run(commit(settings, 1000))
    worker = start("worker", delivery=mode)
    worker.wait_ready()
    worker.wait_until(lambda: missed(worker, "truncated") == 990)
    assert "the log ends at offset 10, but offset 1000 was reached before" in worker.log.read_text()
    asyncio.run(write(settings, [0, 1], [event("ada"), event("bob")]))
    wait_predictions(worker, 4)
    worker.wait_until(lambda: asyncio.run(committed(settings))[:2] == [12, 2])
    assert worker.terminate() == 0
    assert answered(settings) == [(0, 10), (0, 11), (1, 0), (1, 1)]


@pytest.mark.parametrize("mode", MODES)
def test_users_who_know_later_offsets_than_a_cut_log_are_answered(settings: Settings, start: Start, mode: str) -> None:
    """The topic is made anew under the group's offsets: to the users' states its events would be replays."""
    asyncio.run(ensure_topics(settings))
    asyncio.run(write(settings, [0], [event("ada")] * 20 + [event("bob")] * 3))
    worker = start("worker", delivery=mode)
    worker.wait_ready()
    wait_predictions(worker, 23)
    worker.wait_until(lambda: asyncio.run(committed(settings))[0] == 23)
    assert worker.terminate() == 0
    asyncio.run(make_anew(settings))
    asyncio.run(commit(settings, 23))
    asyncio.run(write(settings, [0], [event("ada")] * 2))

    worker = start("worker", delivery=mode)
    worker.wait_ready()
    worker.wait_until(lambda: missed(worker, "truncated") == 21)
    asyncio.run(write(settings, [0], [event("ada"), event("bob"), event("eve")]))
    wait_predictions(worker, 3)
    worker.kill()  # the next one finds the cut where the users are
    last = start("worker", delivery=mode, data_dir=settings.data_dir / "other")
    last.wait_ready()
    asyncio.run(write(settings, [0], [event("ada")]))
    last.wait_until(lambda: asyncio.run(committed(settings))[0] == 6)
    assert missed(last, "truncated") == 0
    assert last.terminate() == 0
    predictions = [decode_prediction(record.value) for record in read_all(settings, settings.predictions_topic)]
    new = {one.source.offset: (one.user_id, one.history_length) for one in predictions[23:]}
    assert new == {2: ("ada", 21), 3: ("bob", 4), 4: ("eve", 1), 5: ("ada", 22)}
    assert len({one.prediction_id for one in predictions}) == 27, "who drops repeated ids would drop new predictions"


@pytest.mark.parametrize("mode", MODES)
def test_a_topic_made_anew_is_answered_from_its_first_event(settings: Settings, start: Start, mode: str) -> None:
    """Kafka deletes the group's offsets with the topic, but the users stay: all would be replays to them."""
    asyncio.run(ensure_topics(settings))
    asyncio.run(write(settings, [0], [event("ada")] * 9 + [event("bob")]))
    worker = start("worker", delivery=mode)
    worker.wait_ready()
    wait_predictions(worker, 10)
    worker.wait_until(lambda: asyncio.run(committed(settings))[0] == 10)
    assert worker.terminate() == 0
    asyncio.run(make_anew(settings))
    asyncio.run(write(settings, [0, 1], [event("ada"), event("eve")]))
    worker = start("worker", delivery=mode)
    worker.wait_ready()
    worker.wait_until(lambda: asyncio.run(committed(settings))[:2] == [2, 2])
    assert worker.terminate() == 0
    predictions = [decode_prediction(record.value) for record in read_all(settings, settings.predictions_topic)]
    assert [(one.user_id, one.history_length) for one in predictions[10:]] == [
        *(("ada", 10), ("eve", 1)),
        *(("ada", 1), ("eve", 1)),  # on the other partition
    ]
