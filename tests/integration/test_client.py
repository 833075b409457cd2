"""The client against a real broker and a real worker: what it publishes is answered, and it gets to know of it."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from stream_app.client import AsyncClient, Client
from stream_app.errors import UnknownSubject
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.test_end_to_end import Start
from tests.integration.topics import read_all

pytestmark = pytest.mark.broker


def view(user: str, item: str) -> dict[str, str]:
    return {"user_id": user, "type": "view", "item_id": item}


def test_events_are_published_answered_and_asked_about(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    worker = start("worker", api_port=0)
    worker.wait_ready()
    with (
        Client(settings=settings, workers=worker.api, deadline=20) as client,
        client.subscribe(user="ada", idle_seconds=20) as predictions,
    ):
        with pytest.raises(UnknownSubject):  # from the first question on the worker keeps what it publishes
            client.user("ada")
        for user, item in (("bob", "a"), ("ada", "b"), ("bob", "c"), ("ada", "d")):
            place = client.publish(view(user, item))
        first, second = next(predictions), next(predictions)
        assert (first.history_length, second.history_length) == (1, 2)
        assert (second.source.partition, second.source.offset) == place
        record = next(one for one in read_all(settings, settings.events_topic) if (one.partition, one.offset) == place)
        assert (record.key, json.loads(record.value)) == (b"ada", view("ada", "d"))
        worker.wait_until(lambda: client.user("ada").prediction.source == second.source)
        known = client.user("ada")
        assert (known.user_id, known.partition) == ("ada", place.partition)
        assert [action.item_id for action in known.history] == ["d", "b"]
        assert known.prediction.prediction_id in (None, second.prediction_id)  # from the state, or as it was published
        assert client.worker().partitions == [0, 1, 2, 3]
        assert {one.user_id for one in client.active(9).users} == {"ada", "bob"}
        with client.subscribe(from_start=True, idle_seconds=1) as everything:
            assert sorted(one.user_id for one in everything) == ["ada", "ada", "bob", "bob"]
    assert worker.terminate() == 0


def test_one_that_awaits_gets_predictions_as_they_come(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    worker = start("worker", api_port=0)
    worker.wait_ready()

    async def ask() -> list[str]:
        async with AsyncClient(settings=settings) as client, client.subscribe() as predictions:
            await asyncio.gather(*(client.publish(view(f"u{number}", "a")) for number in range(50)))
            return [(await anext(predictions)).user_id for _ in range(50)]

    begun = time.monotonic()
    assert sorted(asyncio.run(ask())) == sorted(f"u{number}" for number in range(50))
    assert time.monotonic() - begun < 20
    assert worker.terminate() == 0
