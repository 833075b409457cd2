"""What only silence tells: real workers, on a real broker, in both deliveries; killed in between, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stream_app.contract.signals.signal import Signal, decode_signal
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import nextact
from tests.integration.test_end_to_end import Start
from tests.integration.topics import read_all, send_all

pytestmark = pytest.mark.broker


@pytest.fixture(params=["at-least-once", "exactly-once"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    prefix = settings.events_topic.removesuffix("events")
    topics = {"signals_topic": f"{prefix}signals", "audiences_topic": f"{prefix}audiences"}
    changes = {"delivery": request.param, "visit_minutes": 0.05, "rules_share": 0.0}
    return settings.model_copy(update=topics | changes)


def event(user: str, kind: str, item: str) -> tuple[bytes, bytes]:
    content = {"user_id": user, "type": kind, "item_id": item, "timestamp": round(time.time() * 1000)}
    return user.encode(), json.dumps(content).encode()


def signals(settings: Settings) -> list[Signal]:
    records = read_all(settings, settings.signals_topic)
    assert all(decode_signal(record.value).user_id.encode() == record.key for record in records)
    return [decode_signal(record.value) for record in records]


def told(settings: Settings) -> set[tuple[str, str, int]]:
    return {(signal.kind, signal.user_id, signal.visit.number) for signal in signals(settings)}


def test_a_visit_that_ended_is_told_once_also_after_a_kill(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    users = [f"u{number}" for number in range(40)]
    worker = start("worker", visit_minutes=0.15)  # time enough for a busy machine to kill it before that
    worker.wait_ready()
    send_all(settings, [event(user, kind, "a") for user in users for kind in ("view", "cart")])
    worker.wait_until(lambda: worker.metric("nextact_timers") == len(users), 20, every=0.02)
    worker.kill()  # before anything is told: who is due is in the records alone
    second = start("worker")
    second.wait_ready()
    ended = {(kind, user, 1) for user in users for kind in ("visit_ended", "cart_abandoned")}
    second.wait_until(lambda: told(settings) == ended, 30)
    send_all(settings, [event(user, "view", "b") for user in users])
    second.wait_until(lambda: told(settings) >= {("visit_ended", user, 2) for user in users}, 30)
    found = signals(settings)
    assert Counter((signal.kind, signal.visit.number) for signal in found) == {
        ("visit_ended", 1): 40,
        ("cart_abandoned", 1): 40,
        ("visit_ended", 2): 40,
    }  # a cart that did not change is no news
    assert len({signal.signal_id for signal in found}) == len(found)
    left: Any = next(signal for signal in found if signal.kind == "cart_abandoned")
    assert [item.item_id for item in left.items] == ["a"]
    assert {signal.measured_by for signal in found if signal.visit.number == 2} == {"clock"}
    assert second.terminate() == 0


def test_who_enters_and_leaves_an_audience_is_told(settings: Settings, start: Start, tmp_path: Path) -> None:
    asyncio.run(ensure_topics(settings))
    file = tmp_path / "audiences.toml"
    file.write_text("[carts]\ncart_open = true\n[gone]\nidle_hours = {at_least = 0.0015}\n")
    worker = start("worker")
    worker.wait_ready()
    send_all(settings, [event("u", "cart", "a"), event("v", "view", "a")])
    worker.wait_until(lambda: worker.metric("nextact_events_total") == 2)
    published = nextact("audiences", "publish", str(file), settings=settings)  # whoever is there is judged, too
    assert (published.returncode, published.stdout) == (0, "carts: is new\ngone: is new\n"), published.stderr
    entered = {("audience_entered", "carts", "u"), ("audience_entered", "gone", "u"), ("audience_entered", "gone", "v")}
    worker.wait_until(lambda: moves(settings) == entered, 30)
    worker.kill()
    second = start("worker")
    second.wait_ready()
    send_all(settings, [event("u", "purchase", "a")])
    left = {("audience_left", "carts", "u"), ("audience_left", "gone", "u")}
    second.wait_until(lambda: moves(settings) >= entered | left, 30)
    listed = nextact("audiences", "list", settings=settings)
    assert (listed.returncode, "[carts]\ncart_open = true" in listed.stdout) == (0, True), listed.stderr
    found = signals(settings)
    ids = {signal.signal_id for signal in found}
    assert len(ids) == len({(signal.kind, signal.audience, signal.user_id, signal.visit.number) for signal in found})
    if settings.delivery == "exactly-once":  # with the other, what was told before a kill may be told again
        assert len(ids) == len(found)
    assert second.terminate() == 0


def moves(settings: Settings) -> set[tuple[str, str, str]]:
    return {(one.kind, one.audience, one.user_id) for one in signals(settings) if one.audience}
