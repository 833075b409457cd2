"""Items: any record of the items topic is an item, takes one away or is refused; what is accepted stays what it says.

An input: a byte with the length of the key (255: there is none), the key, the value; a value of one zero byte: none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from model.items.catalogue import ItemCatalogue
from model.items.item import Item
from stream_app.contract.decoded import REASONS, RejectedRecord
from stream_app.contract.items import ItemDetails, ItemRecord, MarketRecord, decode_details, decode_item

_NO_KEY: Final = 255  # in the place of the key's length


def check(data: bytes) -> None:
    """Decodes a record, and takes what comes out through a catalogue."""
    length, rest = (data[0], data[1:]) if data else (_NO_KEY, b"")
    key, value = (None, rest) if length == _NO_KEY else (rest[:length], rest[length:])
    try:
        change = decode_item(key, None if value == b"\0" else value)
    except RejectedRecord as rejection:
        _check_rejection(rejection)
        return
    assert 1 <= len(change.item_id) <= 256
    if change.item is not None:
        _check_item(change.item)
        _check_details(decode_details(change.details))


def _check_rejection(rejection: RejectedRecord) -> None:
    assert rejection.reason in REASONS
    assert len(str(rejection)) < 1000


def _check_item(item: Item) -> None:
    catalogue = ItemCatalogue()
    catalogue.apply([Item("other", tags=("tag",)), item], [0, 1])
    (found,) = [each for each in catalogue if each.item_id == item.item_id]
    assert found.is_available == item.is_available
    for name in set(Item.__struct_fields__) - {"available"}:
        assert getattr(found, name) == getattr(item, name), name
    assert all(number is None or math.isfinite(number) for number in (item.price, item.stock))
    assert item.price is None or item.price >= 0
    assert all(item.category)
    catalogue.compact()
    assert catalogue.item(catalogue.row_of(item.item_id)) == found


def _check_details(details: ItemDetails) -> None:
    json.dumps([details.url, details.image_url, details.attributes])


def seeds() -> list[bytes]:
    """Returns items with all fields, in all envelopes, and records that are not items."""
    full: dict[str, Any] = {
        "title": "Straße \N{SNOWMAN}\0", "category": "a > b", "brand": "b", "group": "g", "price": 12.5, "stock": -1,
        "currency": "EUR", "available": True, "markets": {"DE": {"price": 1, "available": 0}}, "url": "u",
        "image_url": "i", "tags": ["t"], "attributes": {"x": [None, 1e5]}, "released": "2026-01-31T12:00:00Z", "y": {},
    }  # fmt: skip
    texts = {"tags": '["t"]', "markets": '{"DE":{"price":1}}', "attributes": '{"x":1}', "available": 1, "category": []}
    values: list[Any] = [full, full | texts, {}, [], 1, None, "x", {"tags": "a, b"}, {"category": ["a", ""]}]
    values += [{"title": 7}, {"released": "now"}, {"released": -1}, {"available": 2}, {"price": -1}, {"op": "c"}]
    envelopes: list[Any] = [{"op": "c", "before": None, "after": full}, {"op": "d", "before": full, "after": None}]
    envelopes += [{"op": "t", "before": None}, {"op": "u", "after": 3}]
    values += envelopes + [{"schema": {"type": "struct"}, "payload": value} for value in (*envelopes, full, None)]
    keys = [b"7", b'{"id":7}', b'{"schema":{},"payload":{"item_id":"7"}}', b'{"schema":{},"payload":7}', b"{", b""]
    keys += [b'{"a":1,"b":2}', b"\xff", b"x" * 254]
    found = [_input(json.dumps(value).encode()) for value in values]
    found += [_input(value) for value in (b"", b"\0", b"{", b"\xff", b"[" * 2000, b'{"title":"\\ud800"}')]
    return [b"", *found, *(_input(b"{}", key) for key in keys), *(_input(b"\0", key) for key in keys)]


def _input(value: bytes, key: bytes = b"7") -> bytes:
    return bytes([len(key)]) + key + value


TOKENS: Final[Sequence[bytes]] = [
    *(f'"{name}":'.encode() for name in (*ItemRecord.__struct_fields__, *MarketRecord.__struct_fields__)),
    b'{"schema":{},"payload":', b'"op":"d"', b'"op":"u"', b'"after":', b'"before":', b" > ", b'"[\\"a\\"]"',
    b"null", b"true", b"1e308", b"1e400", b"-0.0", b'"\\ud800"', b"\\u0000", b'"2026-01-31T12:00:00Z"',
]  # fmt: skip
