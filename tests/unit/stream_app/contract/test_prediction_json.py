"""Predictions as JSON: Python's own JSON reader, uuid5 and lists of Python objects are the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.event_time import FLAGS
from model.data.events import EVENT_TYPES, SEARCH
from model.serving.answers import RANKED, Answers
from stream_app.contract import prediction_json
from stream_app.contract.prediction_json import PredictionEncoder, SourceEvents
from stream_app.contract.predictions import Segment, Source, decode_prediction
from stream_app.contract.string_columns import Strings, strings
from stream_app.errors import DataPathError
from tests.unit.builders.basics import byte_strings

NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=30, unique=True)


def encoder(recommendations: int = 1, actions: int = 1) -> PredictionEncoder:
    return PredictionEncoder(epoch=1, topic="shop.events", recommendations=recommendations, actions=actions)


def make_events(rows: int) -> SourceEvents:
    return SourceEvents(
        users=[f"user {row}" for row in range(rows)],
        event_ids=[None] * rows,
        types=np.zeros(rows, np.uint8),
        times=np.arange(rows),
        verdicts=np.zeros(rows, np.uint8),
        partitions=np.full(rows, 3),
        offsets=np.arange(rows),
        positions=np.arange(rows),
        history_lengths=np.ones(rows, np.int64),
    )


def make_answers(names: list[str], rows: int, seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    ranked = min(RANKED, len(names))
    items = np.full((rows, RANKED), -1, np.int64)
    for row in items:
        row[: rng.integers(0, ranked + 1)] = -2
        row[row == -2] = rng.permutation(len(names))[: int((row == -2).sum())]
    return Answers(
        version="v",
        names=names,
        items=items,
        probabilities=np.where(items >= 0, np.sort(rng.random((rows, RANKED)))[:, ::-1], 0).astype(np.float32),
        next_type=rng.dirichlet(np.ones(len(EVENT_TYPES)), rows).astype(np.float32),
        type_given_item=rng.dirichlet(np.ones(len(EVENT_TYPES)), (rows, RANKED)).astype(np.float32),
        purchase=rng.random(rows).astype(np.float32),
    )


def expected(answers: Answers, row: int, recommendations: int, actions: int) -> dict[str, Any]:
    ranked = [(answers.names[item], rank) for rank, item in enumerate(answers.items[row].tolist()) if item >= 0]
    search = float(answers.next_type[row, SEARCH])
    possible = [(search, "search", None)]
    for name, rank in ranked:
        for kind, given_item in zip(EVENT_TYPES, answers.type_given_item[row, rank].tolist(), strict=True):
            possible.append(((1 - search) * float(answers.probabilities[row, rank]) * given_item, kind, name))
    best = sorted(possible, key=lambda action: -action[0])[:actions]
    return {
        "next_type": dict(zip(EVENT_TYPES, answers.next_type[row].tolist(), strict=True)),
        "next_actions": [
            {"type": kind, "probability": probability} | ({} if name is None else {"item_id": name})
            for probability, kind, name in best
            if probability > 0
        ],
        "recommendations": [
            {"item_id": name, "score": float(answers.probabilities[row, rank])}
            for name, rank in ranked[:recommendations]
        ],
        "purchase_probability": float(answers.purchase[row]),
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return pytest.approx(value, abs=1.1e-6) if isinstance(value, float) else value


@given(NAMES, st.integers(0, 5), st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 50))
def test_the_json_has_the_fields_of_the_answers(
    names: list[str], rows: int, seed: int, recommendations: int, actions: int
) -> None:
    answers = make_answers(names, rows, seed)
    encode = encoder(recommendations, actions).encode
    for _ in range(2):  # the second time with the JSON of the ids from the first
        values = byte_strings(encode(make_events(rows), answers))
        assert len(values) == rows
        for row, value in enumerate(values):
            prediction = json.loads(value)
            wanted = rounded(expected(answers, row, recommendations, actions))
            assert {name: prediction[name] for name in ANSWER_FIELDS} == wanted


FIELDS = [
    "prediction_id", "user_id", "event_id", "event_type", "event_timestamp", "source", "model_version",
    "history_length", "event_time_flag",
]  # fmt: skip
ANSWER_FIELDS = ["next_type", "next_actions", "recommendations", "purchase_probability"]
TEXT = st.text(max_size=300)
INT64 = st.integers(-(2**63), 2**63 - 1)
EVENTS = st.fixed_dictionaries(
    {
        "user_id": TEXT,
        "event_id": st.none() | TEXT,
        "event_type": st.sampled_from(EVENT_TYPES),
        "event_timestamp": INT64,
        "source": st.fixed_dictionaries({"partition": st.integers(0, 2**31 - 1), "offset": st.integers(0, 2**63 - 1)}),
        "history_length": st.integers(1, 2**60),
        "event_time_flag": st.sampled_from(FLAGS),
    }
)


def events_of(events: list[dict[str, Any]]) -> SourceEvents:
    return SourceEvents(
        users=[event["user_id"] for event in events],
        event_ids=[event["event_id"] for event in events],
        types=np.array([EVENT_TYPES.index(event["event_type"]) for event in events], np.uint8),
        times=np.array([event["event_timestamp"] for event in events], np.int64),
        verdicts=np.array([FLAGS.index(event["event_time_flag"]) for event in events], np.uint8),
        partitions=np.array([event["source"]["partition"] for event in events], np.int64),
        offsets=np.array([event["source"]["offset"] for event in events], np.int64),
        positions=np.array([event["source"]["offset"] for event in events], np.int64),
        history_lengths=np.array([event["history_length"] for event in events], np.int64),
    )


@given(st.lists(EVENTS, max_size=4), st.text(min_size=1, max_size=30), st.integers(0, 2**32 - 1), TEXT)
def test_a_prediction_names_its_event(events: list[dict[str, Any]], version: str, epoch: int, topic: str) -> None:
    answers = replace(make_answers(["a"], len(events), 1), version=version)
    predictions = PredictionEncoder(epoch=epoch, topic=topic, recommendations=1, actions=1)
    namespace = uuid.uuid5(uuid.UUID(int=0), f"nextact/{epoch}/{topic}")
    for event, value in zip(events, byte_strings(predictions.encode(events_of(events), answers)), strict=True):
        source = event["source"]
        wanted = {
            "prediction_id": str(uuid.uuid5(namespace, f"{source['partition']}/{source['offset']}")),
            "model_version": version,
        } | {name: field for name, field in event.items() if name != "event_time_flag" or field is not None}
        prediction = json.loads(value)
        assert list(prediction) == [name for name in FIELDS if name in wanted] + ANSWER_FIELDS
        assert {name: prediction[name] for name in wanted} == wanted


def test_fields_of_profiles_stand_at_the_end() -> None:
    scores = strings([b',"leave_probability":0.5', b""])
    segments = strings([b',"segment":{"id":3,"name":"new","fit":1.0}', b',"segment":{"id":4,"name":"old","fit":0.0}'])
    values = encoder().encode(make_events(2), make_answers(["a"], 2, 1), [scores, segments])
    first, second = [decode_prediction(value) for value in byte_strings(values)]
    assert (first.leave_probability, first.segment) == (0.5, Segment(3, "new", 1.0))
    assert (second.leave_probability, second.segment) == (None, Segment(4, "old", 0.0))


def test_prediction_ids_never_change() -> None:
    # Consumers deduplicate by them, also across releases.
    events = make_events(1)._replace(offsets=np.array([41]), positions=np.array([41]))
    prediction = json.loads(encoder().encode(events, make_answers(["a"], 1, 1)).text.tobytes())
    assert prediction["prediction_id"] == "c7df709d-6a62-5d79-9367-8fa30d239a06"


EXTREMES = (-(2**63), -(2**63) + 1, 2**63 - 1, -(10**18), -(2**32), -10, -9, -1, 0, 9, 10, 2**31)


def test_every_integer_of_64_bits_is_written() -> None:
    # In a process of its own: no signal reaches a compiled loop that goes on for ever in this one.
    script = f"""
