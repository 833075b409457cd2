"""Answers as JSON: Python's own JSON reader and lists of Python objects are the oracle."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.answers import RANKED, Answers
from model.events import EVENT_TYPES, SEARCH
from stream_app.answer_json import AnswerEncoder
from stream_app.errors import DataPathError
from stream_app.wire import Followed, Source, decode_prediction, join_prediction

NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=30, unique=True)


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
    shown = [(answers.names[item], place) for place, item in enumerate(answers.items[row].tolist()) if item >= 0]
    search = float(answers.next_type[row, SEARCH])
    possible = [(search, "search", None)]
    for name, place in shown:
        for kind, on_item in zip(EVENT_TYPES, answers.type_given_item[row, place].tolist(), strict=True):
            possible.append(((1 - search) * float(answers.probabilities[row, place]) * on_item, kind, name))
    best = sorted(possible, key=lambda action: -action[0])[:actions]
    return {
        "next_type": dict(zip(EVENT_TYPES, answers.next_type[row].tolist(), strict=True)),
        "next_actions": [
            {"type": kind, "probability": chance} | ({} if name is None else {"item_id": name})
            for chance, kind, name in best
            if chance > 0
        ],
        "recommendations": [
            {"item_id": name, "score": float(answers.probabilities[row, place])}
            for name, place in shown[:recommendations]
        ],
        "purchase_probability": float(answers.purchase[row]),
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return pytest.approx(value, abs=1.1e-6) if isinstance(value, float) else value


@given(NAMES, st.integers(0, 5), st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 50))
def test_json_says_what_the_answers_say(
    names: list[str], rows: int, seed: int, recommendations: int, actions: int
) -> None:
    answers = make_answers(names, rows, seed)
    encoder = AnswerEncoder(recommendations=recommendations, actions=actions)
    for _ in range(2):  # the second time with the ids kept from the first
        parts = encoder.encode(answers)
        assert len(parts) == rows
        for row, part in enumerate(parts):
            assert json.loads(b"{" + part) == rounded(expected(answers, row, recommendations, actions))


def test_other_items_replace_those_of_the_batch_before() -> None:
    encoder = AnswerEncoder(recommendations=3, actions=3)
    encoder.encode(make_answers(["old"], 1, 1))
    answers = make_answers(["new", "newer"], 1, 5)
    found = json.loads(b"{" + encoder.encode(answers)[0])["recommendations"]
    assert [one["item_id"] for one in found] == [answers.names[item] for item in answers.items[0] if item >= 0][:3]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.9999999, 4e-7, 0.1])
def test_numbers_have_six_decimals(value: float) -> None:
    answers = make_answers(["a"], 1, 1)
    answers.purchase[0] = value
    text = AnswerEncoder(recommendations=1, actions=1).encode(answers)[0].decode()
    assert text.endswith(f'"purchase_probability":{value:.6f}}}')


@pytest.mark.parametrize("field", ["next_type", "probabilities", "purchase", "type_given_item"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 1.5])
def test_a_number_that_is_no_probability_ends_the_process(field: str, value: float) -> None:
    answers = make_answers(["a", "b"], 2, 2)
    answers.items[:, 0] = 0
    getattr(answers, field)[1] = value
    if field == "type_given_item":
        if not value > 0:
            pytest.skip("an action that nobody can take is left out")
        answers.probabilities[:] = 1
    with pytest.raises(DataPathError, match="version v"):
        AnswerEncoder(recommendations=1, actions=1).encode(answers)


def test_both_halves_make_a_prediction() -> None:
    followed = Followed("id", 'a "user"', None, "view", 7, Source(3, 9), "v", 2)
    answers = make_answers(['an "item"\n', "ü"], 1, 5)
    value = join_prediction(followed, AnswerEncoder(recommendations=10, actions=5).encode(answers)[0])
    prediction = decode_prediction(value)
    assert (prediction.user_id, prediction.source, prediction.history_length) == ('a "user"', Source(3, 9), 2)
    assert {one.item_id for one in prediction.recommendations} <= set(answers.names)
    assert sum(prediction.next_type.values()) == pytest.approx(1, abs=1e-5)
