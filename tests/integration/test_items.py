"""The catalogue on a real broker: every process has it, a snapshot spares the reading, a bad record is one letter."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from model.items.item import Item
from stream_app.contract.items import decode_details
from stream_app.items.follower import ItemsFollower
from stream_app.items.metrics import ItemMetrics
from stream_app.kafka.publisher import publish
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import Running, nextact
from tests.integration.topics import read_all

pytestmark = pytest.mark.broker

Start = Callable[..., Running]


def sent(settings: Settings, *records: tuple[bytes, Any]) -> Awaitable[Any]:
    """Publishes values as JSON, bytes as they are, None as a tombstone."""
    values = [(key, value if isinstance(value, bytes | None) else json.dumps(value).encode()) for key, value in records]
    return publish(values, kafka=settings, topic=settings.items_topic)


@dataclass
class Reader:
    """A follower, and what it has counted."""

    follower: ItemsFollower
    registry: CollectorRegistry

    @property
    def titles(self) -> dict[str, str]:
        return {item.item_id: item.title for item in self.follower.catalogue}

    def rejected(self, reason: str) -> float:
        return self.registry.get_sample_value("nextact_items_rejected_total", {"reason": reason}) or 0

    def page(self, item_id: str) -> str:
        items, details = self.follower.catalogue, self.follower.local.details
        return decode_details(details.get(int(items.column("details")[items.row_of(item_id)]))).url


async def started(settings: Settings) -> Reader:
    registry = CollectorRegistry()
    reader = Reader(ItemsFollower(settings, "trainer", ItemMetrics(registry), time.time), registry)
    await reader.follower.start()
    return reader


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a metric says it
            await asyncio.sleep(0.01)


def test_a_reader_has_what_was_there_and_what_comes(settings: Settings) -> None:
    async def run() -> None:
        await ensure_topics(settings)
        await sent(settings, (b"1", {"title": "a", "url": "u"}), (b"2", {"title": "b"}), (b"2", None), (b"3", b"{"))
        reader = await started(settings)
        assert reader.titles == {"1": "a"}
        assert reader.registry.get_sample_value("nextact_items") == 1
        assert reader.rejected("not_json") == 1
        following = asyncio.create_task(reader.follower.follow())
        envelope = {"op": "c", "before": None, "after": {"id": 4, "title": "d", "tags": '["t"]'}}
        await sent(settings, (b"1", {"title": "A", "url": "v"}), (b'{"id":4}', envelope), (b"1", b"[]"))
        await until(lambda: reader.rejected("not_object") == 1 and len(reader.titles) == 2)
        assert reader.titles == {"1": "A", "4": "d"}
        assert next(item for item in reader.follower.catalogue if item.item_id == "4") == Item("4", "d", tags=("t",))
        following.cancel()
        await reader.follower.stop()

        again = await started(settings)
        assert again.titles == {"1": "A", "4": "d"}
        assert again.page("1") == "v"
        assert again.rejected("not_json") == again.rejected("not_object") == 0, "it began with the snapshot"
        await again.follower.stop()

        snapshot = again.follower.local.path
        snapshot.write_bytes(snapshot.read_bytes()[:100])
        anew = await started(settings)
        assert anew.titles == {"1": "A", "4": "d"}
        assert anew.rejected("not_json") == 1, "it read the topic from the beginning"
        await anew.follower.stop()

    asyncio.run(run())


def test_a_bad_item_is_one_dead_letter_of_two_workers_and_is_replayed_to_its_topic(
    settings: Settings, start: Start
) -> None:
    asyncio.run(ensure_topics(settings))
    workers = [start("worker", data_dir=settings.data_dir / name) for name in ("one", "two")]
    for worker in workers:
        worker.wait_ready()
    asyncio.run(_send(settings, (b"7", {"title": "Shoe"}), (b"7", b"{")))

    def letters() -> list[Any]:
        return read_all(settings, settings.dead_letters_topic)

    def all_have(name: str, value: float, label: str | None = None) -> bool:
        return all(worker.metric(name, label) == value for worker in workers)

    workers[0].wait_until(lambda: all_have("nextact_items_rejected_total", 1, "not_json"), needs=workers[1:])
    workers[0].wait_until(lambda: len(letters()) == 1, needs=workers[1:])
    assert all_have("nextact_items", 1)
    (letter,) = letters()
    headers = {name: value.decode() for name, value in letter.headers}
    assert (letter.key, letter.value, letter.partition) == (b"7", b"{", 0)
    assert headers["nextact.error.topic"] == settings.items_topic
    assert headers["nextact.error.reason"] == "not_json"

    done = nextact("dead-letters", "replay", "--all", settings=settings)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1 published"), done.stderr
    (again,) = [each for each in read_all(settings, settings.items_topic) if "nextact.replay" in dict(each.headers)]
    assert (again.key, again.value) == (b"7", b"{")
    assert read_all(settings, settings.events_topic) == []
    workers[0].wait_until(lambda: len(letters()) == 2, needs=workers[1:])
    workers[0].wait_until(lambda: all_have("nextact_items_rejected_total", 2, "not_json"), needs=workers[1:])
    for worker in workers:
        assert worker.terminate() == 0
        assert (settings.data_dir / "one" / "items" / settings.items_topic / "snapshot").exists()
    assert len(letters()) == 2


async def _send(settings: Settings, *records: tuple[bytes, Any]) -> None:
    await sent(settings, *records)


def test_without_its_topic_a_worker_has_no_catalogue_and_answers(settings: Settings, start: Start) -> None:
    from stream_app.contract.access import topics_of

    asyncio.run(ensure_topics(settings, "operator", *topics_of(settings, "operator") - {settings.items_topic}))
    worker = start("worker", create_topics=False)
    worker.wait_ready()
    said = [line for line in worker.log.read_text().splitlines() if "no catalogue" in line]
    assert len(said) == 1, said
    assert "NEXTACT_CREATE_TOPICS is false" in said[0]
    event = (b"ada", b'{"user_id":"ada","type":"view","item_id":"7"}')
    asyncio.run(publish([event], kafka=settings, topic=settings.events_topic))
    worker.wait_until(lambda: worker.metric("nextact_predictions_total", "rules") == 1)


def test_a_file_is_published_shown_listed_and_checked(settings: Settings, tmp_path: Path) -> None:
    items, log = tmp_path / "items.csv", tmp_path / "log.csv"
    items.write_text("sku,title,group,url\n7,Shoe,run,u\n8,跑鞋,run,\n,nothing,,\n")
    log.write_text("user_id,type,item_id,timestamp\na,view,7,1700000000\na,view,9,1700000001\nb,search,,1700000002\n")
    asyncio.run(ensure_topics(settings))
    empty = nextact("items", "list", settings=settings)
    assert (empty.returncode, empty.stderr.strip()) == (
        2,
        f"Error: the catalogue is empty: topic {settings.items_topic} has no items",
    )

    sent = nextact("items", "send", str(items), "--column", "item_id=sku", settings=settings)
    assert sent.returncode == 1
    assert "2 items in" in sent.stderr
    assert f"1 rows left out; the first is {items}, line 4: the record has no key" in sent.stderr

    shown = nextact("items", "show", "7", settings=settings)
    assert json.loads(shown.stdout) == {"item_id": "7", "title": "Shoe", "group": "run", "url": "u"}
    missing = nextact("items", "show", "9", settings=settings)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no item '9'" in missing.stderr

    listed = nextact("items", "list", settings=settings)
    assert set(listed.stdout.splitlines()) == {"7: Shoe", "8: 跑鞋"}
    as_json = nextact("items", "list", "--json", "--limit", "1", settings=settings)
    assert len(as_json.stdout.splitlines()) == 1
    assert json.loads(as_json.stdout)["group"] == "run"

    checked = nextact("items", "check", "--events", str(log), settings=settings).stdout
    assert "2 items" in checked
    assert "variants: 2 items of 1 products" in checked
    assert "scripts of titles: " in checked
    assert "events: 50.0% of 2 are on items of the catalogue" in checked
    assert not list((settings.data_dir / "items" / settings.items_topic).iterdir()), "looking at it writes nothing"