import numpy as np
from tests.unit.stream_app.contract.test_prediction_json import encoder, make_answers, make_events

numbers = np.array({EXTREMES})
events = make_events(len(numbers))._replace(times=numbers, offsets=numbers, positions=numbers)
print(encoder().encode(events, make_answers(["a"], len(numbers), 1)).text.tobytes().decode().replace("}}{{", "}}\\n{{"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    predictions = [json.loads(line) for line in done.stdout.splitlines()]
    assert [prediction["event_timestamp"] for prediction in predictions] == list(EXTREMES)
    assert [prediction["source"]["offset"] for prediction in predictions] == list(EXTREMES)


def counted_labels(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str | None]]:
    """The columns of which JSON is made from now on, but for those of events."""
    made: list[Sequence[str | None]] = []
    original = prediction_json.json_strings

    def counting(names: Sequence[str | None]) -> Strings:
        if isinstance(names, tuple):  # as the items of a vocabulary are
            made.append(names)
        return original(names)

    monkeypatch.setattr(prediction_json, "json_strings", counting)
    return made


def canary_answers() -> list[Answers]:
    """Answers of two versions with equal items."""
    return [replace(make_answers(["a", "b"], 2, seed), names=tuple("ab")) for seed in (1, 2)]


def test_the_items_of_two_versions_are_encoded_once_while_a_canary_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    encode, parts, made = encoder(), canary_answers(), counted_labels(monkeypatch)
    for _ in range(10):
        for part in parts:
            encode.encode(make_events(2), part)
        encode.keep([part.names for part in parts])
    assert len(made) == 2


def test_the_items_of_a_version_that_serves_no_more_are_forgotten() -> None:
    # Tuples cannot be weakly referenced, so what refers to them is counted.
    encode, (new, old) = encoder(), canary_answers()
    names = old.names
    before = sys.getrefcount(names)
    for part in (old, new):
        encode.encode(make_events(2), part)
    assert sys.getrefcount(names) == before + 1
    encode.keep([new.names])
    assert sys.getrefcount(names) == before


def test_the_items_of_two_versions_are_kept_at_most() -> None:
    encode, versions = encoder(), [part for _ in range(5) for part in canary_answers()]
    before = [sys.getrefcount(part.names) for part in versions]
    for part in versions:
        encode.encode(make_events(2), part)
    held = [now - then for now, then in zip((sys.getrefcount(part.names) for part in versions), before, strict=True)]
    assert sum(held) == 2


def test_the_items_of_another_version_replace_those_of_the_batch_before() -> None:
    encode = encoder(3, 3).encode
    encode(make_events(1), make_answers(["old"], 1, 1))
    answers = make_answers(["new", "newer"], 1, 5)
    recommendations = json.loads(encode(make_events(1), answers).text.tobytes())["recommendations"]
    best = [answers.names[item] for item in answers.items[0] if item >= 0]
    assert [recommended["item_id"] for recommended in recommendations] == best[:3]


@given(st.lists(st.lists(st.text(min_size=1, max_size=30), max_size=4), min_size=1, max_size=6))
def test_items_that_come_between_batches_are_named(more: list[list[str]]) -> None:
    encode, names = encoder(20, 20).encode, ["a"]
    for batch, fresh in enumerate(more):
        names += [f"{batch} {n} {name}" for n, name in enumerate(fresh)]  # the list of before, as a version's is
        answers = make_answers(names, 3, batch)
        for row, value in enumerate(byte_strings(encode(make_events(3), answers))):
            prediction, wanted = json.loads(value), rounded(expected(answers, row, 20, 20))
            assert {name: prediction[name] for name in ANSWER_FIELDS} == wanted


def test_only_items_that_are_new_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    encode, names, made = encoder(20, 1).encode, ["a", "b"], list[Sequence[str | None]]()
    original = prediction_json.json_strings
    encode(make_events(2), make_answers(names, 2, 1))

    def counting(fresh: Sequence[str | None]) -> Strings:
        made.append(list(fresh))
        return original(fresh)

    monkeypatch.setattr(prediction_json, "json_strings", counting)
    for name in ("c", "a longer one"):
        names.append(name)
        for seed in range(3):
            encode(make_events(2), make_answers(names, 2, seed))
    assert made == [["c"], ["a longer one"]]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.9999999, 4e-7, 0.1])
