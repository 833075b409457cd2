"""What predictions say of their users, as they are published, decides on who fits into an audience."""

from __future__ import annotations

import json

import pytest

from model.profile.audiences import Audience, Liking, Range
from stream_app.contract.string_columns import strings
from stream_app.signals.said import fitting_audiences

SAID = {
    "segment": {"id": 3, "name": "returning, shoes", "fit": 0.8},
    "leave_probability": 0.7,
    "return_probability": 0.2,
    "preferences": {
        "categories": [{"name": "shoes", "share": 0.6}, {"name": "hats", "share": 0.1}],
        "brands": [{"name": "Roadster", "share": 0.5}],
        "price_band": {"low": 20.0, "currency": "EUR"},
    },
}
OTHERS = {"user_id": "u", "purchase_probability": 0.1}
PREDICTIONS = strings([json.dumps(fields).encode() for fields in (OTHERS, OTHERS | SAID)])


@pytest.mark.parametrize(
    ("audience", "fits"),
    [
        (Audience(segments=[3]), True),
        (Audience(segments=[4, "returning, shoes"]), True),
        (Audience(segments=[4]), False),
        (Audience(leave_probability=Range(at_least=0.7)), True),
        (Audience(leave_probability=Range(at_most=0.6)), False),
        (Audience(return_probability=Range(at_most=0.2)), True),
        (Audience(likes=[Liking(category="shoes", at_least=0.6), Liking(brand="Roadster", at_least=0.1)]), True),
        (Audience(likes=[Liking(category="shoes", at_least=0.6), Liking(brand="shoes", at_least=0.1)]), False),
        (Audience(likes=[Liking(category="hats", at_least=0.2)]), False),
        (Audience(segments=[3], leave_probability=Range(at_least=0.9)), False),
    ],
)
def test_all_conditions_on_what_a_prediction_says_must_hold(audience: Audience, fits: bool) -> None:
    audiences = {"a": audience, "other": Audience(cart_open=True)}
    assert audience.problems() == []
    assert fitting_audiences(audiences, PREDICTIONS, 1) == ["a"] * fits
    assert fitting_audiences(audiences, PREDICTIONS, 0) == []  # of which it says nothing
