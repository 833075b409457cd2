"""Users who are asked about, and sessions of nobody, are answered as their events were or would be."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from model.data.events import EVENT_TYPES, ItemNames, item_key
from model.serving.serving import Serving
from stream_app.contract.events import decode_batch
from stream_app.pipeline.asking import NOWHERE, SOMEBODY, AskingPipeline
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.unit.builders.basics import CPU, HIDDEN, ITEMS, Shelf, current, unpacked

SETTINGS = load_settings({"hidden": HIDDEN, "recommendations": 20, "rules_share": 0})
BEGIN_MS = 1_700_000_000_000


def pipeline_of(shelf: Shelf, kind: type[Pipeline], serving: Callable[[], Serving] | None = current) -> Pipeline:
    engine = new_engine(SETTINGS, CPU, shelf)
    if serving is not None:
        engine.serve(serving())
    return kind(engine, SETTINGS, WorkerMetrics(CollectorRegistry()), lambda: 0.0)


def asking(shelf: Shelf, serving: Callable[[], Serving] | None = current) -> AskingPipeline:
    pipeline = pipeline_of(shelf, AskingPipeline, serving)
    assert isinstance(pipeline, AskingPipeline)
    return pipeline


def record(offset: int, event: dict[str, object]) -> ConsumerRecord[bytes, bytes]:
    key, value = str(event["user_id"]).encode(), json.dumps(event).encode()
    return ConsumerRecord("t", 0, offset, BEGIN_MS, 0, key, value, None, len(key), len(value), ())


def published(records: Sequence[ConsumerRecord[bytes, bytes]], shelf: Shelf) -> list[dict[str, Any]]:
    """The predictions that a worker publishes after each of some events, which come one by one."""
    pipeline, predictions = pipeline_of(shelf, Pipeline), []
    for one in records:
        batch = pipeline.answer(pipeline.step(pipeline.decode([one], 0)))
        for result in pipeline.encode(batch):
            shelf |= {(result.partition, user.decode()): state for user, state in result.states}
            predictions += [json.loads(one.value or b"") for one in unpacked(result.predictions)]
    return predictions


def drawn_events(seed: int, count: int, user: str) -> list[dict[str, object]]:
    rng, time, events = random.Random(seed), BEGIN_MS - 10**7, list[dict[str, object]]()
    for number in range(count):
        time += rng.choice([40, 900, 5_000, 2_000_000])
        kind = rng.choice(EVENT_TYPES)
        event: dict[str, object] = {"user_id": user, "type": kind, "item_id": rng.choice(ITEMS), "timestamp": time}
        if kind == "search":
            event["query"] = rng.choice(["red shoes", "tea"])
        elif rng.random() < 0.3:
            del event["item_id"]
            event["items"] = [{"item_id": rng.choice(ITEMS), "price": 3.5, "category": "c"} for _ in range(3)]
        elif rng.random() < 0.5:
            event |= {"brand": "b", "category": "warm", "price": 2.5, "session_id": "s", "event_id": str(number // 2)}
        events.append(event)
    return events


def said(prediction: dict[str, Any]) -> dict[str, float]:
    """What a prediction says of the user, not of an event: the last of its items may be others that are as likely."""
    scores = {one["item_id"]: one["score"] for one in prediction["recommendations"][:10]}
    numbers: dict[str, float] = {name: prediction[name] for name in ("history_length", "purchase_probability")}
    numbers |= prediction["next_type"]
    return numbers | scores


def keys_of(items: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([item_key(item) for item in items], np.uint64)


def test_a_user_is_answered_as_after_their_last_event_and_recommended_items_have_their_scores() -> None:
    shelf = Shelf()
    last = {one["user_id"]: one for one in published([record(n, e) for n, e in enumerate(both(20))], shelf)}
    pipeline, users = asking(shelf), list(last)
    predictions = [json.loads(one) for one in pipeline.asked([0] * len(users), users).predictions]
    for prediction, user in zip(predictions, users, strict=True):
        assert said(prediction) == pytest.approx(said(last[user]), rel=2e-3)  # states are halves
    recommended = [[one["item_id"] for one in prediction["recommendations"]] for prediction in predictions]
    pipeline._state_engine.clear()
    scores = pipeline.scored([0] * len(users), users, [keys_of([*items[::-1], "nobody's"]) for items in recommended])
    for prediction, found in zip(predictions, scores, strict=True):
        served = [one["score"] for one in prediction["recommendations"]]
        assert found[:-1][::-1].tolist() == pytest.approx(served, abs=1e-6)
        assert np.isnan(found[-1])


def both(count: int) -> list[dict[str, object]]:
    pairs = zip(drawn_events(1, count, "a"), drawn_events(2, count, "b"), strict=True)
    return [event for pair in pairs for event in pair]


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), count=st.integers(1, 30))
def test_a_session_is_answered_as_a_users_events_are(seed: int, count: int) -> None:
    events = drawn_events(seed, count, "u")
    expected = published([record(n, event) for n, event in enumerate(events)], Shelf())[-1]
    pipeline = asking(Shelf())
    pipeline.take_session(decode_batch([record(n, event) for n, event in enumerate(events)]))
    prediction = json.loads(pipeline.asked([NOWHERE], [SOMEBODY]).predictions[0])
    assert prediction["user_id"] == ""
    assert said(prediction) == pytest.approx(said(expected), rel=1e-3, abs=1e-4)


def test_nothing_of_a_session_is_left() -> None:
    pipeline = asking(Shelf())
    pipeline.take_session(decode_batch([record(n, event) for n, event in enumerate(drawn_events(3, 10, "u"))]))
    states = pipeline._state_engine.states
    assert len(states) == 1
    pipeline._state_engine.clear()
    assert len(states) == len(states.searches.table) == 0
    assert len(pipeline.names.categories) == len(pipeline.names.brands) == 0
    assert json.loads(pipeline.asked([NOWHERE], [SOMEBODY]).predictions[0])["history_length"] == 0
    assert isinstance(pipeline.names, ItemNames)


def test_before_a_version_serves_the_rules_score() -> None:
    shelf, rules = Shelf(), pipeline_of(Shelf(), Pipeline, None)
    for number, event in enumerate(both(30)):
        for result in rules.encode(rules.answer(rules.step(rules.decode([record(number, event)], 0)))):
            shelf |= {(result.partition, user.decode()): state for user, state in result.states}
    pipeline = asking(shelf, None)
    pipeline._state_engine.follow(rules._state_engine)
    prediction = json.loads(pipeline.asked([0], ["a"]).predictions[0])
    served = {one["item_id"]: one["score"] for one in prediction["recommendations"]}
    (scores,) = pipeline.scored([0], ["a"], [keys_of([*ITEMS, "nobody's"])])
    found = dict(zip(ITEMS, scores.tolist(), strict=False))
    assert {item: found[item] for item in served} == pytest.approx(served, abs=1e-6)
    touched = {key for key in keys_of(ITEMS).tolist() if key in rules._state_engine.rules.names}
    for item in set(ITEMS) - set(served):
        assert found[item] == 0 if item_key(item) in touched else np.isnan(found[item])
    assert np.isnan(scores[-1])
