"""GA4's requests and exported rows, field by field; whole ones: test_samples."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.data.events import Event
from model.items.item import Item
from stream_app.contract.decoded import Contents, RejectedRecord, ShownList
from stream_app.contract.events import decode_event
from stream_app.contract.formats.options import DecodeOptions

ITEM: dict[str, Any] = {
    "item_id": "a", "item_name": "A", "item_brand": "Peak", "item_category": "Apparel", "item_category2": "Adult",
    "item_category4": "Crew", "price": 3, "quantity": 2, "currency": "EUR", "index": 0,
}  # fmt: skip
OTHER: dict[str, Any] = {"item_name": "B", "price": "1.5", "quantity": "3"}
PARAMS: dict[str, Any] = {"session_id": 9, "currency": "USD", "market": "DE", "items": [ITEM]}
VIEW: dict[str, Any] = {"name": "view_item", "params": PARAMS}


def request(*events: Any, key: bytes = b"u", **more: Any) -> Contents:
    record = {"client_id": "c", "user_id": "u", "timestamp_micros": 1_000_000, "events": list(events)} | more
    return decode_event(key, json.dumps(record).encode(), 5)


def event(name: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "params": PARAMS | params}


def row(key: bytes = b"u", params: Any = (), **more: Any) -> Contents:
    record = {
        "event_name": "view_item", "user_id": "u", "user_pseudo_id": "c", "event_timestamp": "1000000",
        "items": [ITEM], "event_params": [{"key": name, "value": {kind: value}} for name, kind, value in params],
    } | more  # fmt: skip
    return decode_event(key, json.dumps(record).encode(), 5)


WANTED = Event("u", "view", "a", None, None, None, "9", "Apparel > Adult > Crew", "Peak", "EUR", 3, 2, "DE")


def test_every_field_of_an_item_in_a_request() -> None:
    contents = request(VIEW)
    assert (list(contents.actions), list(contents.times)) == ([WANTED], [1000])


def test_every_field_of_an_item_in_a_row() -> None:
    params = [
        ("ga_session_id", "int_value", "9"),
        ("currency", "string_value", "USD"),
        ("market", "string_value", "DE"),
        ("page_location", "string_value", "https://shop.example/"),
        ("engagement_time_msec", "double_value", 1.5),
    ]
    contents = row(params=params)
    assert (list(contents.actions), list(contents.times)) == ([WANTED], [1000])


def test_a_category_is_written_as_the_catalogue_writes_it() -> None:
    (action,) = request(VIEW).actions
    assert action.category == Item("a", category=("Apparel", "Adult", "Crew")).category_text


def test_events_of_several_types_are_one_record_in_order() -> None:
    contents = request(
        event("page_view"), VIEW, event("view_item_list", item_list_id="l"), event("add_to_cart", items=[ITEM, OTHER]),
        event("scroll"), event("search", search_term="x") | {"timestamp_micros": 2_000_000},
    )  # fmt: skip
    assert [(one.type, one.item_id, one.query) for one in contents.actions] == [
        ("view", "a", None), ("cart", "a", None), ("cart", "B", None), ("search", None, "x"),
    ]  # fmt: skip
    assert list(contents.times) == [1000, 1000, 1000, 2000]
    assert list(contents.ignored) == ["page_view", "scroll"]
    assert [shown.items for shown in contents.shown] == [["a"]]


@pytest.mark.parametrize(
    "wrong",
    [event("view_item", items=[]), event("add_to_cart", items=[{}]), event("swipe"), event("search"), {"params": {}}],
    ids=str,
)
def test_one_wrong_event_rejects_the_whole_request(wrong: dict[str, Any]) -> None:
    with pytest.raises(RejectedRecord):
        request(VIEW, wrong)


def test_a_purchase_gives_its_id_to_the_whole_request() -> None:
    purchase = event("purchase", transaction_id=77, items=[ITEM, OTHER])
    assert [one.event_id for one in request(VIEW, purchase, event("purchase", transaction_id="x")).actions] == [
        "77"
    ] * 4
    assert [one.event_id for one in request(event("view_item", transaction_id="T")).actions] == [None]
    found = row(event_name="purchase", ecommerce={"transaction_id": "T"}, params=[("transaction_id", "int_value", 3)])
    assert [one.event_id for one in found.actions] == ["T"]
    found = row(
        event_name="purchase", ecommerce={"transaction_id": "(not set)"}, params=[("transaction_id", "int_value", 3)]
    )
    assert [one.event_id for one in found.actions] == ["3"]


def test_an_item_takes_the_currency_of_the_event() -> None:
    first, second = request(event("add_to_cart", items=[ITEM, OTHER])).actions
    assert (first.currency, second.currency, second.price, second.quantity) == ("EUR", "USD", 1.5, 3)
    assert (second.item_id, second.category, second.brand) == ("B", None, None)


@pytest.mark.parametrize("field", ["item_id", "item_brand", "item_category"])
def test_what_is_not_set_is_not_said(field: str) -> None:
    (action,) = row(items=[{"item_id": "a", "item_name": "A", field: "(not set)"}]).actions
    assert (action.item_id, action.brand, action.category) == ("A" if field == "item_id" else "a", None, None)


def test_every_field_of_a_list() -> None:
    shown = event("view_item_list", item_list_name="Home", prediction_id="p")
    wanted = ShownList(
        "c", ["a"], time=1000, record_time=5, prediction_id="p", slate="Home", session_id="9", market="DE"
    )
    assert list(request(shown, key=b"c").shown) == [wanted]
    (found,) = request(event("view_item_list", items=[ITEM | {"item_list_id": "l"}, OTHER])).shown
    assert (found.slate, found.items) == ("l", ["a", "B"])
    params = [("item_list_id", "string_value", "l"), ("prediction_id", "string_value", "p")]
    (found,) = row(event_name="view_item_list", params=params).shown
    assert (found.slate, found.prediction_id, found.items) == ("l", "p", ["a"])
    assert request(event("view_item_list", items=[])) == Contents([], [], ["view_item_list"], [])


def test_noise_is_passed_over_whatever_it_says() -> None:
    noise = {"name": "page_view", "params": {"items": "many", "search_term": []}}
    assert list(request(noise, VIEW).actions) == [WANTED]
    assert request(noise, key=b"eve") == Contents(ignored=["page_view"])
    assert row(event_name="scroll", items="many", key=b"eve") == Contents(ignored=("scroll",))


@pytest.mark.parametrize("name", ["click", "Click"])
def test_a_click_leads_away_from_the_shop(name: str) -> None:
    assert list(request(event(name)).ignored) == ["click"]
    assert row(event_name=name).ignored == ("click",)


def test_an_event_without_a_time_has_the_records() -> None:
    assert list(request(VIEW, timestamp_micros=None).times) == [5]
    assert list(row(event_timestamp=None).times) == [5]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"events": []}, "missing_field"),
        ({"events": [7]}, "invalid_field"),
        ({"events": [VIEW | {"params": "x"}]}, "invalid_field"),
        ({"events": [VIEW | {"params": None}]}, "missing_field"),
        ({"events": [event("view_item", items=[ITEM | {"price": -1}])]}, "invalid_field"),
        ({"events": [event("view_item", items=[ITEM | {"item_id": "x" * 257}])]}, "too_long"),
        ({"events": [event("swipe")]}, "unknown_type"),
        ({"events": [event("identify")]}, "unknown_type"),
        ({"timestamp_micros": "soon"}, "invalid_timestamp"),
        ({"timestamp_micros": 10**30}, "invalid_timestamp"),
        ({"user_id": None, "client_id": None}, "missing_field"),
        ({"user_id": "v"}, "key_mismatch"),
    ],
    ids=str,
)
def test_a_request_that_is_wrong_is_rejected(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecord) as rejected:
        request(**{"events": [VIEW]} | fields)
    assert rejected.value.reason == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"items": None}, "missing_field"),
        ({"items": [{"item_id": "(not set)"}]}, "missing_field"),
        ({"event_name": "search"}, "missing_field"),
        ({"event_name": "swipe"}, "unknown_type"),
        ({"event_timestamp": "soon"}, "invalid_timestamp"),
        ({"event_params": [{"value": {}}]}, "missing_field"),
        ({"params": [("currency", "string_value", 7)]}, "invalid_field"),
        ({"key": b"v"}, "key_mismatch"),
    ],
    ids=str,
)
def test_a_row_that_is_wrong_is_rejected(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecord) as rejected:
        row(**fields)
    assert rejected.value.reason == reason


def test_a_fixed_format_asks_for_events_or_a_name() -> None:
    with pytest.raises(RejectedRecord) as rejected:
        decode_event(b"u", b'{"user_id": "u", "type": "view", "item_id": "i"}', 5, DecodeOptions(format="ga4"))
    assert rejected.value.reason == "missing_field"
