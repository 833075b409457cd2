"""The JSON Schema of nextact's own events: actions, what was shown, identities, and what is ignored.

The checks of a decoded event, which its types cannot express, are repeated here as schema; a test holds the two
together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from model.data.events import EVENT_TYPES, Event
from stream_app.contract.event_names import IDENTITY_NAMES, IGNORED_NAMES, SHOWN_NAMES, TYPE_NAMES
from stream_app.contract.events import LARGEST_EVENT
from stream_app.contract.formats.own import IdentityRecord, ShownRecord
from stream_app.contract.json_schema import DRAFT, LARGEST, TIMES, Json, described

_ACTION_FIELDS: Final = {
    "user_id": "The user who did it. The record key must be the same text, in UTF-8.",
    "type": "What the user did, by nextact's own name or by GA4's or Segment's, in any case.",
    "item_id": "The item that it was done to; required unless the type is a search or `items` is given.",
    "query": "The words searched for, as typed; required for a search.",
    "timestamp": "When: RFC 3339, or milliseconds since 1970. Default: the timestamp of the record.",
    "event_id": "The publisher's id of the event; a repeated event is applied once.",
    "session_id": "The publisher's id of the session. Without it, half an hour of silence ends a session.",
    "category": "The item's category.",
    "brand": "The item's brand.",
    "currency": "The currency of the price, as the shop writes it.",
    "price": "The price of one unit.",
    "quantity": "The number of units; negative if they were returned.",
    "market": "The market it happened in: which of the catalogue's prices and stocks holds.",
    "items": "Several items instead of one, such as a basket: one event with an action for each, and one prediction. "
    "A search has none.",
}
_LINE_FIELDS: Final = {
    "item_id": "The item.",
    "category": "The item's category.",
    "brand": "The item's brand.",
    "currency": "The currency of the price; by default the event's.",
    "price": "The price of one unit.",
    "quantity": "The number of units; negative if they were returned.",
}
_SHOWN_FIELDS: Final = {
    "user_id": "The user who was shown the list. The record key must be the same text, in UTF-8.",
    "type": "That a list was shown, by nextact's own name or by GA4's, Segment's or UBI's, in any case.",
    "items": "The items in the order in which they stood, each an id or an object with one.",
    "prediction_id": "The prediction that the items come from, if they come from one.",
    "slate": "The name of the list, or of the place where it stood.",
    "timestamp": "When: RFC 3339, or milliseconds since 1970. Default: the timestamp of the record.",
    "event_id": "The publisher's id of the event.",
    "session_id": "The publisher's id of the session.",
    "market": "The market it was shown in.",
}
_IDENTITY_FIELDS: Final = {
    "user_id": "The known user. The record key must be this text or the anonymous id, in UTF-8.",
    "type": "That two ids are one user's.",
    "anonymous_id": "The id under which the user was seen before; without it the record says nothing.",
    "timestamp": "When: RFC 3339, or milliseconds since 1970. Default: the timestamp of the record.",
    "event_id": "The publisher's id of the event.",
}
EVENT_EXAMPLES: Final[tuple[Json, ...]] = (
    {"user_id": "ada", "type": "view", "item_id": "shoe-7", "category": "running", "price": 89.9},
    {"user_id": "ada", "type": "purchase", "items": [{"item_id": "shoe-7", "price": 89.9}, {"item_id": "sock-1"}]},
    {"user_id": "ada", "type": "search", "query": "red running shoes", "timestamp": "2026-01-02T03:04:05.678Z"},
    {"user_id": "ada", "type": "shown", "slate": "home", "items": ["shoe-7", "sock-1"]},
    {"user_id": "ada", "type": "identify", "anonymous_id": "cookie-3f"},
    {"user_id": "ada", "type": "page_view"},
)


def event_schema() -> Json:
    """Returns the schema of what a publisher may send, without the rules for the record key and the size."""
    return {
        "$schema": DRAFT,
        "$id": "urn:nextact:event",
        "title": "Event",
        "description": f"One event in nextact's own format, at most {LARGEST_EVENT} bytes. Unknown fields are ignored. "
        "Events of GA4, Segment and UBI are read, too: formats.md.",
        "type": "object",
        "oneOf": [_action(), _shown(), _identity(), _ignored()],
    }


def _action() -> Json:
    schema = described(msgspec.json.schema(Event), _ACTION_FIELDS)
    schema |= {"title": "Action", "description": "What a shopper did; it is answered by a prediction."}
    fields = schema["properties"]
    _be_named(schema, TYPE_NAMES, EVENT_TYPES)
    _be_timed(schema)
    line = fields["items"]["anyOf"][0]["items"]
    for name, description in _LINE_FIELDS.items():
        line["properties"][name]["description"] = description
    for priced in (fields, line["properties"]):
        priced["price"]["anyOf"][0] |= {"maximum": LARGEST}
        priced["quantity"]["anyOf"][0] |= {"minimum": -LARGEST, "maximum": LARGEST}
    searches = [name for name, kind in TYPE_NAMES.items() if kind == "search"]
    return schema | {
        "if": {"required": ["type"], "properties": {"type": _any_case(searches)}},
        "then": {"required": ["query"], "properties": {"query": {"type": "string"}}},
        "else": {
            "anyOf": [
                {"required": ["item_id"], "properties": {"item_id": {"type": "string"}}},
                {"required": ["items"], "properties": {"items": {"type": "array", "minItems": 1}}},
            ]
        },
    }


def _shown() -> Json:
    schema = described(msgspec.json.schema(ShownRecord), _SHOWN_FIELDS)
    schema |= {"title": "Shown list", "description": "Items that a user was shown; there is no prediction for it."}
    _be_named(schema, SHOWN_NAMES, ("shown",))
    _be_timed(schema)
    return schema


def _identity() -> Json:
    schema = described(msgspec.json.schema(IdentityRecord), _IDENTITY_FIELDS)
    schema |= {"title": "Identity", "description": "An anonymous user is a known one; there is no prediction for it."}
    _be_named(schema, IDENTITY_NAMES, ("identify",))
    _be_timed(schema)
    return schema


def _ignored() -> Json:
    text = "What is no shopper's action: passed over, whatever else it says. NEXTACT_IGNORED_EVENTS names more."
    fields = {"type": {"type": "string", "description": "The event's name, in any case."} | _any_case(IGNORED_NAMES)}
    return {
        "title": "Ignored event",
        "description": text,
        "type": "object",
        "required": ["type"],
        "properties": fields,
    }


def _be_named(schema: Json, names: Iterable[str], own: Iterable[str]) -> None:
    field = schema["properties"]["type"]
    schema["properties"]["type"] = {
        "type": "string",
        "anyOf": [{"enum": list(own)}, _any_case(names)],
        "description": field["description"],
    }


def _be_timed(schema: Json) -> None:
    schema["properties"]["timestamp"]["anyOf"] = [*TIMES, {"type": "null"}]


def _any_case(names: Iterable[str]) -> Json:
    """Returns a pattern for names in any case; JSON Schema has no flags, so each letter is a class of two."""
    spelled = ("".join(_either_case(letter) for letter in name) for name in sorted(names))
    return {"pattern": f"^({'|'.join(spelled)})$"}


def _either_case(letter: str) -> str:
    return f"[{letter}{letter.upper()}]" if letter.isalpha() else letter