def test_numbers_have_six_decimals(value: float) -> None:
    answers = make_answers(["a"], 1, 1)
    answers.purchase[0] = value
    text = encoder().encode(make_events(1), answers).text.tobytes().decode()
    assert text.endswith(f'"purchase_probability":{value:.6f}}}')


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (field, value)
            for field in ("next_type", "probabilities", "purchase")
            for value in (np.nan, np.inf, -0.5, 1.5)
        ),
        *(("type_given_item", value) for value in (np.nan, np.inf, 1.5)),
    ],
)
def test_a_number_that_is_not_a_probability_ends_the_process(field: str, value: float) -> None:
    answers = make_answers(["a", "b"], 2, 2)
    answers.items[:, 0] = 0
    getattr(answers, field)[1] = value
    if field == "type_given_item":
        answers.probabilities[:] = 1
    with pytest.raises(DataPathError, match="version v"):
        encoder().encode(make_events(2), answers)


@pytest.mark.parametrize("value", [-0.5, 0])
def test_an_action_that_nobody_can_take_is_left_out(value: float) -> None:
    answers = make_answers(["a", "b"], 2, 2)
    answers.items[:, 0] = 0
    answers.probabilities[:] = 1
    answers.type_given_item[1] = value
    _, changed = map(json.loads, byte_strings(encoder().encode(make_events(2), answers)))
    assert [action["type"] for action in changed["next_actions"]] == ["search"]


def test_what_is_written_is_decoded_as_a_prediction() -> None:
    events = make_events(1)._replace(
        users=['a "user"'], offsets=np.array([9]), positions=np.array([9]), history_lengths=np.array([2])
    )
    answers = make_answers(['an "item"\n', "ü"], 1, 5)
    prediction = decode_prediction(encoder(10, 5).encode(events, answers).text.tobytes())
    assert (prediction.user_id, prediction.source, prediction.history_length) == ('a "user"', Source(3, 9), 2)
    assert {one.item_id for one in prediction.recommendations} <= set(answers.names)
    assert sum(prediction.next_type.values()) == pytest.approx(1, abs=1e-5)
