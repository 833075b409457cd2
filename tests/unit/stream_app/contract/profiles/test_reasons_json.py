"""Reasons as JSON: Python's own reader and lists of Python objects are the oracle."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.profile.why.explain import Reasons
from model.profile.why.reasons import BECAUSE, CODES
from model.serving.answers import Answers
from stream_app.contract.prediction_json import json_strings
from stream_app.contract.predictions import Reason
from stream_app.contract.profiles.reasons_json import reasons_json
from tests.unit.builders.basics import byte_strings

NAMES = ["a", 'quo"ted', "日本", "\n", "long" * 60]


def answers(rows: int, explained: int, seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    shape = rows, explained, BECAUSE
    there = np.arange(BECAUSE) < rng.integers(0, BECAUSE + 1, (rows, explained, 1))
    weights = rng.dirichlet(np.ones(BECAUSE), shape[:2]).astype(np.float32)
    items = rng.integers(-1, len(NAMES), shape)
    reasons = Reasons(np.where(there, rng.integers(0, len(CODES), shape), -1).astype(np.int8), weights, items)
    ranked = rng.integers(0, len(NAMES), (rows, 20))
    ranked[np.arange(20) >= rng.integers(0, 20, (rows, 1))] = -1
    nothing = np.zeros(rows, np.float32)
    return Answers(
        "v", NAMES, ranked, nothing[:, None], nothing[:, None], nothing[:, None, None], nothing, reasons=reasons
    )


def expected(given: Answers, row: int) -> list[dict[str, Any]]:
    assert given.reasons is not None
    found = []
    for rank, item in enumerate(given.items[row].tolist()[: given.reasons.codes.shape[1]]):
        if item < 0:
            break
        because = []
        for code, weight, own in zip(*(column[row, rank].tolist() for column in given.reasons), strict=True):
            if code < 0:
                break
            named = {"item_id": NAMES[own]} if own >= 0 else {}
            because.append({"code": CODES[code], "weight": math.floor(100 * weight) / 100} | named)
        found.append({"item_id": NAMES[item], "because": because})
    return found


@pytest.mark.parametrize("explained", [1, 3, 20])
def test_reasons_are_read_as_they_are(explained: int) -> None:
    given, names = answers(50, explained, seed=explained), json_strings(NAMES)
    column = byte_strings(reasons_json(given, names, int(np.diff(names.starts).max())))
    assert len(column) == 50
    for row, field in enumerate(column):
        assert field.startswith(b',"reasons":[')
        read = json.loads(b"{" + field[1:] + b"}")["reasons"]
        assert read == expected(given, row)
        assert all(sum(one["weight"] for one in reason["because"]) <= 1 + 1e-9 for reason in read)
        assert all(isinstance(Reason(**reason), Reason) for reason in read)


def test_a_weight_of_one_is_written_whole() -> None:
    given = answers(1, 1, seed=1)
    one = Reasons(np.array([[[0, -1, -1]]], np.int8), np.array([[[1.0, 0, 0]]], np.float32), np.full((1, 1, 3), -1))
    given = replace(given, reasons=one, items=np.zeros((1, 20), np.int64))
    (field,) = byte_strings(reasons_json(given, json_strings(NAMES), 300))
    assert field == b',"reasons":[{"item_id":"a","because":[{"code":"viewed","weight":1.00}]}]'


def test_answers_without_reasons_get_nothing() -> None:
    given = replace(answers(3, 1, seed=1), reasons=None)
    assert byte_strings(reasons_json(given, json_strings(NAMES), 300)) == [b"", b"", b""]
