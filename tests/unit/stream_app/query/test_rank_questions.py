"""What fits a user, somebody unknown and an item, over real HTTP, from real states."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import torch
from prometheus_client import CollectorRegistry

from model.data.events import item_key
from model.items.item import Item
from model.serving.serving import Serving
from stream_app.contract.questions.answers import MOST_CANDIDATES, RankAnswer, RelatedAnswer, SessionAnswer
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.query.routing import partition_of
from stream_app.settings import Settings
from tests.unit.builders.basics import CPU, ITEMS, current, make_record
from tests.unit.builders.questions import NOW_MS, PARTITIONS, AskedWorker

VIEWS = [{"type": "view", "item_id": item} for item in ITEMS[3:9]]


def asked_worker(serving: Callable[[], Serving] | None = current, users: Sequence[str] = ("u",)) -> AskedWorker:
    """A worker whose users have done something."""
    worker = AskedWorker(Settings())
    if serving is not None:
        worker.view.engine.serve(serving())
    engine = new_engine(worker.settings, CPU, worker.shelf)
    engine.serve(current())
    pipeline = Pipeline(engine, worker.settings, WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    for number, user in enumerate(users):
        partition, time = partition_of(user, PARTITIONS), NOW_MS - 1000
        events = [{"user_id": user, "timestamp": time, **view} for view in VIEWS[number:]]
        values = [json.dumps(event).encode() for event in events]
        records = [
            make_record(value, key=user.encode(), offset=offset, partition=partition)
            for offset, value in enumerate(values)
        ]
        for result in pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode(records, 0)))):
            worker.shelf |= {(partition, key.decode()): state for key, state in result.states}
    return worker


def post(worker: AskedWorker, path: str, *bodies: Any) -> list[tuple[int, Any]]:
    answers = []
    for body in bodies:
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        answers += [(status, content) for status, content, _ in worker.ask(("POST", path), data=data)]
    return answers


def test_candidates_come_back_best_first_with_the_scores_of_recommendations() -> None:
    worker = asked_worker(users=["u", "a/b é"])
    for user in ("u", "a/b é"):
        path = "/v1/users/" + quote(user, safe="")
        ((_, known, _),) = worker.ask(("GET", path))
        recommended = {one["item_id"]: one["score"] for one in known["prediction"]["recommendations"]}
        candidates = ["nobody's", *reversed(ITEMS), *ITEMS[:5], "no one's"]
        ((status, content),) = post(worker, path + "/rank", {"candidates": candidates})
        answer = msgspec.convert(content, RankAnswer)
        assert (status, answer.user_id, answer.source, answer.age_ms) == (200, user, "state", 1000)
        assert [one.item_id for one in answer.items[: len(recommended)]] == list(recommended)
        scores = {one.item_id: one.score for one in answer.items}
        assert {item: round(scores[item], 6) for item in recommended} == recommended
        assert sorted(scores) == sorted({*candidates})
        assert [(one.item_id, one.score) for one in answer.items if not one.known] == [("nobody's", 0), ("no one's", 0)]
        assert not answer.items[-1].known


def test_questions_at_once_about_one_user_and_others_are_each_answered_as_alone() -> None:
    worker = asked_worker(users=["a", "b"])
    asked = [("a", list(ITEMS[:9])), ("b", list(ITEMS[5:20])), ("a", list(ITEMS[30:40]))]
    alone = [post(worker, f"/v1/users/{user}/rank", {"candidates": items})[0] for user, items in asked]
    questions = [(user, {"candidates": items}) for user, items in asked]

    async def ask(session: Any, base: str) -> list[Any]:
        async def one(user: str, question: Any) -> Any:
            async with session.post(f"{base}/v1/users/{user}/rank", json=question) as response:
                return response.status, await response.json()

        return await asyncio.gather(*(one(user, question) for user, question in questions * 5))

    for number, (status, content) in enumerate(worker.serve(ask)):
        wanted_status, wanted = alone[number % 3]
        assert (status, content["user_id"]) == (wanted_status, wanted["user_id"])
        assert [one["item_id"] for one in content["items"]] == [one["item_id"] for one in wanted["items"]]
        assert [one["score"] for one in content["items"]] == pytest.approx(
            [one["score"] for one in wanted["items"]], rel=1e-4
        )


def test_a_session_is_answered_like_a_user_who_did_the_same_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    worker = asked_worker()
    ((_, known, _),) = worker.ask(("GET", "/v1/users/u"))
    events = [{**view, "timestamp": NOW_MS - 1000} for view in VIEWS]
    with caplog.at_level(logging.DEBUG):
        ((status, content),) = post(worker, "/v1/rank", {"events": events, "candidates": list(ITEMS[:30])})
        ((_, short),) = post(worker, "/v1/rank", {"events": events[-1:]})
    answer = msgspec.convert(content, SessionAnswer)
    assert status == 200
    assert (answer.prediction.prediction_id, answer.prediction.user_id) == (None, "")
    assert answer.prediction.history_length == len(VIEWS)
    wanted = {one["item_id"]: one["score"] for one in known["prediction"]["recommendations"]}
    found = {one.item_id: one.score for one in answer.prediction.recommendations}
    assert found == pytest.approx(wanted, rel=1e-2)
    assert answer.items is not None
    scores = {one.item_id: round(one.score, 6) for one in answer.items}
    assert len(scores) == 30
    assert {item: score for item, score in found.items() if item in scores}.items() <= scores.items()
    assert "items" not in short
    assert short["prediction"]["history_length"] == 1
    assert not any(item in caplog.text for item in ITEMS[3:9])
    assert len(worker.shelf) == 1


def test_related_items_have_titles_and_leave_the_item_itself_out() -> None:
    worker = asked_worker()
    worker.catalogue.apply([Item(ITEMS[0], title="A red shoe")], [0])
    ((status, content, _),) = worker.ask(("GET", f"/v1/items/{quote(ITEMS[0])}/related?count=5"))
    answer = msgspec.convert(content, RelatedAnswer)
    assert (status, answer.item_id, answer.title) == (200, ITEMS[0], "A red shoe")
    assert len({one.item_id for one in answer.related} - {ITEMS[0]}) == 5
    with torch.inference_mode():
        found = current().ranking.related(item_key(ITEMS[0]), 5)
    assert found is not None
    assert [one.score for one in answer.related] == pytest.approx(found.scores.tolist())
    ((_, more, _),) = worker.ask(("GET", f"/v1/items/{quote(ITEMS[0])}/related"))
    assert len(more["related"]) == 20


EVENTS = {"events": [{"type": "view", "item_id": "a"}]}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/users/u/rank", b"", "the body: Input data was truncated"),
        ("/v1/users/u/rank", b"\xff", "the body: "),
        ("/v1/users/u/rank", b"[" * 100_000, "the body: "),
        ("/v1/users/u/rank", {}, "missing required field `candidates`"),
        ("/v1/users/u/rank", {"candidates": []}, "length >= 1"),
        ("/v1/users/u/rank", {"candidates": ["a"] * (MOST_CANDIDATES + 1)}, "length <= 1000"),
        ("/v1/users/u/rank", {"candidates": [""]}, "length >= 1 - at `$.candidates[0]`"),
        ("/v1/users/u/rank", {"candidates": ["a", 5]}, "Expected `str`, got `int` - at `$.candidates[1]`"),
        ("/v1/users/u/rank", {"candidates": ["a"], "count": 1}, "unknown field `count`"),
        ("/v1/rank", {"events": []}, "length >= 1"),
        ("/v1/rank", {"events": EVENTS["events"] * 65}, "length <= 64"),
        ("/v1/rank", {"events": [5]}, "Expected `object`, got `int`"),
        ("/v1/rank", {"events": [{"type": "view"}]}, "events[0]: a view has no item_id"),
        ("/v1/rank", EVENTS | {"candidates": []}, "length >= 1"),
    ],
)
def test_what_is_asked_wrongly_is_said(path: str, body: Any, message: str) -> None:
    ((status, content),) = post(asked_worker(), path, body)
    assert (status, content["error"]["code"]) == (400, "bad_request")
    assert message in content["error"]["message"]


def test_who_and_what_is_not_known_is_not_found_and_before_a_version_the_rules_score() -> None:
    worker, rules = asked_worker(), asked_worker(None)
    candidates = {"candidates": ["a"]}
    assert [content["error"]["code"] for _, content in post(worker, "/v1/users/nobody/rank", candidates)] == [
        "unknown_user"
    ]
    assert worker.ask(("GET", "/v1/items/nothing/related"))[0][1]["error"]["code"] == "unknown_item"
    ((status, content, headers),) = rules.ask(("GET", "/v1/items/nothing/related"))
    assert (status, content["error"]["code"], headers["Retry-After"]) == (503, "no_version", "1")
    assert [content["error"]["code"] for _, content in post(rules, "/v1/rank", EVENTS)] == ["no_version"]
    ((status, content),) = post(rules, "/v1/users/u/rank", candidates)
    assert (status, content["items"]) == (200, [{"item_id": "a", "score": 0.0, "known": False}])
    assert worker.ask(("GET", "/v1/items/a/related?count=101"))[0][0] == 400
    too_large = post(worker, "/v1/rank", b"x" * (2**20 + 1))
    assert [(status, content["error"]["code"]) for status, content in too_large] == [(413, "too_large")]


def test_a_damaged_record_is_nobodys() -> None:
    worker = asked_worker()
    ((owner, record),) = worker.shelf.items()
    worker.shelf[owner] = record[:-1]
    ((status, _),) = post(worker, "/v1/users/u/rank", {"candidates": ["a"]})
    assert status == 404
