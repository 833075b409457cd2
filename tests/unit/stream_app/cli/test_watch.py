"""`nextact watch`: a prediction as a line for people."""

from __future__ import annotations

import msgspec
import pytest

from stream_app.cli.watch import line, shown
from stream_app.contract.predictions import NextAction, Prediction, Recommendation, Source


def prediction(actions: list[NextAction], items: int) -> Prediction:
    return Prediction(
        prediction_id="p",
        user_id="ada",
        event_id=None,
        event_type="view",
        event_timestamp=0,
        source=Source(0, 0),
        model_version="v1",
        history_length=12,
        next_type={},
        next_actions=actions,
        recommendations=[Recommendation(f"i{number}", 0.5) for number in range(items)],
        purchase_probability=0.123,
    )


def test_the_best_three_actions_and_five_items_are_shown() -> None:
    actions = [NextAction("click", 0.4, "i7"), NextAction("search", 0.25), *[NextAction("view", 0.1, "i1")] * 3]
    assert line(prediction(actions, 8)) == (
        "ada after view #12: next click i7 40%, search 25%, view i1 10%; buys soon 12%; show i0 i1 i2 i3 i4 [v1]"
    )


def test_a_prediction_without_items_is_shown() -> None:
    assert line(prediction([NextAction("search", 1.0)], 0)).endswith("next search 100%; buys soon 12%; show  [v1]")


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"user_id":"\xff"}', b"[" * 5000, b'{"\\u001b[2J":1}'])
def test_a_record_that_is_not_a_prediction_is_a_line_and_not_the_end(value: bytes) -> None:
    assert shown(value).startswith("not a prediction: ")
    assert shown(value).isprintable()


def test_no_user_controls_the_terminal() -> None:
    odd = msgspec.structs.replace(prediction([], 0), user_id="\x1b[2J\nada")
    assert shown(msgspec.json.encode(odd)).startswith("\\x1b[2J\\nada after view")
