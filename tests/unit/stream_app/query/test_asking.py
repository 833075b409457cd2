"""Users are answered by their states as their last events were, whoever else is asked about with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.data.events import item_key
from model.serving.canary import Canary
from model.serving.serving import Serving
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.query.asking import Asking, StateAnswer, StateQuestion
from stream_app.settings import Settings
from tests.unit.builders.basics import ITEMS, current, make_record, previous, unpacked
from tests.unit.builders.questions import NOW_MS, AskedWorker

SETTINGS = Settings(rules_share=0.5)
USERS = [f"u{number}" for number in range(12)]


def after_events(serving: Serving | None, canary: Canary | None = None) -> tuple[AskedWorker, dict[str, Any]]:
    """A worker whose engine has stepped some events, and what it published last of each user."""
    worker = AskedWorker(SETTINGS)
    engine = worker.view.engine
    if serving is not None:
        engine.serve(serving, canary)
    pipeline = Pipeline(engine, worker.settings, WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    last: dict[str, Any] = {}
    for n in range(6):
        records = [event(user, ITEMS[(3 * n + at) % 40], at % 4, 10 * n + at // 4) for at, user in enumerate(USERS)]
        for result in pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode(records, 1)))):
            worker.shelf |= {(result.partition, user.decode()): state for user, state in result.states}
            for sent in unpacked(result.predictions):
                last[(sent.key or b"").decode()] = json.loads(sent.value or b"")
    return worker, last


def event(user: str, item: str, partition: int, offset: int) -> Any:
    content = {"user_id": user, "type": "view", "item_id": item, "category": "c", "price": 3.0}
    value = json.dumps(content).encode()
    return make_record(value, key=user.encode(), offset=offset, timestamp=NOW_MS + 1000 * offset, partition=partition)


def owner(user: str) -> tuple[int, str]:
    return USERS.index(user) % 4, user


def ask(worker: AskedWorker, questions: Sequence[StateQuestion]) -> list[StateAnswer | None]:
    async def run() -> list[StateAnswer | None]:
        return list(await asyncio.gather(*[asking_of(worker).ask(question) for question in questions]))

    return asyncio.run(run())


def asking_of(worker: AskedWorker) -> Asking:
    return worker.questions._asking


def said(prediction: Any) -> dict[str, Any]:
    """What a prediction says, but for numbers that are near each other: states are halves."""
    fields = ("user_id", "event_type", "event_timestamp", "source", "model_version", "history_length")
    return {name: prediction[name] for name in fields}


@pytest.mark.parametrize("kind", ["rules", "model", "canary"])
def test_users_are_answered_as_after_their_last_events(kind: str) -> None:
    canary = Canary(previous(), 0.5) if kind == "canary" else None
    worker, last = after_events(None if kind == "rules" else current(), canary)
    if kind == "canary":
        assert {prediction["model_version"] for prediction in last.values()} == {"v0", "v1"}
    answers = ask(worker, [StateQuestion(owner(user)) for user in [*USERS, "u0"]] + [StateQuestion((0, "nobody"))])
    assert answers.pop() is None
    for user, answer in zip([*USERS, "u0"], answers, strict=True):
        assert answer is not None
        prediction = json.loads(answer.prediction)
        assert prediction["prediction_id"] is None
        assert said(prediction) == said(last[user])
        if kind == "rules":  # which have learned from the others since
            continue
        assert prediction["next_type"] == pytest.approx(last[user]["next_type"], rel=5e-3, abs=1e-4)
        assert answer.record == worker.shelf[owner(user)]
    assert not len(asking_of(worker)._engine._engine.states)  # nothing is left of them


def test_the_worker_goes_on_as_if_nobody_had_been_asked_about() -> None:
    asked, _ = after_events(None)
    plain, _ = after_events(None)
    ask(asked, [StateQuestion(owner(user)) for user in USERS])
    lasts = []
    for worker in (asked, plain):
        metrics = WorkerMetrics(CollectorRegistry())
        pipeline = Pipeline(worker.view.engine, worker.settings, metrics, lambda: 0.0)
        received = pipeline.decode([event("u0", "item 1", 0, 90), event("new", "item 2", 1, 91)], 1)
        results = pipeline.encode(pipeline.answer(pipeline.step(received)))
        lasts.append([sent.value for result in results for sent in unpacked(result.predictions)])
    assert lasts[0] == lasts[1]


def test_scores_and_predictions_may_be_asked_for_at_once_also_of_one_user() -> None:
    worker, _ = after_events(current())
    keys = [np.array([item_key(item) for item in items], np.uint64) for items in (ITEMS[:7], ["new", *ITEMS[5:9]])]
    questions = [StateQuestion(owner("u3"), keys[0]), StateQuestion(owner("u3"), keys[1]), StateQuestion(owner("u3"))]
    alone = [ask(worker, [question])[0] for question in questions]
    together = ask(worker, [*questions, StateQuestion((2, "nobody"), keys[0]), StateQuestion(owner("u4"), keys[0])])
    assert together[3] is None
    for one, other in zip(alone, together[:3], strict=True):
        assert one is not None
        assert other is not None
        assert one.prediction == other.prediction
        if one.scores is not None:
            assert other.scores is not None
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
    assert alone[0] is not None
    assert alone[0].scores is not None
    assert (alone[0].scores >= 0).all()


def test_before_the_first_version_the_rules_score() -> None:
    worker, last = after_events(None)
    best = last["u1"]["recommendations"][0]["item_id"]
    (answer,) = ask(worker, [StateQuestion(owner("u1"), np.array([item_key(best), item_key("nobody's")], np.uint64))])
    assert answer is not None
    assert answer.scores is not None
    assert answer.scores[0] > 0
    assert np.isnan(answer.scores[1])


def test_a_version_that_comes_answers_from_then_on() -> None:
    worker, _ = after_events(current())
    versions = []
    for serving in (current(), previous()):
        worker.view.engine.serve(serving)
        (answer,) = ask(worker, [StateQuestion(owner("u1"))])
        assert answer is not None
        versions.append(json.loads(answer.prediction)["model_version"])
    assert versions == ["v1", "v0"]


def test_a_record_that_cannot_be_read_is_nobodys() -> None:
    worker, _ = after_events(current())
    worker.shelf[owner("u1")] = worker.shelf[owner("u1")][:-1]
    answers = ask(worker, [StateQuestion(owner(user)) for user in ("u0", "u1", "u2")])
    assert [answer is None for answer in answers] == [False, True, False]
