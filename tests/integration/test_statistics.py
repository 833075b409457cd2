"""Counting events for the statistics, on a real broker: one of several does it, each event once, whoever is killed."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import pytest

from stream_app.contract.access import topics_of
from stream_app.kafka.clients import new_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.statistics.position import KEY, read_position
from tests.integration.running import Running
from tests.integration.topics import read_all, send_all

pytestmark = pytest.mark.broker

Start = Callable[..., Running]
ITEMS = 50


@pytest.fixture
def writer(settings: Settings, start: Start) -> Callable[[], Running]:
    """Starts a process that counts exactly, or stands by."""
    asyncio.run(ensure_topics(settings))
    return lambda: start("statistics", module="tests.integration.exact_statistics")


def events(count: int, rng: random.Random) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(count):
        user = f"user {rng.randrange(20)}"
        yield user.encode(), b'{"user_id":"%s","type":"view","item_id":"%d"}' % (user.encode(), rng.randrange(ITEMS))


class Log:
    """What was published, counted as the statistics should."""

    def __init__(self, settings: Settings) -> None:
        self.counts: Counter[bytes] = Counter()
        self._settings, self._rng = settings, random.Random(1)

    def send(self, count: int) -> None:
        sent = list(events(count, self._rng))
        self.counts.update(value.split(b'"')[-2] for _, value in sent)
        send_all(self._settings, sent)


def written(settings: Settings) -> tuple[Counter[bytes], int]:
    """The newest committed counts, and the sum of the offsets that belong to them."""
    newest = {record.key: record.value for record in read_all(settings, settings.statistics_topic, 1)}
    position = read_position(newest.pop(KEY, b"{}"))
    return Counter({key: int(value) for key, value in newest.items()}), sum(
        (position.offsets if position else {}).values()
    )


def the_leader(*processes: Running) -> Running | None:
    return next((process for process in processes if process.metric("nextact_statistics_leader") == 1), None)


def wait_leader(*processes: Running) -> Running:
    processes[0].wait_until(lambda: the_leader(*processes) is not None)
    leader = the_leader(*processes)
    assert leader is not None
    return leader


def wait_counted(settings: Settings, log: Log, process: Running) -> None:
    process.wait_until(lambda: written(settings)[0].total() >= log.counts.total(), every=0.3)
    counts, offsets = written(settings)
    assert counts == log.counts
    assert offsets == log.counts.total()


def test_each_event_is_counted_once_whoever_is_killed(settings: Settings, writer: Callable[[], Running]) -> None:
    log = Log(settings)
    log.send(3000)
    running = [writer(), writer()]
    for process in running:
        process.wait_ready()
    for _ in range(2):
        leader = wait_leader(*running)
        for _ in range(4):
            log.send(400)
        leader.kill()  # in the middle of it, or of a transaction
        running.remove(leader)
        running.append(writer())
        log.send(400)
        wait_counted(settings, log, running[0])


def test_who_was_taken_for_dead_writes_nothing_more(settings: Settings, writer: Callable[[], Running]) -> None:
    log = Log(settings)
    log.send(100)
    first = writer()
    wait_counted(settings, log, first)
    second = writer()
    second.wait_ready()
    assert the_leader(first, second) is first, "who leads goes on when others join"
    log.send(100)
    first.freeze()
    wait_leader(second)
    wait_counted(settings, log, second)
    first.thaw()
    log.send(100)
    wait_counted(settings, log, second)
    log.send(100)
    wait_counted(settings, log, second)


def test_a_restart_goes_on_where_it_ended_and_readers_learn_that_somebody_counts(
    settings: Settings, writer: Callable[[], Running]
) -> None:
    log = Log(settings)
    log.send(200)
    first = writer()
    wait_counted(settings, log, first)
    before = time.time()
    assert first.metric("nextact_statistics_age_seconds") < 15
    assert first.terminate() == 0
    log.send(200)
    second = writer()
    wait_counted(settings, log, second)
    assert second.metric("nextact_statistics_events_total") == 200, "those before were not counted again"
    values = [record.value for record in read_all(settings, settings.statistics_topic, 1) if record.key == KEY]
    position = read_position(values[-1])
    assert position is not None
    assert position.until / 1000 > before


def test_what_is_aborted_is_not_counted(settings: Settings, writer: Callable[[], Running]) -> None:
    log = Log(settings)
    log.send(10)

    async def abort(number: int) -> None:
        async with new_producer(settings, "publisher", transactional_id=f"{settings.group}-{number}") as producer:
            await producer.begin_transaction()
            for key, value in events(20, random.Random(number)):
                await producer.send_and_wait(settings.events_topic, value, key)
            await producer.abort_transaction()

    asyncio.run(abort(1))
    log.send(10)
    process = writer()
    process.wait_until(lambda: written(settings)[0] == log.counts, every=0.3)
    asyncio.run(abort(2))
    log.send(10)
    process.wait_until(lambda: written(settings)[0] == log.counts, every=0.3)


def test_a_stream_made_anew_is_counted_from_its_beginning(
    settings: Settings, writer: Callable[[], Running], start: Start
) -> None:
    log = Log(settings)
    log.send(50)
    first = writer()
    wait_counted(settings, log, first)
    assert first.terminate() == 0
    second = start("statistics", module="tests.integration.exact_statistics", stream_epoch=2)
    second.wait_until(lambda: written(settings)[0].total() == 100, every=0.3)
    assert "the statistics begin with the oldest events" in second.log.read_text()


def test_every_worker_knows_an_item_within_seconds_and_after_a_restart(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    names = ("one", "two")
    workers = [start("worker", data_dir=settings.data_dir / name) for name in names]
    counting = start("statistics")
    for process in (*workers, counting):
        process.wait_ready(120)
    wait_leader(counting)
    send_all(settings, [(b"ada", b'{"user_id":"ada","type":"view","item_id":"new"}')])
    sent = time.monotonic()
    workers[0].wait_until(
        lambda: all(worker.metric("nextact_statistics_items") == 1 for worker in workers), needs=[*workers, counting]
    )
    assert time.monotonic() - sent < 10, "5 s are promised, and this machine is busy"
    assert all(worker.metric("nextact_statistics_age_seconds") < 15 for worker in workers)
    assert workers[0].terminate() == 0
    assert (settings.data_dir / "one" / "statistics" / settings.statistics_topic / "snapshot").exists()
    again = start("worker", data_dir=settings.data_dir / "one")
    again.wait_ready(120)
    assert "1 items in the statistics" in again.log.read_text()


def test_without_its_topic_a_worker_answers_as_ever(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings, "operator", *topics_of(settings, "operator") - {settings.statistics_topic}))
    worker = start("worker", create_topics=False)
    worker.wait_ready(120)
    said = [line for line in worker.log.read_text().splitlines() if "no statistics" in line]
    assert len(said) == 1, said
    assert "missing topics" in said[0]
    assert math.isnan(worker.metric("nextact_statistics_age_seconds"))
    send_all(settings, [(b"ada", b'{"user_id":"ada","type":"view","item_id":"new"}')])
    worker.wait_until(lambda: worker.metric("nextact_predictions_total", "rules") == 1)


def test_a_trainer_has_a_process_count_and_it_ends_with_the_trainer(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    trainer = start("trainer", train_min_events=1_000_000)

    def child() -> psutil.Process | None:
        found = psutil.Process(trainer.pid).children()
        return next((one for one in found if counts(one)), None)

    def counts(process: psutil.Process) -> bool:
        try:
            return "statistics" in process.cmdline()
        except psutil.NoSuchProcess:  # it has just ended
            return False

    trainer.wait_until(lambda: child() is not None)
    trainer.wait_until(lambda: bool(read_all(settings, settings.statistics_topic, 1)), 120, every=0.5)
    first = child()
    assert first is not None
    first.kill()
    trainer.wait_until(lambda: (one := child()) is not None and one.pid != first.pid)
    second = child()
    assert second is not None
    trainer.kill()
    second.wait(20)
