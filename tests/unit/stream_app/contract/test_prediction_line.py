"""A prediction as a line for people."""

from __future__ import annotations

import msgspec

from stream_app.contract.prediction_line import prediction_line
from stream_app.contract.predictions import Because, NextAction, Reason
from tests.unit.builders.topic_records import make_prediction


def test_the_best_three_actions_and_five_items_are_shown() -> None:
    actions = [NextAction("click", 0.4, "i7"), NextAction("search", 0.25), *[NextAction("view", 0.1, "i1")] * 3]
    assert prediction_line(make_prediction(actions, 8)) == (
        "ada after view #12: next click i7 40%, search 25%, view i1 10%; buys soon 12%; show i0, i1, i2, i3, i4 [v1]"
    )


def test_a_prediction_without_items_is_shown() -> None:
    assert prediction_line(make_prediction([NextAction("search", 1.0)], 0)).endswith(
        "next search 100%; buys soon 12%; show  [v1]"
    )


def test_titles_stand_for_the_items_that_have_one() -> None:
    actions = [NextAction("cart", 0.4, "i0"), NextAction("view", 0.1, "i1")]
    assert prediction_line(make_prediction(actions, 2), {"i0": "Red shoes, 42", "i1": ""}.__getitem__) == (
        'ada after view #12: next cart "Red shoes, 42" 40%, view i1 10%; buys soon 12%; show "Red shoes, 42", i1 [v1]'
    )


def test_the_weightiest_reason_for_the_first_item_is_said() -> None:
    prediction = make_prediction([NextAction("search", 1.0)], 2)
    reasons = [Reason("i0", [Because("goes_with", 0.6, item_id="i9"), Because("popular_now", 0.1)]), Reason("i1", [])]
    told = msgspec.structs.replace(prediction, reasons=reasons)
    assert prediction_line(told, {"i0": "", "i1": "", "i9": "Red shoes"}.__getitem__).endswith(
        'show i0, i1 (the first as people look at it together with "Red shoes") [v1]'
    )
    assert prediction_line(msgspec.structs.replace(prediction, reasons=reasons[1:])) == prediction_line(prediction)
