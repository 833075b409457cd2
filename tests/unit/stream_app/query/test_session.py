"""Events of a session: read as from Kafka, or refused with the event and the field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.events import decode_event
from stream_app.contract.questions.answers import MOST_EVENTS
from stream_app.query.refusals import Refusal
from stream_app.query.session import read_session

NOW_MS = 1_700_000_000_000
VIEW = {"type": "view", "item_id": "shoe 1"}


def test_events_are_read_as_from_the_events_topic() -> None:
    events: list[dict[str, Any]] = [
        VIEW,
        {"type": "add_to_cart", "item_id": "shoe 1", "timestamp": "2023-11-14T22:00:00Z", "price": 5},
        {"type": "search", "query": "red shoes", "event_id": "e1"},
        {"type": "purchase", "items": [{"item_id": "shoe 1"}, {"item_id": "hat 2", "category": "hats"}]},
    ]
    decoded = read_session(events, NOW_MS)
    contents = [decode_event(b"u", msgspec.json.encode({"user_id": "u", **event}), NOW_MS) for event in events]
    expected = [msgspec.structs.replace(action, user_id="-") for one in contents for action in one.actions]
    assert decoded.events == expected
    assert decoded.times == [time for one in contents for time in one.times]
    assert (decoded.positions, decoded.lines) == ([0, 1, 2, 3, 3], [0, 0, 0, 0, 1])
    assert decoded.record_times == [NOW_MS] * 5


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"type": "view"}, r"a view has no item_id"),
        ({"item_id": "shoe 1"}, r"missing required field `type`"),
        ({"type": "view", "item_id": 5}, r"Expected `str \| null`, got `int` - at `\$.item_id`"),
        ({"type": "view", "item_id": "x" * 257}, r"item_id has more than 256 characters"),
        ({"type": "view", "item_id": "a", "price": -1}, r"\$.price"),
        ({"type": "view", "item_id": "a", "timestamp": "soon"}, r"timestamp 'soon' is not RFC 3339"),
        ({"type": "dance", "item_id": "a"}, r"type is 'dance', not one of click, .*, remove$"),
        ({"type": "page_view", "item_id": "a"}, r"'page_view' is not an action of a shopper"),
        ({"type": "identify", "anonymous_id": "a"}, r"'identify' is not an action of a shopper"),
        ({**VIEW, "user_id": "u"}, r"leave `user_id` out"),
    ],
)
def test_what_is_not_an_event_is_refused_by_its_number(event: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=r"^events\[1\]: .*" + message) as refused:
        read_session([VIEW, event, {"type": "also wrong"}], NOW_MS)
    assert refused.value.content.code == "bad_request"


def test_of_large_baskets_the_last_ones_count() -> None:
    def basket(lines: int) -> dict[str, Any]:
        return {"type": "cart", "items": [{"item_id": f"item {line}"} for line in range(lines)]}

    decoded = read_session([basket(30), basket(30), basket(30)], NOW_MS)
    assert (len(decoded.events), decoded.lines[0], decoded.positions[0]) == (60, 0, 1)
    assert len(read_session([basket(500)], NOW_MS).events) == 32
    assert len(read_session([VIEW] * MOST_EVENTS, NOW_MS).events) == MOST_EVENTS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["type", "item_id", "query", "timestamp", "price", "items", "anonymous_id", "event_name", "x"])
TYPES = st.sampled_from(["view", "search", "identify", "track", "page_view", "purchase"])


@given(st.lists(st.dictionaries(NAMES, JSON | TYPES, max_size=4), min_size=1, max_size=4))
def test_any_json_is_read_or_refused(events: list[dict[str, Any]]) -> None:
    try:
        decoded = read_session(events, NOW_MS)
    except Refusal:
        with pytest.raises(Refusal, match=r"^events\[\d\]: "):
            read_session(events, NOW_MS)
    else:
        assert sorted(set(decoded.positions)) == list(range(len(events)))
