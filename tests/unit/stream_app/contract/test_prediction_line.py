"""A prediction as a line for people."""

from __future__ import annotations

from stream_app.contract.prediction_line import prediction_line
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
    assert prediction_line(prediction(actions, 8)) == (
        "ada after view #12: next click i7 40%, search 25%, view i1 10%; buys soon 12%; show i0, i1, i2, i3, i4 [v1]"
    )


def test_a_prediction_without_items_is_shown() -> None:
    assert prediction_line(prediction([NextAction("search", 1.0)], 0)).endswith(
        "next search 100%; buys soon 12%; show  [v1]"
    )


def test_titles_stand_for_the_items_that_have_one() -> None:
    actions = [NextAction("cart", 0.4, "i0"), NextAction("view", 0.1, "i1")]
    assert prediction_line(prediction(actions, 2), {"i0": "Red shoes, 42", "i1": ""}.__getitem__) == (
        'ada after view #12: next cart "Red shoes, 42" 40%, view i1 10%; buys soon 12%; show "Red shoes, 42", i1 [v1]'
    )
