"""Records of the items topic: what is an item, what takes one away, and what is neither."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.items.item import Item, Offer
from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.item_schema import ITEM_EXAMPLES, item_schema
from stream_app.contract.items import LARGEST_ITEM, ItemChange, ItemDetails, decode_details, decode_item

SCHEMA = jsonschema.Draft7Validator(item_schema())
FULL: dict[str, Any] = {
    "title": "Road runner 7",
    "category": "Shoes > Running",
    "brand": "Roadster",
    "group": "road-runner",
    "price": 89.9,
    "currency": "EUR",
    "stock": 3,
    "markets": {"CH": {"price": 95, "currency": "CHF"}, "PL": {"available": False}, "FR": {"stock": 0}},
    "tags": ["sale", "new"],
    "released": "2026-01-02T03:04:05Z",
    "url": "https://shop.example/7",
    "attributes": {"colour": "red", "sizes": [41, 42]},
    "unknown": {"x": 1},
}
ITEM = Item(
    "7",
    title="Road runner 7",
    category=("Shoes", "Running"),
    brand="Roadster",
    group="road-runner",
    price=89.9,
    currency="EUR",
    stock=3.0,
    tags=("sale", "new"),
    released=1_767_323_045_000,
    markets={"CH": Offer(95.0, "CHF"), "PL": Offer(available=False), "FR": Offer(available=False)},
)


def decoded(value: Any, key: bytes | None = b"7") -> ItemChange:
    return decode_item(key, json.dumps(value).encode())


def test_an_item_is_what_its_record_says() -> None:
    change = decoded(FULL)
    assert change[:2] == ("7", ITEM)
    assert decode_details(change.details) == ItemDetails(FULL["url"], "", FULL["attributes"])
    assert decoded({}) == ItemChange("7", Item("7"), b"")
    assert decode_details(b"") == ItemDetails()


def test_a_database_gives_lists_as_texts_and_flags_as_numbers() -> None:
    texts = {name: json.dumps(FULL[name]) for name in ("tags", "markets", "attributes")}
    assert decoded(FULL | texts) == decoded(FULL)
    assert decoded({"available": 0}).item == Item("7", available=False)


@pytest.mark.parametrize("category", ["Shoes>Running", " Shoes  >  Running ", ["Shoes", " Running"]])
def test_a_category_is_a_path_or_a_list(category: Any) -> None:
    item = decoded({"category": category}).item
    assert item is not None
    assert item.category == ("Shoes", "Running")


@pytest.mark.parametrize("nothing", [None, "", [], " "])
def test_what_is_empty_is_not_given(nothing: Any) -> None:
    assert decoded({"category": nothing}).item == Item("7")


@pytest.mark.parametrize(
    "around",
    [
        lambda row: {"op": "c", "before": None, "after": row, "source": {"table": "items"}},
        lambda row: {"op": "u", "before": {"price": 1}, "after": row},
        lambda row: {"op": "r", "after": row},
        lambda row: {"schema": {"type": "struct"}, "payload": {"op": "u", "before": None, "after": row}},
        lambda row: {"schema": {"type": "struct"}, "payload": row},
    ],
)
def test_a_table_of_a_database_flows_in(around: Any) -> None:
    assert decoded(around(FULL | {"item_id": "7"})) == decoded(FULL)


@pytest.mark.parametrize(
    "value",
    [
        {"op": "d", "before": {"price": 1}, "after": None},
        {"op": "u", "before": None, "after": None},
        {"schema": {}, "payload": {"op": "d", "before": {"id": 7}}},
    ],
)
def test_a_row_that_is_deleted_takes_the_item_away(value: Any) -> None:
    assert decoded(value) == ItemChange("7", None)
    assert decode_item(b"7", None) == ItemChange("7", None)


@pytest.mark.parametrize(
    ("key", "item_id"),
    [
        (b"shoe-7", "shoe-7"),
        (b'{"id":7}', "7"),
        (b'{"item_id":"7"}', "7"),
        (b'{"schema":{"type":"struct"},"payload":{"id":7}}', "7"),
        (b'{"schema":{"type":"int64"},"payload":7}', "7"),
        ("é".encode() * 256, "é" * 256),
        (b'"7"', '"7"'),
    ],
)
def test_an_items_key(key: bytes, item_id: str) -> None:
    assert decode_item(key, None).item_id == item_id


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"{}", "missing_key"),
        (b"", b"{}", "missing_key"),
        (b"\xff", b"{}", "not_utf8"),
        (b"x" * 257, b"{}", "too_long"),
        (b'{"id":7', b"{}", "invalid_key"),
        (b'{"a":1,"b":2}', b"{}", "invalid_key"),
        (b'{"id":null}', b"{}", "invalid_key"),
        (b'{"id":true}', b"{}", "invalid_key"),
        (b"7", b"", "empty"),
        (b"7", b"\xff", "not_utf8"),
        (b"7", b"{", "not_json"),
        (b"7", b"[]", "not_object"),
        (b"7", b"null", "not_object"),
        (b"7", b'{"title":' + b" " * LARGEST_ITEM + b'""}', "too_large"),
        (b"7", b'{"title":7}', "invalid_field"),
        (b"7", b'{"price":-1}', "invalid_field"),
        (b"7", b'{"available":2}', "invalid_field"),
        (b"7", b'{"tags":"a, b"}', "invalid_field"),
        (b"7", b'{"tags":["a",""]}', "invalid_field"),
        (b"7", b'{"category":"a > > b"}', "invalid_field"),
        (b"7", b'{"markets":{"DE":{"price":"1"}}}', "invalid_field"),
        (b"7", b'{"attributes":[1]}', "invalid_field"),
        (b"7", b'{"released":"yesterday"}', "invalid_timestamp"),
        (b"7", b'{"brand":"' + b"x" * 257 + b'"}', "too_long"),
        (b"7", b'{"op":"t","before":null}', "missing_field"),
        (b"7", b'{"op":"c","after":[1]}', "not_object"),
        (b"7", b'{"schema":{},"payload":[]}', "not_object"),
    ],
)
def test_what_is_not_an_item(key: bytes | None, value: bytes, reason: str) -> None:
    with pytest.raises(RejectedRecord) as rejected:
        decode_item(key, value)
    assert rejected.value.reason == reason


TEXTS = st.none() | st.text("ab >é", max_size=3) | st.sampled_from(["x" * 256, "x" * 257, "a > b", '["a"]', "[1]"])
NUMBERS = st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
OTHERS = st.sampled_from([True, [], {}, 1, "text"])
TIMES = st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T03:04:05-08:00", "2026-01-02T03:04:61Z", ""])
MARKETS = st.dictionaries(
    st.sampled_from(["DE", "", "x" * 257]),
    st.fixed_dictionaries({}, optional={"price": NUMBERS | OTHERS, "currency": TEXTS, "available": OTHERS | NUMBERS}),
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "title": TEXTS | OTHERS,
        "brand": TEXTS | OTHERS,
        "currency": TEXTS,
        "price": NUMBERS | OTHERS,
        "stock": NUMBERS | OTHERS,
        "available": st.integers(-1, 3) | OTHERS,
        "released": TIMES | NUMBERS | OTHERS,
        "tags": st.lists(TEXTS, max_size=2) | st.just(["t"] * 65),
        "markets": MARKETS,
        "url": TEXTS | OTHERS,
        "attributes": st.just({"a": [1]}) | st.none() | st.just(3),
        "unknown": OTHERS,
    },
)


@given(RECORDS)
def test_the_schema_and_the_code_say_the_same(record: dict[str, Any]) -> None:
    try:
        decoded(record)
    except RejectedRecord:
        assert not SCHEMA.is_valid(record)
    else:
        SCHEMA.validate(record)


@pytest.mark.parametrize("record", [FULL, *ITEM_EXAMPLES])
def test_examples_are_items(record: dict[str, Any]) -> None:
    SCHEMA.validate(record)
    assert decoded(record).item is not None
