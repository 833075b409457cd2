"""Users beyond memory, and what a worker finds on its disk: on a real broker, with real processes."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner

from stream_app.kafka.clients import new_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.simulate import Shop, with_duplicates
from stream_app.settings import Settings
from tests.integration.running import Running
from tests.integration.test_end_to_end import Seen, expected_lengths, wait_answered
from tests.integration.topics import Record, read_all, send_all

pytestmark = pytest.mark.broker

Start = Callable[..., Running]
FEW = 20  # users in memory, of more than ten times as many
BATCH = 10  # events: no batch needs more users than fit


def shop_events(count: int, seed: int = 11) -> list[Any]:
    shop = Shop(seed, start=1_700_000_000, rate=400, items=80, users=300)
    return list(with_duplicates(shop.events(count), 0.05, random.Random(seed)))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    changed = settings.model_copy(update={"users_in_memory": FEW, "batch_size": BATCH, "in_flight": 2})
    asyncio.run(ensure_topics(changed))
    return changed


def stores(settings: Settings, worker: int = 0) -> list[Path]:
    """The partitions' folders of a worker."""
    return sorted((settings.data_dir / "states" / settings.state_topic / str(worker)).glob("[0-9]*"))


def started(start: Start, **changes: Any) -> Running:
    worker = start("worker", **changes)
    worker.wait_ready()
    return worker


def stop(worker: Running) -> None:
    assert worker.terminate() == 0, worker.tail()


def left_behind(settings: Settings, start: Start) -> list[Any]:
    """Has a worker answer the first events of a shop and end; the events that come next."""
    events = shop_events(800)
    send_all(settings, events[:600])
    worker = started(start)
    wait_answered(worker, settings)
    stop(worker)
    return events[600:]


def check(seen: Seen) -> None:
    """Every prediction knows exactly the events that its user has had."""
    lengths = expected_lengths(seen.events)
    assert {(p.source.partition, p.source.offset) for _, p in seen.predictions} == lengths.keys()
    for _, prediction in seen.predictions:
        assert prediction.history_length == lengths[prediction.source.partition, prediction.source.offset]


def changelog_size(settings: Settings) -> int:
    return len(read_all(settings, settings.state_topic))


def test_users_leave_memory_and_come_back_as_they_were_and_restarts_read_the_tail_only(
    settings: Settings, start: Start
) -> None:
    events = shop_events(1500)
    send_all(settings, events[:1000])
    first = started(start)
    seen = wait_answered(first, settings)
    check(seen)
    assert len({p.user_id for _, p in seen.predictions}) > 10 * FEW
    assert first.metric("nextact_evicted_users_total") > first.metric("nextact_returned_users_total") > FEW
    assert first.metric("nextact_users") <= FEW * settings.in_flight
    stop(first)

    second = started(start)
    assert second.metric("nextact_recovered_records_total") <= settings.partitions  # Faust reads the last one again
    send_all(settings, events[1000:1250])
    wait_answered(second, settings)
    second.kill()

    third = started(start)
    tail = third.metric("nextact_recovered_records_total")
    assert 200 < tail < changelog_size(settings) / 2  # since the clean stop, for nothing was flushed after it
    send_all(settings, events[1250:])
    check(wait_answered(third, settings))


@pytest.mark.parametrize("deleted", [True, False])
def test_a_store_that_is_deleted_or_damaged_is_made_anew(settings: Settings, start: Start, deleted: bool) -> None:
    events = left_behind(settings, start)
    assert len(stores(settings)) == settings.partitions
    for folder in stores(settings):
        if deleted:
            shutil.rmtree(folder)
        else:
            (folder / "CURRENT").write_bytes(b"nonsense")

    second = started(start)
    assert second.log.read_text().count("is rebuilt from the changelog: it is damaged") == (0 if deleted else 4)
    assert second.metric("nextact_recovered_records_total") >= changelog_size(settings)
    send_all(settings, events)
    check(wait_answered(second, settings))


