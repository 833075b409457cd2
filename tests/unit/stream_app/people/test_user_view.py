"""A user's records as a person reads them; what was put in is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.data.events import Event, item_key
from model.errors import RecordCorrupt
from model.state.user_record import pack
from stream_app.contract.predictions import (
    Because,
    NamedShare,
    NextAction,
    Prediction,
    Preferences,
    PriceBand,
    Reason,
    Recommendation,
    Segment,
    Source,
)
from stream_app.people.user_view import ReadUser, lines_of, view_of
from tests.unit.builders.basics import Logged
from tests.unit.builders.engines import make_engines

NAMES = {item_key(item_id): item_id for item_id in ("shoe-7", "sock-1")}
MINUTE = 60_000


def names_of(keys: NDArray[np.uint64]) -> list[str]:
    return [NAMES.get(key, "") for key in keys.tolist()]


def nobody(keys: NDArray[np.uint64]) -> list[str]:
    return [""] * len(keys)


def record_of(*actions: tuple[str, str, int]) -> bytes:
    """The record of a user with these actions: type, item and time in ms."""
    engines = make_engines()
    for offset, (kind, item, time) in enumerate(actions):
        event = Event(user_id="ada", type=kind, item_id=None if kind == "search" else item, query=item)
        engines.advance([Logged(event, time, offset)])
    return pack(engines.states.snapshot(np.array([0])))[0]


def prediction() -> Prediction:
    return Prediction(
        prediction_id="1",
        user_id="ada",
        event_id=None,
        event_type="view",
        event_timestamp=0,
        source=Source(0, 2),
        model_version="v1",
        history_length=3,
        next_type={"view": 1.0},
        next_actions=[NextAction("view", 0.5, "sock-1"), NextAction("search", 0.25)],
        recommendations=[Recommendation("sock-1", 0.4), Recommendation("hat-3", 0.2)],
        purchase_probability=0.125,
        leave_probability=0.5,
        preferences=Preferences([NamedShare("shoes", 0.75)], [], PriceBand(10, 20, "EUR")),
        segment=Segment(3, "returning, shoes", 0.5),
        reasons=[Reason("sock-1", [Because("goes_with", 0.5, item_id="shoe-7")])],
    )


def test_the_history_is_named_newest_first_with_its_times() -> None:
    state = record_of(("view", "shoe-7", 0), ("search", "red socks", 5 * MINUTE), ("cart", "gone", 5 * MINUTE + 1000))
    view = view_of(ReadUser("ada", 4, state, None), names_of)
    assert [(action.type, action.item_id) for action in view.history] == [
        ("cart", None),
        ("search", None),
        ("view", "shoe-7"),
    ]
    assert (view.actions, view.last_action, view.state_bytes) == (3, "1970-01-01T00:05:01+00:00", len(state))
    before = [action.seconds_before for action in view.history]
    assert before[0] == 0
    assert before[1] == pytest.approx(1, abs=1)
    assert before[2] == pytest.approx(301, rel=0.4)  # buckets of gaps are that coarse


def test_all_that_a_prediction_says_is_shown() -> None:
    read = ReadUser("ada", 4, record_of(("view", "shoe-7", 0)), prediction())
    view = view_of(read, names_of)
    text = "\n".join(lines_of(view, lambda item: "Trail shoe" if item == "shoe-7" else "", most=5))
    for said in (
        "ada: 1 actions",
        "view       Trail shoe (shoe-7)",
        "50.0%  view sock-1",
        "12.5%  buys soon",
        "50.0%  leaves now",
        "Segment: returning, shoes (number 3, fits 50%)",
        "75.0%  shoes",
        "Price band: 10 to 20 EUR",
        " 50% people look at it together with Trail shoe (shoe-7)",
        " 2  hat-3",
    ):
        assert said in text


def test_what_is_not_there_is_said() -> None:
    read = ReadUser("ada", 4, record_of(("view", "gone", 0)), None)
    text = "\n".join(lines_of(view_of(read, nobody), lambda _: "", most=5))
    assert "an item that neither version nor catalogue names" in text
    assert "Their newest prediction is no longer on the topic." in text


def test_bytes_that_are_no_record_are_refused() -> None:
    with pytest.raises(RecordCorrupt):
        view_of(ReadUser("ada", 4, record_of(("view", "shoe-7", 0))[:-1], None), nobody)
