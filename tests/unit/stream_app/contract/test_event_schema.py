"""The schema accepts exactly the events that the code accepts."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import EVENT_TYPES, Event
from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.event_names import IDENTITY_NAMES, IGNORED_NAMES, SHOWN_NAMES, TYPE_NAMES
from stream_app.contract.event_schema import EVENT_EXAMPLES, event_schema
from stream_app.contract.events import decode_event
from stream_app.contract.formats.own import IdentityRecord, ShownRecord

EVENT = jsonschema.Draft7Validator(event_schema())

CLICK = {"user_id": "ada", "type": "click", "item_id": "shoe-7"}
SEARCH = {"user_id": "ada", "type": "search", "query": "red shoes"}
SHOWN = {"user_id": "ada", "type": "shown", "items": ["shoe-7", "sock-1"]}
IDENTITY = {"user_id": "ada", "type": "identify", "anonymous_id": "cookie-3f"}
ACCEPTED: dict[str, dict[str, Any]] = {
    "a click": CLICK,
    "a search": SEARCH,
    "a search of nothing": SEARCH | {"query": ""},
    "a search that names an item": SEARCH | {"item_id": "shoe-7"},
    "GA4": CLICK | {"type": "add_to_cart"},
    "Segment": CLICK | {"type": "Order Completed"},
    "Segment's search": SEARCH | {"type": "Products Searched"},
    "capitals": CLICK | {"type": "CLICK"},
    "unknown fields": CLICK | {"page": {"url": "/"}, "ratings": [1, None]},
    "the longest id": CLICK | {"item_id": "é" * 256},
    "RFC 3339": CLICK | {"timestamp": "2026-01-02T03:04:05.678901+05:30"},
    "RFC 3339, small letters": CLICK | {"timestamp": "2026-01-02t03:04:05z"},
    "milliseconds": CLICK | {"timestamp": 1_767_323_045_678},
    "milliseconds, a fraction": CLICK | {"timestamp": 1_767_323_045_678.5},
    "before 1970": CLICK | {"timestamp": -1},
    "nulls": CLICK | dict.fromkeys(("query", "timestamp", "event_id", "category", "brand", "price", "quantity")),
    "free": CLICK | {"price": 0},
    "a basket": {
        "user_id": "ada",
        "type": "purchase",
        "items": [{"item_id": "a", "price": 1, "x": 2}, {"item_id": "b"}],
    },
    "a basket beside an item": CLICK | {"items": [{"item_id": "a"}]},
    "an empty basket beside an item": CLICK | {"items": []},
    "a search with items": SEARCH | {"items": [{"item_id": "a"}]},
    "GA4's noise": {"user_id": "ada", "type": "page_view"},
    "noise whatever it says": {"type": "Scroll", "price": "high", "user_id": 7},
    "a list": SHOWN,
    "a list of items": SHOWN | {"items": [{"item_id": "a", "price": "?"}, "b"], "slate": "home", "prediction_id": "p"},
    "a list of nothing": SHOWN | {"items": []},
    "a list, GA4": SHOWN | {"type": "view_item_list", "timestamp": 5},
    "an identity": IDENTITY,
    "an identity of one id": {"user_id": "ada", "type": "Identify"},
    "an alias": IDENTITY | {"type": "alias", "event_id": "e", "timestamp": None},
    "returned": CLICK | {"type": "purchase", "price": 89.9, "quantity": -1, "currency": "EUR"},
}
REFUSED: dict[str, dict[str, Any]] = {
    "a list without items": {"user_id": "ada", "type": "shown"},
    "a list of numbers": SHOWN | {"items": [1]},
    "a list of one empty id": SHOWN | {"items": [""]},
    "a list of objects without ids": SHOWN | {"items": [{}]},
    "a list at no time": SHOWN | {"timestamp": "soon"},
    "a list for nobody": {"type": "shown", "items": ["a"]},
    "an identity of nobody": {"type": "identify", "anonymous_id": "cookie"},
    "an identity of a number": IDENTITY | {"anonymous_id": 7},
    "an identity at no time": IDENTITY | {"timestamp": ""},
    "no user": {"type": "click", "item_id": "shoe-7"},
    "no type": {"user_id": "ada", "item_id": "shoe-7"},
    "no item": {"user_id": "ada", "type": "click"},
    "a null for the item": CLICK | {"item_id": None},
    "a query instead of the item": CLICK | {"item_id": None, "query": "red shoes"},
    "no query": {"user_id": "ada", "type": "search"},
    "no query, by another name": {"user_id": "ada", "type": "view_search_results", "item_id": "shoe-7"},
    "a null for the query": SEARCH | {"query": None},
    "an empty user": CLICK | {"user_id": ""},
    "an id too long": CLICK | {"item_id": "x" * 257},
    "a number for the user": CLICK | {"user_id": 7},
    "a number for the item": CLICK | {"item_id": 7},
    "a type nobody knows": CLICK | {"type": "gaze"},
    "a type with a space": CLICK | {"type": "click "},
    "no offset from UTC": CLICK | {"timestamp": "2026-01-02T03:04:05"},
    "a thirteenth month": CLICK | {"timestamp": "2026-13-02T03:04:05Z"},
    "a word for a time": CLICK | {"timestamp": "yesterday"},
    "after the year 9999": CLICK | {"timestamp": 253_402_300_800_000},
    "a negative price": CLICK | {"price": -0.01},
    "a text for the price": CLICK | {"price": "89.90"},
    "a boolean for the quantity": CLICK | {"quantity": True},
    "an empty basket": {"user_id": "ada", "type": "purchase", "items": []},
    "a line without an item": CLICK | {"items": [{"price": 1}]},
    "a text in the basket": CLICK | {"items": ["shoe-7"]},
    "a negative price in the basket": CLICK | {"items": [{"item_id": "a", "price": -1}]},
    "a list for the category": CLICK | {"category": ["running"]},
}


def accepted(event: dict[str, Any]) -> bool:
    """Returns whether the code accepts the event, given the right record key."""
    user = event.get("user_id")
    try:
        decode_event(user.encode() if isinstance(user, str) else b"key", json.dumps(event).encode(), 0)
    except RejectedRecord:
        return False
    return True


def test_the_schema_is_valid_and_describes_every_field() -> None:
    schema = event_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    for kind in schema["oneOf"]:
        assert all("description" in field for field in kind["properties"].values())


def test_the_schema_names_every_field_and_type() -> None:
    action, shown, identity, _ = event_schema()["oneOf"]
    assert set(action["properties"]) == set(Event.__struct_fields__)
    assert set(shown["properties"]) == set(ShownRecord.__struct_fields__)
    assert set(identity["properties"]) == set(IdentityRecord.__struct_fields__)
    assert action["required"] == ["user_id", "type"]
    assert action["properties"]["type"]["anyOf"][0]["enum"] == list(EVENT_TYPES)


@pytest.mark.parametrize("name", sorted(SHOWN_NAMES | IDENTITY_NAMES | IGNORED_NAMES))
def test_every_name_of_what_is_no_action_is_in_the_schema(name: str) -> None:
    for spelled in (name, name.upper(), name.title()):
        EVENT.validate(SHOWN | IDENTITY | {"type": spelled})
        assert accepted(SHOWN | IDENTITY | {"type": spelled})


@pytest.mark.parametrize("example", EVENT_EXAMPLES, ids=lambda example: str(example["type"]))
def test_examples_are_events(example: dict[str, Any]) -> None:
    EVENT.validate(example)
    assert accepted(example)


@pytest.mark.parametrize("event", ACCEPTED.values(), ids=ACCEPTED)
def test_events_that_are_accepted(event: dict[str, Any]) -> None:
    EVENT.validate(event)
    assert accepted(event)


@pytest.mark.parametrize("event", REFUSED.values(), ids=REFUSED)
def test_events_that_are_refused(event: dict[str, Any]) -> None:
    assert not EVENT.is_valid(event)
    assert not accepted(event)


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
@pytest.mark.parametrize("field", ["price", "quantity"])
def test_numbers_must_be_finite(field: str, number: str) -> None:
    text = json.dumps(CLICK)[:-1] + f', "{field}": {number}}}'
    assert not EVENT.is_valid(json.loads(text))
    with pytest.raises(RejectedRecord):
        decode_event(b"ada", text.encode(), 0)


@pytest.mark.parametrize("name", TYPE_NAMES)
def test_every_name_of_a_type_is_in_the_schema(name: str) -> None:
    for spelled in (name, name.upper(), name.title()):
        EVENT.validate(CLICK | SEARCH | {"type": spelled})


TEXTS = st.none() | st.text("ab é", max_size=3) | st.sampled_from(["x" * 256, "x" * 257])
NUMBERS = st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
OTHERS = st.sampled_from([True, [], {}, 1, "text"])
TIMES = st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T03:04:05-08:00", "2026-01-02T03:04:61Z", "2026-01-02", ""])
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "user_id": TEXTS | OTHERS,
        "type": st.sampled_from([*TYPE_NAMES, "Search", "Product Viewed", "gaze", "shown", "identify", "page_view"])
        | OTHERS,
        "item_id": TEXTS | OTHERS,
        "query": TEXTS | OTHERS,
        "timestamp": TIMES | NUMBERS | OTHERS,
        "price": NUMBERS | OTHERS,
        "quantity": NUMBERS | OTHERS,
        "session_id": TEXTS | OTHERS,
        "items": st.lists(
            st.fixed_dictionaries({}, optional={"item_id": TEXTS, "price": NUMBERS}) | TEXTS | OTHERS, max_size=2
        ),
        "anonymous_id": TEXTS | OTHERS,
        "slate": TEXTS | OTHERS,
        "unknown": TEXTS | OTHERS,
    },
)


WHOLE: st.SearchStrategy[dict[str, Any]] = st.sampled_from([{}, CLICK, SEARCH, SHOWN, IDENTITY, {"type": "page_view"}])


@given(st.tuples(WHOLE, EVENTS).map(lambda both: both[0] | both[1]))
def test_the_schema_and_the_code_say_the_same(event: dict[str, Any]) -> None:
    assert EVENT.is_valid(event) == accepted(event)


@given(st.datetimes().map(lambda moment: moment.isoformat() + "Z"))
def test_times_that_the_schema_takes_are_accepted(timestamp: str) -> None:
    """The code reads more of ISO 8601 than the contract promises, so this holds one way only."""
    EVENT.validate(CLICK | {"timestamp": timestamp})
    assert accepted(CLICK | {"timestamp": timestamp})