def test_damage_that_shows_later_ends_the_worker_and_the_next_one_makes_the_store_anew(
    settings: Settings, start: Start
) -> None:
    events = left_behind(settings, start)
    largest = max(settings.data_dir.rglob("*.sst"), key=lambda table: table.stat().st_size)
    content = largest.read_bytes()
    quarter = len(content) // 4
    largest.write_bytes(content[:quarter] + b"\xff" * (2 * quarter) + content[3 * quarter :])

    second = start("worker")
    send_all(settings, events)
    assert second.wait(60) == 70, second.tail()
    assert f"the local store of partition {largest.parent.name} is damaged" in second.log.read_text()
    third = started(start)
    check(wait_answered(third, settings))


def test_a_standby_follows_and_answers_when_the_active_one_is_killed(settings: Settings, start: Start) -> None:
    events = shop_events(1200)
    first = started(start, standby_replicas=1)
    second = started(start, standby_replicas=1)
    half = settings.partitions // 2
    first.wait_until(
        lambda: [each.metric("nextact_partitions") for each in (first, second)] == [half, half], needs=(second,)
    )
    send_all(settings, events[:900])
    wait_answered(first, settings)
    lost = {int(partition) for partition in first.labels("nextact_lag_events", "partition")}
    written = sum(record.partition in lost for record in read_all(settings, settings.state_topic))
    assert len(lost) == half
    second.wait_until(lambda: second.metric("nextact_recovered_records_total") >= written)

    first.kill()
    second.wait_until(lambda: second.metric("nextact_partitions") == settings.partitions)
    second.wait_ready()
    send_all(settings, events[900:])
    check(wait_answered(second, settings))
    again = second.metric("nextact_recovered_records_total") - written
    assert again <= settings.partitions  # Faust reads the last one again


def view(settings: Settings, user: str) -> None:
    send_all(settings, [(user.encode(), f'{{"user_id":"{user}","type":"view","item_id":"i"}}'.encode())])


def neighbour(user: str, partitions: int) -> str:
    """Another user of the same partition."""
    numbers = list(range(partitions))
    place, taken = DefaultPartitioner(), DefaultPartitioner()(user.encode(), numbers, numbers)
    return next(name for n in count() if place((name := f"other {n}").encode(), numbers, numbers) == taken)


async def write_as_another_worker(settings: Settings, user: str, record: Record) -> None:
    async with new_producer(settings, "worker") as producer:
        await producer.send_and_wait(settings.state_topic, record.value, user.encode(), partition=record.partition)


def test_a_restart_reads_what_another_worker_wrote_between_our_own_records(settings: Settings, start: Start) -> None:
    # A worker that has lost a partition without knowing may still get a batch through, behind its next owner's.
    other = neighbour("ada", settings.partitions)
    first = started(start)
    view(settings, "ada")
    wait_answered(first, settings)
    (record,) = read_all(settings, settings.state_topic)
    asyncio.run(write_as_another_worker(settings, other, record))
    view(settings, "ada")
    wait_answered(first, settings)
    stop(first)

    second = started(start)
    view(settings, other)
    seen = wait_answered(second, settings)
    assert [(p.user_id, p.history_length) for _, p in seen.predictions] == [("ada", 1), ("ada", 2), (other, 2)]


def test_users_outlive_another_hidden_size_and_damaged_records(settings: Settings, start: Start) -> None:
    async def damage(users: list[str]) -> None:
        async with new_producer(settings, "worker") as producer:
            for user in users:
                await producer.send_and_wait(settings.state_topic, b"\1 not a record", user.encode())

    events = left_behind(settings, start)
    known = next(event["user_id"] for event in events)
    asyncio.run(damage(["stray", known]))  # of the known one the sound record on the disk counts
    wider = started(start, hidden=2 * settings.hidden)
    stray = {"user_id": "stray", "type": "view", "item_id": "i"}
    send_all(settings, [*events, stray | {"event_id": "first"}])
    check(wait_answered(wider, settings))
    assert wider.metric("nextact_damaged_users_total") == 2
    stop(wider)

    shutil.rmtree(settings.data_dir / "states")  # all from the changelog, whose records are of two sizes
    third = started(start)
    send_all(settings, [stray | {"event_id": "second"}])
    check(wait_answered(third, settings))
