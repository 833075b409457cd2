"""Segment's calls, field by field; whole calls: test_samples."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.data.events import Event
from stream_app.contract.decoded import Contents, Identity, RejectedRecord, ShownList
from stream_app.contract.events import decode_event

PRODUCT: dict[str, Any] = {
    "product_id": "a", "sku": "b", "category": "Games", "brand": "Hasbro", "price": 3, "quantity": 2, "currency": "EUR",
    "position": 1,
}  # fmt: skip
CALL: dict[str, Any] = {
    "type": "track", "userId": "u", "anonymousId": "c", "messageId": "m", "timestamp": "1970-01-01T00:00:01Z",
    "originalTimestamp": "1970-01-01T00:00:02Z",
}  # fmt: skip


def decoded(event: str | None = None, properties: Any = None, key: bytes = b"u", **more: Any) -> Contents:
    call = CALL | {"event": event, "properties": properties} | more
    return decode_event(key, json.dumps(call).encode(), 5)


def reason(*args: Any, **more: Any) -> str:
    with pytest.raises(RejectedRecord) as rejected:
        decoded(*args, **more)
    return rejected.value.reason


def test_every_field_of_a_product() -> None:
    contents = decoded("Product Viewed", PRODUCT | {"market": "DE"})
    view = Event("u", "view", "a", None, None, "m", None, "Games", "Hasbro", "EUR", 3, 2, "DE")
    assert (list(contents.actions), list(contents.times)) == ([view], [1000])


def test_a_basket_takes_the_currency_of_the_order() -> None:
    other = {"sku": 7, "price": "1.5", "quantity": "3"}
    contents = decoded("Order Completed", {"currency": "USD", "products": [PRODUCT, other], "order_id": "o"})
    assert [(one.item_id, one.currency, one.price, one.quantity) for one in contents.actions] == [
        ("a", "EUR", 3, 2),
        ("7", "USD", 1.5, 3),
    ]
    assert {(one.event_id, one.type) for one in contents.actions} == {("m", "purchase")}
    assert list(contents.times) == [1000, 1000]


@pytest.mark.parametrize(
    ("times", "time"),
    [
        ({}, 1000),
        ({"timestamp": None}, 2000),
        ({"timestamp": None, "originalTimestamp": None}, 5),
        ({"timestamp": 7}, 7),
    ],
)
def test_the_corrected_time_comes_first(times: dict[str, Any], time: int) -> None:
    assert list(decoded("Product Viewed", PRODUCT, **times).times) == [time]


def test_every_field_of_a_list() -> None:
    listed = {"list_id": "l", "prediction_id": "p", "products": [PRODUCT], "market": "DE"}
    contents = decoded("Product List Viewed", listed, b"c")
    assert list(contents.shown) == [
        ShownList("c", ["a"], time=1000, record_time=5, prediction_id="p", slate="l", event_id="m", market="DE")
    ]
    assert contents.actions == ()
    (shown,) = decoded("Product List Viewed", {"category": "Deals", "products": [PRODUCT]}).shown
    assert shown.slate == "Deals"


def test_every_field_of_an_identity() -> None:
    wanted = Identity("u", "c", time=1000, record_time=5, event_id="m")
    assert list(decoded(type="identify").identities) == [wanted]
    assert list(decoded(type="alias", previousId="c", anonymousId="d").identities) == [wanted]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "identify", "anonymousId": None},
        {"type": "identify", "userId": None},
        {"type": "identify", "anonymousId": "u"},
        {"type": "alias"},
        {"type": "alias", "previousId": "u"},
    ],
)
def test_an_identity_of_one_id_is_ignored(fields: dict[str, Any]) -> None:
    assert decoded(**fields) == Contents(ignored=(fields["type"],))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"event": "Product Viewed", "properties": {"name": "x"}}, "missing_field"),
        ({"event": "Product Viewed"}, "missing_field"),
        ({"event": "Products Searched", "properties": {}}, "missing_field"),
        ({"event": None}, "missing_field"),
        ({"event": "Order Completed", "properties": {"products": [PRODUCT, {}]}}, "missing_field"),
        ({"event": "Product List Viewed", "properties": {"products": [{}]}}, "missing_field"),
        ({"event": "Product Viewed", "properties": PRODUCT | {"price": -1}}, "invalid_field"),
        ({"event": "Product Viewed", "properties": PRODUCT | {"price": "free"}}, "invalid_field"),
        ({"event": "Product Viewed", "properties": PRODUCT | {"brand": []}}, "invalid_field"),
        ({"event": "Product Viewed", "properties": PRODUCT | {"product_id": "x" * 257}}, "too_long"),
        ({"event": "Product Viewed", "properties": PRODUCT, "timestamp": "today"}, "invalid_timestamp"),
        ({"event": "Newsletter Opened"}, "unknown_type"),
        ({"event": "identify"}, "unknown_type"),
        ({"event": "Product Viewed", "properties": PRODUCT, "key": b"v"}, "key_mismatch"),
        ({"type": "identify", "key": b"v"}, "key_mismatch"),
        ({"type": "identify", "userId": "u" * 257}, "too_long"),
    ],
    ids=str,
)
def test_what_is_wrong_is_rejected(fields: dict[str, Any], wanted: str) -> None:
    assert reason(**fields) == wanted
