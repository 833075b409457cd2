"""The JSON Schema of what publishers write to the items topic, made from the type that reads it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream_app.contract.items import LARGEST_ITEM, ItemRecord
from stream_app.contract.json_schema import LARGEST, TIMES, Json, standalone

_IN_A_TEXT: Final = " A text with this JSON in it is taken, too."
_FIELDS: Final = {
    "title": "The item's name, in the language of the shop.",
    "category": "From the widest level to the narrowest: `a > b > c`, or a list.",
    "brand": "The item's brand.",
    "group": "The product that variants of size and colour belong to: the same text in each of them.",
    "price": "The price of one unit.",
    "currency": "The currency of the price, as the shop writes it.",
    "available": "Whether it can be bought; by default, whether `stock` is above 0. 0 and 1 are taken, too.",
    "stock": "The number of units that are there.",
    "markets": f"By the market's name, as events have it in `market`: what differs there.{_IN_A_TEXT}",
    "url": "The item's page.",
    "image_url": "The item's picture.",
    "tags": f"Words of any kind.{_IN_A_TEXT}",
    "attributes": f"Whatever else is to be known of it, as colour and size.{_IN_A_TEXT}",
    "released": "Since when it has been on sale: RFC 3339, or milliseconds since 1970.",
}
ITEM_EXAMPLES: Final[tuple[dict[str, Any], ...]] = (
    {
        "title": "Road runner 7, red",
        "category": "Shoes > Running",
        "brand": "Roadster",
        "group": "road-runner-7",
        "price": 89.9,
        "currency": "EUR",
        "stock": 12,
        "markets": {"CH": {"price": 95, "currency": "CHF"}, "PL": {"available": False}},
        "tags": ["sale"],
        "released": "2026-01-02T03:04:05Z",
        "url": "https://example.com/shoe-7",
    },
)


def item_schema() -> Json:
    """Returns the schema of an item's record, without the rules for its key and size, and without envelopes."""
    schema = standalone("item", msgspec.json.schema(ItemRecord), _FIELDS)
    schema["title"] = "Item"
    schema["description"] = (
        f"One item, at most {LARGEST_ITEM} bytes; its record takes the place of the item's record before it, whole. "
        "Everything is optional, unknown fields are ignored. Debezium's envelope of such an object is taken, too."
    )
    fields = schema["properties"]
    fields["released"]["anyOf"] = [*TIMES, {"type": "null"}]
    (markets,) = [kind for kind in fields["markets"]["anyOf"] if kind["type"] == "object"]
    for owner in (fields, markets["additionalProperties"]["properties"]):
        owner["available"]["anyOf"] = [{"type": "boolean"}, {"enum": [0, 1]}, {"type": "null"}]
        owner["price"]["anyOf"][0] |= {"maximum": LARGEST}
        owner["stock"]["anyOf"][0] |= {"minimum": -LARGEST, "maximum": LARGEST}
    return schema
