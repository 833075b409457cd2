"""What is said of users and of the worker."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from model.items.item import Item
from model.serving.serving import serve
from stream_app.contract.questions.answers import SegmentsAnswer, UserAnswer
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.query.refusals import Refusal
from stream_app.query.routing import partition_of
from stream_app.settings import Settings
from tests.unit.builders.basics import CPU, make_record, make_version
from tests.unit.builders.questions import NOW_MS, PARTITIONS, AskedWorker, prediction, published


def test_an_answer_says_how_old_it_is_and_clocks_may_differ() -> None:
    worker = AskedWorker(Settings())
    worker.memory.note(published(2, [("u", prediction("u")), ("v", prediction("v"))], [NOW_MS - 40_000, NOW_MS + 5]))
    assert asyncio.run(worker.questions.user(2, "u")).age_ms == 40_000
    assert asyncio.run(worker.questions.user(2, "v")).age_ms == 0
    worker.now += 1
    assert [user.age_ms for user in worker.questions.users(5).users] == [995, 41_000]


def test_an_answer_of_another_partition_is_nobodys() -> None:
    worker = AskedWorker(Settings())
    worker.memory.note(published(1, [("u", prediction("u"))]))
    with pytest.raises(Refusal, match="nothing is known"):
        asyncio.run(worker.questions.user(2, "u"))


def test_titles_are_of_the_items_that_are_named_and_known() -> None:
    worker = AskedWorker(Settings())
    worker.memory.note(published(1, [("u", prediction("u", "a")), ("v", prediction("v", "b"))]))
    assert asyncio.run(worker.questions.user(1, "u")).titles == {}
    worker.catalogue.apply([Item("a", title="An A"), Item("b"), Item("c", title="A C")], [0, 0, 0])
    assert asyncio.run(worker.questions.user(1, "u")).titles == {"a": "An A"}
    assert asyncio.run(worker.questions.user(1, "v")).titles == {}


def test_a_version_without_segments_has_none() -> None:
    worker = AskedWorker(Settings())
    serving = serve(make_version(), CPU)
    worker.view.engine.serve(serving)
    assert worker.questions.segments() == SegmentsAnswer(serving.name, [])
    assert worker.questions.worker("m").version == serving.name


def test_a_user_who_is_not_in_memory_is_answered_from_their_state_with_their_history() -> None:
    worker = AskedWorker(Settings())
    worker.view.engine.serve(serve(make_version(), CPU))
    worker.catalogue.apply([Item("item 1", title="One", category=("a", "b"))], [0])
    pipeline = Pipeline(worker.view.engine, worker.settings, WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    partition = partition_of("u", PARTITIONS)
    for offset, item in enumerate(["item 1", "item 2", "nobody knows"]):
        value = json.dumps({"user_id": "u", "type": "view", "item_id": item}).encode()
        time = NOW_MS - 60_000 + 1000 * offset
        record = make_record(value, key=b"u", offset=offset, timestamp=time, partition=partition)
        for result in pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode([record], 1)))):
            worker.shelf |= {(partition, user.decode()): state for user, state in result.states}
    (status, body, _), (unknown, _, _) = worker.ask(("GET", "/v1/users/u"), ("GET", "/v1/users/v"))
    answer = msgspec.convert(body, UserAnswer)
    assert (status, unknown, answer.source, answer.prediction.prediction_id) == (200, 404, "state", None)
    assert answer.age_ms == 58_000
    assert (answer.prediction.model_version, answer.prediction.history_length) == ("v1", 3)
    last, second, first = answer.history
    assert (first.item_id, first.title, first.category) == ("item 1", "One", "a > b")
    assert (second.item_id, second.title, last.item_id) == ("item 2", None, "nobody knows")
    worker.memory.note(published(partition, [("u", prediction("u"))]))
    (status, body, _), *_ = worker.ask(("GET", "/v1/users/u"))
    newer = msgspec.convert(body, UserAnswer)
    assert (newer.source, newer.history, newer.rules) == ("published", answer.history, None)
    asked = [("GET", f"/v1/users/u?history={count}") for count in (2, 0, 64)]
    assert [one["history"] for _, one, _ in worker.ask(*asked)] == [body["history"][:2], [], body["history"]]
    (status, body, _), *_ = worker.ask(("GET", "/v1/users/u?rules=true&history=1"))
    with_rules = msgspec.convert(body, UserAnswer)
    assert with_rules.rules == ["nobody knows", "item 2", "item 1"]  # nothing followed the last one: their own, then
    assert (with_rules.titles, with_rules.history) == (newer.titles | {"item 1": "One"}, answer.history[:1])
    (status, body, _), *_ = worker.ask(("GET", "/v1/users/u?rules=1"))
    assert (status, body["error"]["code"]) == (400, "bad_request")


def test_who_asks_for_no_history_has_no_record_read(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = AskedWorker(Settings())
    worker.memory.note(published(1, [("u", prediction("u"))]))
    monkeypatch.setattr(worker.stored, "find", lambda _: pytest.fail("a record was read"))
    assert asyncio.run(worker.questions.user(1, "u", history=0)).history == []


def test_an_answer_that_took_until_a_rebalance_is_none() -> None:
    worker = AskedWorker(Settings())
    worker.shelf[1, "u"] = b""

    class Slow:
        async def ask(self, _: object) -> None:
            worker.memory.pause()
            worker.memory.resume(range(PARTITIONS))

    worker.questions._asking = Slow()  # type: ignore[assignment]
    with pytest.raises(Refusal, match="on their way"):
        asyncio.run(worker.questions.user(1, "u"))
