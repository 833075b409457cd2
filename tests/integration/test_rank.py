"""What fits users of a real worker with a version: the scores are those of the recommendations that it published."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.versions.promotions import publish_promotion
from tests.integration.running import Running
from tests.integration.test_end_to_end import Start, shop_events, wait_answered
from tests.integration.topics import send_all
from tests.versions import untrained_version

pytestmark = pytest.mark.broker

EVENTS = [{"type": "view", "item_id": "item-3"}, {"type": "search", "query": "red shoes"}]


def ask(worker: Running, path: str, body: Any = None) -> tuple[int, Any]:
    """Asks a question; returns status and what came back."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(worker.api + path, data, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_items_are_ranked_for_users_sessions_and_items(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    rules = start("worker")
    rules.wait_ready()
    assert ask(rules, "/v1/rank", {"events": EVENTS})[1]["error"]["code"] == "no_version"
    assert rules.terminate() == 0
    asyncio.run(publish_promotion(untrained_version(Path(settings.registry) / "v1", items=300), settings))
    send_all(settings, shop_events(600))
    worker = start("worker")
    worker.wait_ready()
    newest = {one.user_id: one for _, one in wait_answered(worker, settings).predictions}
    for user, prediction in list(newest.items())[:5]:
        recommended = [one.item_id for one in prediction.recommendations]
        candidates = ["nobody's", *(f"item-{number}" for number in range(100)), *recommended]
        path = f"/v1/users/{quote(user, safe='')}/rank"
        # States are written up to 20 ms after predictions; from the first one on all users of its batch are there.
        worker.wait_until(lambda path=path: ask(worker, path, {"candidates": ["item-1"]})[0] == 200)  # type: ignore[misc]
        status, answer = ask(worker, path, {"candidates": candidates})
        assert (status, answer["source"]) == (200, "state")
        assert {one["item_id"] for one in answer["items"]} == set(candidates)
        assert (answer["items"][-1]["item_id"], answer["items"][-1]["known"]) == ("nobody's", False)
        scores = {one["item_id"]: one["score"] for one in answer["items"]}
        served = {one.item_id: one.score for one in prediction.recommendations}
        assert {item: scores[item] for item in served} == pytest.approx(served, rel=0.02, abs=2e-6)
    status, answer = ask(worker, "/v1/rank", {"events": EVENTS, "candidates": ["item-3", "item-4"]})
    assert (status, answer["prediction"]["prediction_id"], answer["prediction"]["history_length"]) == (200, None, 2)
    assert {one["item_id"] for one in answer["items"]} == {"item-3", "item-4"}
    status, answer = ask(worker, "/v1/items/item-3/related?count=3")
    assert (status, len(answer["related"])) == (200, 3)
    assert ask(worker, "/v1/users/nobody/rank", {"candidates": ["item-3"]})[0] == 404
    assert ask(worker, "/v1/rank", {"events": [{"type": "view"}]})[0] == 400
    assert worker.terminate() == 0
