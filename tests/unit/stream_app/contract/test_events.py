"""Decoding events: plain JSON and datetime are the oracles, and whatever is not an event is rejected with a reason."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.data.events import EVENT_TYPES, Event, actions_of
from stream_app.contract.decoded import REASONS, DecodedBatch, RejectedRecord
from stream_app.contract.event_names import TYPE_NAMES
from stream_app.contract.events import LARGEST_EVENT, decode_batch, decode_event
from tests.unit.builders.basics import make_record

VIEW: dict[str, Any] = {"user_id": "u", "type": "view", "item_id": "i"}


def encoded(**fields: Any) -> bytes:
    return json.dumps(VIEW | fields).encode()


def raw(*members: bytes) -> bytes:
    """A view with further members that `json` would not write."""
    return b'{"user_id": "u", "type": "view", "item_id": "i", ' + b", ".join(members) + b"}"


def decoded(value: bytes | None, key: bytes | None = b"u", record_time: int = 5) -> tuple[Event, int]:
    contents = decode_event(key, value, record_time)
    (event,), (time,) = contents.actions, contents.times
    return event, time


def rejection(value: bytes | None, key: bytes | None = b"u") -> str:
    with pytest.raises(RejectedRecord) as rejected:
        decode_event(key, value, 5)
    assert str(rejected.value)
    return rejected.value.reason


REJECTED: list[tuple[str, bytes | None, bytes | None, str]] = [
    ("a tombstone", None, b"u", "empty"),
    ("an empty value", b"", b"u", "empty"),
    ("a value over the limit", raw(b'"x": "' + b"x" * LARGEST_EVENT + b'"'), b"u", "too_large"),
    ("a megabyte", b"x" * 2**20, b"u", "too_large"),
    ("bytes that are not UTF-8", raw(b'"brand": "\xff"'), b"u", "not_utf8"),
    ("an encoded surrogate", raw(b'"brand": "\xed\xa0\x80"'), b"u", "not_utf8"),
    ("UTF-16", json.dumps(VIEW).encode("utf-16"), b"u", "not_utf8"),
    ("half an object", b'{"user_id": "u"', b"u", "not_json"),
    ("two objects", encoded() + encoded(), b"u", "not_json"),
    ("a byte order mark", b"\xef\xbb\xbf" + encoded(), b"u", "not_json"),
    ("NaN", raw(b'"price": NaN'), b"u", "not_json"),
    ("Infinity", raw(b'"price": -Infinity'), b"u", "not_json"),
    ("a number beyond floats", raw(b'"price": 1e400'), b"u", "not_json"),
    ("a number of 5000 digits", raw(b'"timestamp": 1' + b"0" * 5000), b"u", "not_json"),
    ("a lone surrogate", raw(b'"event_id": "\\ud800"'), b"u", "not_json"),
    ("a lone surrogate as user", b'{"user_id": "\\udfff", "type": "view", "item_id": "i"}', b"u", "not_json"),
    ("nesting without end", b"[" * 200_000, b"u", "not_json"),
    ("deep nesting in an unknown field", raw(b'"x": ' + b"[" * 90_000 + b"]" * 90_000), b"u", "not_json"),
    ("deep objects in an unknown field", raw(b'"x": ' + b'{"a":' * 30_000 + b"1" + b"}" * 30_000), b"u", "not_json"),
    ("an array", b"[1]", b"u", "not_object"),
    ("a number", b"17", b"u", "not_object"),
    ("no user", b'{"type": "view", "item_id": "i"}', b"u", "missing_field"),
    ("no type", b'{"user_id": "u", "item_id": "i"}', b"u", "missing_field"),
    ("no item", b'{"user_id": "u", "type": "view"}', b"u", "missing_field"),
    ("item null", encoded(item_id=None), b"u", "missing_field"),
    ("a search without a query", b'{"user_id": "u", "type": "search"}', b"u", "missing_field"),
    ("a number as user", encoded(user_id=7), b"7", "invalid_field"),
    ("a number as item", encoded(item_id=7), b"u", "invalid_field"),
    ("an empty user", encoded(user_id=""), b"", "invalid_field"),
    ("an empty item", encoded(item_id=""), b"u", "invalid_field"),
    ("a bool as timestamp", encoded(timestamp=True), b"u", "invalid_field"),
    ("a bool as price", encoded(price=False), b"u", "invalid_field"),
    ("a text as price", encoded(price="3.50"), b"u", "invalid_field"),
    ("a negative price", encoded(price=-0.01), b"u", "invalid_field"),
    ("a list as query", encoded(query=["a"]), b"u", "invalid_field"),
    ("a long user", encoded(user_id="u" * 257), b"u" * 257, "too_long"),
    ("a long item", encoded(item_id="i" * 257), b"u", "too_long"),
    ("a type of another world", encoded(type="swipe"), b"u", "unknown_type"),
    ("no text in the type", encoded(type=""), b"u", "unknown_type"),
    ("a time without an offset", encoded(timestamp="2024-05-06T07:08:09"), b"u", "invalid_timestamp"),
    ("a day", encoded(timestamp="2024-05-06"), b"u", "invalid_timestamp"),
    ("no time at all", encoded(timestamp="yesterday"), b"u", "invalid_timestamp"),
    ("seconds of a day in March", encoded(timestamp="2024-02-30T00:00:00Z"), b"u", "invalid_timestamp"),
    ("nanoseconds", encoded(timestamp=1_700_000_000_000_000_000), b"u", "invalid_timestamp"),
    ("an integer beyond 64 bits", encoded(timestamp=10**30), b"u", "invalid_timestamp"),
    ("no key", encoded(), None, "missing_key"),
    ("an empty key", encoded(), b"", "missing_key"),
    ("another key", encoded(), b"v", "key_mismatch"),
    ("a key that is not UTF-8", encoded(), b"\xff", "key_mismatch"),
]


@pytest.mark.parametrize(("value", "key", "reason"), [row[1:] for row in REJECTED], ids=[row[0] for row in REJECTED])
def test_a_record_that_is_not_an_event_has_a_reason(value: bytes | None, key: bytes | None, reason: str) -> None:
    assert rejection(value, key) == reason


def test_every_reason_is_reached() -> None:
    assert {row[3] for row in REJECTED} == set(REASONS) - {"unreadable", "invalid_key"}  # a batch's, and an item's


TEXT = st.text(max_size=20)
IDS = st.text(min_size=1, max_size=256)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
OPTIONAL = {
    "event_id": TEXT,
    "session_id": TEXT,
    "category": TEXT,
    "brand": TEXT,
    "currency": TEXT,
    "price": NUMBERS.map(abs) | st.integers(0, 2**53),
    "quantity": NUMBERS | st.integers(-(2**53), 2**53),
    "some unknown field": st.recursive(st.none() | NUMBERS | TEXT, lambda inner: st.lists(inner), max_leaves=5),
}
EVENTS = st.one_of(
    st.fixed_dictionaries(
        {"user_id": IDS, "type": st.sampled_from(sorted(set(EVENT_TYPES) - {"search"})), "item_id": IDS},
        optional=OPTIONAL | {"query": TEXT},
    ),
    st.fixed_dictionaries({"user_id": IDS, "type": st.just("search"), "query": TEXT}, optional=OPTIONAL),
)


@given(EVENTS, st.booleans(), st.integers(-1, 2**53))
def test_events_come_back_from_json(fields: dict[str, Any], ascii_only: bool, record_time: int) -> None:
    value = json.dumps(fields, ensure_ascii=ascii_only).encode()
    event, time = decoded(value, fields["user_id"].encode(), record_time)
    for name in Event.__struct_fields__:
        assert getattr(event, name) == fields.get(name)
    assert time == record_time
    assert len(actions_of([event], [time])) == 1


@pytest.mark.parametrize(
    ("alias", "kind"),
    [
        ("view_item", "view"),
        ("Product Viewed", "view"),
        ("add_to_cart", "cart"),
        ("Product Added", "cart"),
        ("remove_from_cart", "remove"),
        ("Product Removed", "remove"),
        ("select_item", "click"),
        ("Product Clicked", "click"),
        ("add_to_wishlist", "favorite"),
        ("Product Added to Wishlist", "favorite"),
        ("Order Completed", "purchase"),
        ("purchase", "purchase"),
        ("CLICK", "click"),
    ],
)
def test_names_of_other_systems_are_understood(alias: str, kind: str) -> None:
    assert decoded(encoded(type=alias))[0].type == kind


@pytest.mark.parametrize("alias", ["Products Searched", "view_search_results", "Search"])
def test_searches_of_other_systems_need_a_query(alias: str) -> None:
    assert decoded(encoded(type=alias, query=""))[0].type == "search"
    assert rejection(encoded(type=alias)) == "missing_field"


def test_every_name_is_of_one_of_the_types() -> None:
    assert set(TYPE_NAMES.values()) == set(EVENT_TYPES)
    assert all(name == name.casefold() for name in TYPE_NAMES)


ZONES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)


@given(MOMENTS, st.sampled_from("Tt "))
def test_rfc_3339_times_are_read_to_the_millisecond(moment: datetime, separator: str) -> None:
    _, time = decoded(encoded(timestamp=moment.isoformat(sep=separator)))
    exact = (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)
    assert abs(time - exact) < 0.6  # a float of seconds is not exact in the far future


@pytest.mark.parametrize(
    ("timestamp", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01.5z", 1500),
        ("1970-01-01T01:00:00.001+01:00", 1),
        ("1969-12-31T23:30:00-00:30", 0),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("2024-02-29T12:00:00Z", 1709208000000),
        (0, 0),
        (-1, -1),
        (1709208000000, 1709208000000),
        (1709208000000.6, 1709208000001),
        (None, 5),
    ],
)
def test_timestamps(timestamp: str | float | None, milliseconds: int) -> None:
    assert decoded(encoded(timestamp=timestamp))[1] == milliseconds


def test_limits_are_inclusive() -> None:
    long = "é" * 256
    event, _ = decoded(encoded(user_id=long, item_id=long), key=long.encode())
    assert (event.user_id, event.item_id) == (long, long)
    filler = LARGEST_EVENT - len(encoded(x=""))
    assert decoded(encoded(x="x" * filler))[0].user_id == "u"
    assert rejection(encoded(x="x" * (filler + 1))) == "too_large"


def test_a_batch_keeps_order_and_positions() -> None:
    values = [encoded(item_id="1"), b"{", encoded(item_id="2", timestamp=9), None]
    batch = decode_batch([make_record(value, offset=n, timestamp=n) for n, value in enumerate(values)])
    assert [event.item_id for event in batch.events] == ["1", "2"]
    assert (batch.positions, batch.times, batch.record_times) == ([0, 2], [0, 9], [0, 2])
    assert [(rejection.position, rejection.reason) for rejection in batch.rejected] == [(1, "not_json"), (3, "empty")]


LINES: list[dict[str, Any]] = [
    {"item_id": "a", "price": 2, "quantity": 3, "category": "c", "brand": "b", "currency": "USD", "colour": "red"},
    {"item_id": "b"},
    {"item_id": "a", "quantity": -1},
]


@pytest.mark.parametrize("kind", sorted(set(EVENT_TYPES) - {"search"}))
def test_an_event_with_items_is_an_action_for_each(kind: str) -> None:
    value = encoded(type=kind, items=LINES, event_id="e", currency="EUR", price=9, market="DE", timestamp=7)
    batch = decode_batch([make_record(encoded()), make_record(value, timestamp=8)])
    assert (batch.positions, batch.lines, batch.times) == ([0, 1, 1, 1], [0, 0, 1, 2], [5, 7, 7, 7])
    assert batch.record_times == [5, 8, 8, 8]
    for event, line in zip(batch.events[1:], LINES, strict=True):
        assert (event.type, event.event_id, event.market, event.items) == (kind, "e", "DE", None)
        assert event.currency == line.get("currency", "EUR")
        for name in ("item_id", "price", "quantity", "category", "brand"):
            assert getattr(event, name) == line.get(name)


def test_only_the_first_lines_are_wanted() -> None:
    value = encoded(items=[{"item_id": str(n)} for n in range(40)])
    batch = decode_batch([make_record(value), make_record(encoded())], 32)
    assert (batch.positions, batch.lines) == ([0] * 32 + [1], [*range(32), 0])


def test_items_are_no_searchs_and_an_empty_list_is_no_basket() -> None:
    search = decoded(encoded(type="search", query="x", items=LINES))[0]
    assert (search.type, search.items) == ("search", None)
    assert decoded(encoded(items=[]))[0].item_id == "i"
    assert rejection(b'{"user_id": "u", "type": "cart", "items": []}') == "missing_field"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({}, "missing_field"),
        ({"item_id": ""}, "invalid_field"),
        ({"item_id": 7}, "invalid_field"),
        ({"item_id": "a", "price": -1}, "invalid_field"),
        ("a", "invalid_field"),
        (None, "invalid_field"),
    ],
)
def test_one_bad_line_rejects_the_event(line: Any, reason: str) -> None:
    batch = decode_batch([make_record(encoded(items=[*LINES, line]))])
    assert batch.events == []
    assert [rejection.reason for rejection in batch.rejected] == [reason]


def check(batch: DecodedBatch, count: int) -> None:
    """Checks that each record is an event that the model can read, or has a reason."""
    events = [position for position, line in zip(batch.positions, batch.lines, strict=True) if line == 0]
    assert sorted(events + [rejection.position for rejection in batch.rejected]) == list(range(count))
    assert {rejection.reason for rejection in batch.rejected} <= set(REASONS)
    assert all(event.type in EVENT_TYPES for event in batch.events)
    assert len(actions_of(batch.events, batch.times)) == len(batch.events)


@given(st.lists(st.tuples(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=200)), max_size=10))
def test_random_bytes_are_rejected_and_nothing_else_happens(records: list[tuple[bytes | None, bytes | None]]) -> None:
    check(decode_batch([make_record(value, key=key) for key, value in records]), len(records))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(Event.__struct_fields__), ANYTHING), st.sampled_from([b"u", b"", b"\xff"]))
@example({"timestamp": 2.0**70}, b"u")
@example({"timestamp": "0001-01-01T00:00:00+23:59"}, b"u")
@example({"timestamp": "9999-12-31T23:59:59-23:59"}, b"u")
@example({"price": math.nan, "quantity": math.inf}, b"u")
def test_fields_of_any_kind_are_taken_or_rejected(fields: dict[str, Any], key: bytes) -> None:
    check(decode_batch([make_record(encoded(**fields), key=key)]), 1)


@settings(max_examples=300)
@given(EVENTS, st.data())
def test_damaged_events_are_taken_or_rejected(fields: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(json.dumps(fields).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(start, min(start + 8, len(value))))
        value[start:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\\ud800", b"\\u0000", b'"', b"{", b"1e999"])
        )
    check(decode_batch([make_record(bytes(value), key=fields["user_id"].encode())]), 1)
