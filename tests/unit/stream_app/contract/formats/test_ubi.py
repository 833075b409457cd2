"""UBI's events, field by field; whole events: test_samples."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.data.events import Event
from stream_app.contract.decoded import Contents, RejectedRecord, ShownList
from stream_app.contract.events import decode_event
from stream_app.contract.formats.options import DecodeOptions

EVENT: dict[str, Any] = {
    "action_name": "click", "client_id": "c", "user_id": "u", "session_id": "s", "application": "home",
    "timestamp": "1970-01-01T00:00:01Z",
    "event_attributes": {"object": {"object_id": 7}, "market": "DE", "prediction_id": "p"},
}  # fmt: skip


def decoded(key: bytes = b"c", **more: Any) -> Contents:
    return decode_event(key, json.dumps(EVENT | more).encode(), 5)


def test_every_field_of_an_action() -> None:
    contents = decoded()
    assert list(contents.actions) == [Event("c", "click", "7", session_id="s", market="DE")]
    assert list(contents.times) == [1000]
    assert list(decoded(timestamp=None).times) == [5]
    assert [one.user_id for one in decoded(b"u").actions] == ["u"]


def test_every_field_of_a_search() -> None:
    (search,) = decoded(action_name="search", user_query="toner", message="x").actions
    assert (search.type, search.query) == ("search", "toner")
    (search,) = decoded(action_name="on_search", message="toner", event_attributes=None).actions
    assert (search.query, search.item_id) == ("toner", None)


def test_every_field_of_an_impression() -> None:
    wanted = ShownList(
        "c", ["7"], time=1000, record_time=5, prediction_id="p", slate="home", session_id="s", market="DE"
    )
    assert list(decoded(action_name="impression").shown) == [wanted]
    assert decoded(action_name="impression", event_attributes={}) == Contents(ignored=("impression",))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"event_attributes": {"object": None}}, "missing_field"),
        ({"event_attributes": {"object": {"object_id": ""}}}, "missing_field"),
        ({"action_name": "search"}, "missing_field"),
        ({"event_attributes": {"object": "7"}}, "invalid_field"),
        ({"timestamp": "2018-11-13T20:20:39"}, "invalid_timestamp"),
        ({"action_name": "declined_product"}, "unknown_type"),
        ({"action_name": "identify"}, "unknown_type"),
        ({"action_name": 7}, "missing_field"),
        ({"key": b"v"}, "key_mismatch"),
    ],
    ids=str,
)
def test_what_is_wrong_is_rejected(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecord) as rejected:
        decoded(**fields)
    assert rejected.value.reason == reason


def test_a_fixed_format_asks_for_the_name() -> None:
    with pytest.raises(RejectedRecord) as rejected:
        decode_event(b"u", b'{"user_id": "u", "type": "view", "item_id": "i"}', 5, DecodeOptions(format="ubi"))
    assert rejected.value.reason == "missing_field"
