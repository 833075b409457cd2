"""Decoding predictions as subscribers do: plain JSON is the oracle."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.event_time import FLAGS, Flag
from stream_app.contract.predictions import NextAction, Recommendation, Source, decode_prediction

TEXT = st.text(max_size=20)
PROBABILITIES = st.floats(0, 1)
ACTIONS = st.fixed_dictionaries({"type": TEXT, "probability": PROBABILITIES}, optional={"item_id": TEXT})
ANSWERS = st.fixed_dictionaries(
    {
        "next_type": st.dictionaries(TEXT, PROBABILITIES),
        "next_actions": st.lists(ACTIONS, max_size=3),
        "recommendations": st.lists(st.fixed_dictionaries({"item_id": TEXT, "score": PROBABILITIES}), max_size=3),
        "purchase_probability": PROBABILITIES,
    }
)


@given(ANSWERS, st.none() | TEXT, st.sampled_from(FLAGS))
def test_predictions_are_decoded_from_json(answer: dict[str, Any], event_id: str | None, flag: Flag | None) -> None:
    about_event: dict[str, Any] = {
        "prediction_id": "an id",
        "user_id": "u",
        "event_id": event_id,
        "event_type": "view",
        "event_timestamp": -(2**60),
        "source": {"partition": 99, "offset": 2**53},
        "model_version": "v",
        "history_length": 2**60,
    }
    given_flag = {} if flag is None else {"event_time_flag": flag}
    prediction = decode_prediction(json.dumps(about_event | given_flag | answer).encode())
    assert prediction.source == Source(99, 2**53)
    for name in about_event.keys() - {"source"}:
        assert getattr(prediction, name) == about_event[name]
    assert prediction.event_time_flag == flag
    assert prediction.next_type == answer["next_type"]
    assert prediction.next_actions == [NextAction(**action) for action in answer["next_actions"]]
    assert prediction.recommendations == [Recommendation(**shown) for shown in answer["recommendations"]]
    assert prediction.purchase_probability == answer["purchase_probability"]


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"prediction_id": 1}', b'{"user_id":"\xff"}', b"[" * 5000])
def test_a_value_that_is_not_a_prediction_is_refused(value: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_prediction(value)


def test_a_field_of_a_later_version_is_ignored() -> None:
    prediction = {
        "prediction_id": "an id",
        "user_id": "u",
        "event_id": None,
        "event_type": "view",
        "event_timestamp": 1,
        "source": {"partition": 0, "offset": 1, "lane": 2},
        "model_version": "v",
        "history_length": 1,
        "next_type": {},
        "next_actions": [{"type": "search", "probability": 0.5, "query": "shoes"}],
        "recommendations": [],
        "purchase_probability": 0.1,
        "mood": {"id": 3},
    }
    decoded = decode_prediction(json.dumps(prediction).encode())
    assert (decoded.source, decoded.event_time_flag) == (Source(0, 1), None)
    assert decoded.next_actions == [NextAction("search", 0.5)]
