"""`nextact page` beside a real broker and a real worker, in Debian's Chromium."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings
from stream_app.versions.promotions import publish_promotion
from tests.chromium import Tab, chromium, needs_chromium
from tests.integration.running import Running
from tests.integration.test_end_to_end import shop_events
from tests.integration.topics import send_all
from tests.versions import untrained_version

pytestmark = [pytest.mark.broker, needs_chromium]


def told(running: Running, words: str) -> str:
    """What a process's log says behind some words."""
    found: list[str] = []

    def said() -> bool:
        found[:] = re.findall(rf"{words}(http://\S+)\s", running.log.read_text())
        return bool(found)

    running.wait_until(said)
    return found[0]


def test_a_shopper_a_promotion_and_a_dead_broker(settings: Settings, tmp_path: Path) -> None:
    with Broker(tmp_path / "kafka") as broker:
        own = settings.unsecured(brokers=broker.bootstrap_servers)
        asyncio.run(ensure_topics(own))
        send_all(own, shop_events(300))
        worker = Running(("worker",), own.model_copy(update={"api_port": 0}), tmp_path / "worker.log")
        page: Running | None = None
        try:
            command = ("page", "--port", "0", "--worker", told(worker, "questions on "))
            page = Running(command, own, tmp_path / "page.log", fresh=True)
            worker.wait_ready()
            asyncio.run(watch(told(page, "the page is at "), own, broker))
        finally:
            worker.kill()
            if page is not None:
                page.kill()


async def watch(url: str, settings: Settings, broker: Broker) -> None:
    """Looks at the page while things happen to what it shows."""

    def send(**event: Any) -> None:
        send_all(settings, [{"user_id": "ada", "type": "view", **event}])

    async with chromium(2) as (live, shopper):
        await live.open(url)
        await live.wait_text("No version serves yet")
        await asyncio.to_thread(send, item_id="shoe-1")
        await shopper.open(url + "shopper?user=ada")
        await shopper.wait_text("1 action ·")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.to_thread(send, item_id="shoe-2")
        await shopper.wait_text("2 actions ·", 2)
        print(f"from publishing an event to seeing it: {loop.time() - begun:.2f} s")
        version = untrained_version(Path(settings.registry) / "v1", items=300)
        await publish_promotion(version, settings)
        await live.wait_text("↑ promoted", 90)  # the first version compiles its loops, unless they are kept
        await asyncio.to_thread(broker.stop)
        await live.wait_text("Kafka cannot be reached", 30)
        await said_in_words(live)
        assert [tab.complaints for tab in (live, shopper)] == [[], []]


async def said_in_words(tab: Tab) -> None:
    """What is wrong, since when, and what to do."""
    text = await tab.evaluate("document.querySelector('[role=status]').innerText")
    assert re.search(r"Kafka cannot be reached: .*, since \d\d:\d\d:\d\d\.", text), text
    assert "Start it again" in text
