"""Questions are checked when they are read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream_app.contract.predictions import decode_prediction
from stream_app.contract.questions.answers import CurrentPrediction, RankQuestion, SessionQuestion
from tests.unit.builders.questions import prediction


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (RankQuestion, b'{"candidates": []}'),
        (RankQuestion, b'{"candidates": [""]}'),
        (RankQuestion, b'{"candidates": ["%s"]}' % (b"x" * 257)),
        (RankQuestion, b'{"candidates": [%s"x"]}' % (b'"x",' * 1000)),
        (RankQuestion, b'{"candidates": ["x"], "other": 1}'),
        (SessionQuestion, b'{"events": []}'),
        (SessionQuestion, b'{"events": [1]}'),
        (SessionQuestion, b'{"events": [%s{}]}' % (b"{}," * 64)),
    ],
)
def test_a_question_that_asks_too_much_or_nothing_is_refused(kind: Any, body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=kind)


def test_a_published_prediction_is_a_current_one() -> None:
    value = prediction("u")
    current = msgspec.json.decode(value, type=CurrentPrediction)
    published = decode_prediction(value)
    assert {name: getattr(current, name) for name in published.__struct_fields__} == {
        name: getattr(published, name) for name in published.__struct_fields__
    }
