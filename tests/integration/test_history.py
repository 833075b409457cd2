"""The trainer's history against the topic on a real broker: kills, retention, damage, a topic created again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from prometheus_client import CollectorRegistry

from stream_app.contract.events import decode_batch
from stream_app.errors import HistoryUnusable
from stream_app.kafka.clients import new_admin
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.trainer.recorder import EventRecorder
from stream_app.trainer.topic_reader import TopicReader
from tests.faults.trainer import kill_again_and_again, quick_rounds, transaction
from tests.integration.principals import allow
from tests.integration.running import Running, nextact
from tests.integration.test_command_line import assert_mistake
from tests.integration.test_end_to_end import shop_events
from tests.integration.topics import read_all, send_all
from tests.unit.builders.histories import files_of, offsets, rows_in, shown_in

pytestmark = pytest.mark.broker

Start = Callable[..., Running]
KILLS = 3  # `python -m tests.faults.trainer` gives the full dose


def test_a_trainer_that_is_killed_again_and_again_keeps_every_event_once(settings: Settings, tmp_path: Path) -> None:
    report = asyncio.run(kill_again_and_again(quick_rounds(settings), tmp_path, KILLS, 1, print))
    assert report["problems"] == {}
    assert report["events"] > 300
    assert report["lists"] > 3


async def ends_of(settings: Settings) -> dict[int, int]:
    topic = TopicReader(settings)
    await topic.start()
    try:
        return {partition: span.next for partition, span in (await topic.bounds()).items()}
    finally:
        await topic.stop()


async def record(settings: Settings) -> CollectorRegistry:
    """Reads all events into the history; returns the metrics of that."""
    registry = CollectorRegistry()
    events = EventRecorder(settings, TrainerMetrics(registry), lambda: 2e9)
    try:
        await events.open()
        await events.start()
        await events.read_to_end()
        events.record()
    finally:
        await events.stop()
    return registry


def record_all(settings: Settings) -> CollectorRegistry:
    return asyncio.run(record(settings))


def offsets_in_files(settings: Settings) -> Counter[tuple[int, int]]:
    return offsets(rows_in(Path(settings.history)))


def events_in_kafka(settings: Settings) -> Counter[tuple[int, int]]:
    """Counts partition and offset of each event that Kafka has."""
    records = read_all(settings, settings.events_topic)
    return Counter((record.partition, record.offset) for record in records if decode_batch([record]).events)


async def deleter(settings: Settings) -> AIOKafkaAdminClient:
    """A client that may delete the events topic and its records."""
    allow(settings, "operator", "Delete", "Topic", settings.events_topic)
    admin = new_admin(settings, "operator")
    await admin.start()
    return admin


def remove_before(settings: Settings, before: dict[int, int]) -> None:
    """Deletes records up to these offsets, as retention does."""

    async def remove() -> None:
        admin = await deleter(settings)
        try:
            topic = settings.events_topic
            await admin.delete_records({TopicPartition(topic, p): RecordsToDelete(o) for p, o in before.items()})
        finally:
            await admin.close()

    asyncio.run(remove())


def create_topic_again(settings: Settings) -> None:
    async def again() -> None:
        admin = await deleter(settings)
        try:
            await admin.delete_topics([settings.events_topic])
        finally:
            await admin.close()
        await ensure_topics(settings)

    asyncio.run(again())


def test_bad_records_and_markers_of_transactions_are_not_read_again(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(300))
    asyncio.run(transaction(settings, committed=True))
    asyncio.run(transaction(settings, committed=False))
    record_all(settings)
    (day,) = nextact("history", "list", "--json", settings=settings).stdout.splitlines()
    found = {int(partition): end for partition, end in json.loads(day)["positions"].items()}
    assert found == asyncio.run(ends_of(settings))
    again = record_all(settings)
    assert again.get_sample_value("nextact_trainer_events_total") == 0
    assert again.get_sample_value("nextact_trainer_rejected_total") == 0
    assert again.get_sample_value("nextact_history_files") == 1


def test_records_that_retention_took_before_they_were_read_are_counted(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(300))
    record_all(settings)
    before = asyncio.run(ends_of(settings))
    send_all(settings, shop_events(300, seed=8))
    remove_before(settings, {0: before[0] + 5, 1: before[1] + 2})
    before_retention = offsets_in_files(settings)
    assert record_all(settings).get_sample_value("nextact_history_missing_records_total") == 7
    assert record_all(settings).get_sample_value("nextact_history_missing_records_total") == 0
    assert offsets_in_files(settings) == before_retention | events_in_kafka(settings)


def test_retention_that_overtakes_a_trainer_that_reads_is_counted_too(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(400))
    ends = asyncio.run(ends_of(settings))

    async def overtaken() -> float | None:
        registry = CollectorRegistry()
        events = EventRecorder(settings, TrainerMetrics(registry), lambda: 2e9)
        try:
            await events.open()
            await events.start()
            await asyncio.to_thread(remove_before, settings, {0: ends[0] - 1})
            events._topic.seek(events._read)  # what was fetched ahead is fetched again
            await events.read_to_end()
            events.record()
        finally:
            await events.stop()
        return registry.get_sample_value("nextact_history_missing_records_total")

    assert asyncio.run(overtaken()) == ends[0] - 1
    assert offsets_in_files(settings) == events_in_kafka(settings)


def test_a_damaged_file_is_read_again_from_kafka(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    for seed in range(3):
        send_all(settings, shop_events(200, seed=seed))
        record_all(settings)
    for victim in files_of(Path(settings.history))[:2]:
        victim.write_bytes(victim.read_bytes()[:99])
    assert record_all(settings).get_sample_value("nextact_history_missing_records_total") == 0
    assert offsets_in_files(settings) == events_in_kafka(settings)
    assert len(files_of(Path(settings.history))) == 3 - 1  # two neighbours were one gap


def test_what_was_shown_is_stored_once_and_read_again_when_its_file_is_damaged(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    shown = [
        (f"u{n % 9}".encode(), json.dumps({"user_id": f"u{n % 9}", "type": "shown", "items": [f"i{n}"]}).encode())
        for n in range(100)
    ]
    for part in (shown[:50], shown[50:]):
        send_all(settings, [*part, *shop_events(50)])
        record_all(settings)
    folder = Path(settings.history)
    before = shown_in(folder)
    assert {row["items"][0] for row in before} == {f"i{n}" for n in range(100)}
    for victim in files_of(folder / "_shown"):
        victim.write_bytes(victim.read_bytes()[:99])
    again = record_all(settings)
    assert again.get_sample_value("nextact_trainer_events_total") == 0, "the events are not read again"
    assert again.get_sample_value("nextact_history_shown_lists") == 100
    assert sorted(map(str, shown_in(folder))) == sorted(map(str, before))
    assert offsets_in_files(settings) == events_in_kafka(settings)


def test_a_topic_that_was_created_again_is_noticed_and_a_higher_epoch_goes_on(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(200))
    record_all(settings)
    first = len(rows_in(Path(settings.history)))
    create_topic_again(settings)
    with pytest.raises(HistoryUnusable, match="set NEXTACT_STREAM_EPOCH above 1"):
        record_all(settings)
    send_all(settings, shop_events(600, seed=9))  # now it is longer than the one before
    with pytest.raises(HistoryUnusable, match="has another record at offset"):
        record_all(settings)
    assert_mistake(nextact("trainer", "--once", settings=settings), "NEXTACT_STREAM_EPOCH above 1")
    record_all(settings.model_copy(update={"stream_epoch": 2}))
    assert len(rows_in(Path(settings.history))) > first + 500


def test_a_second_trainer_on_the_same_history_is_refused(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    trainer = start("trainer")
    trainer.wait_until(lambda: (Path(settings.history) / ".lock").exists())
    other = settings.model_copy(update={"http_port": 0})
    assert_mistake(nextact("trainer", settings=other), settings.history, "in use by pid", "NEXTACT_HISTORY")
    trainer.kill()
    assert nextact("trainer", "--once", settings=other).returncode == 0, "the kernel has released the lock"


def test_a_trainer_learns_from_an_imported_past_though_the_topic_is_empty(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(ensure_topics(settings))
    events = [event for event in shop_events(2000) if isinstance(event, dict)]
    (tmp_path / "past.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    done = nextact("history", "import", str(tmp_path / "past.jsonl"), "--json", settings=settings)
    assert json.loads(done.stdout)["imported"] == len(events)
    done = nextact("trainer", "--once", settings=quick_rounds(settings), timeout=400)
    assert done.stdout.strip() == "promoted", done.stderr
    assert rows_in(Path(settings.history)) == []


def test_a_trainer_that_is_asked_to_stop_leaves_nothing_to_read_again(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, shop_events(300))
    trainer = start("trainer", train_min_events=100_000)
    trainer.wait_until(lambda: trainer.metric("nextact_trainer_events_total") > 280)
    assert rows_in(Path(settings.history)) == []
    assert trainer.terminate() == 0
    assert len(rows_in(Path(settings.history))) > 280
