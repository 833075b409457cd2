"""Decodes records of the events topic as the contract has them, or says why a record is not an event.

Predictions go the other way, to bytes, in `prediction_json`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from model.data.events import EVENT_TYPES, Event, Line
from stream_app.contract.decoded import Contents, DecodedBatch, RejectedRecord, Rejection
from stream_app.contract.event_fields import check_key, check_numbers, milliseconds, undecodable
from stream_app.contract.formats.own import OWN_KINDS
from stream_app.contract.records import Record, UnreadableBatch

LARGEST_EVENT: Final = 256 * 1024  # bytes; no real event is larger, and one must not hold up a batch

# The contract's own names, and those of GA4 (snake case) and Segment (titles), compared case-insensitively.
_ALIASES: Final = {
    "select_item": "click",
    "product clicked": "click",
    "view_item": "view",
    "product viewed": "view",
    "products searched": "search",
    "view_search_results": "search",
    "add_to_cart": "cart",
    "product added": "cart",
    "remove_from_cart": "remove",
    "product removed": "remove",
    "add_to_wishlist": "favorite",
    "product added to wishlist": "favorite",
    "order completed": "purchase",
}
TYPE_NAMES: Final = {name: name for name in EVENT_TYPES} | _ALIASES


class _Kind(msgspec.Struct, frozen=True, gc=False):
    """What tells of which kind a record is."""

    type: Any = None


_EVENT_DECODER: Final = msgspec.json.Decoder(Event)
_KIND_DECODER: Final = msgspec.json.Decoder(_Kind)


def decode_batch(records: Sequence[Record], most_lines: int = sys.maxsize) -> DecodedBatch:
    """Decodes and validates records; guesses nothing. Returns only the first `most_lines` actions of a record."""
    batch = DecodedBatch()
    for position, record in enumerate(records):
        try:
            contents = decode_event(record.key, record.value, record.timestamp)
        except RejectedRecord as rejection:
            if isinstance(record, UnreadableBatch):
                batch.rejected.append(Rejection(position, record.reason, record.message))
            else:
                batch.rejected.append(Rejection(position, rejection.reason, str(rejection)))
            continue
        for line, event in enumerate(contents.actions[:most_lines]):
            batch.positions.append(position)
            batch.events.append(event)
            batch.lines.append(line)
            batch.times.append(contents.times[line])
            batch.record_times.append(record.timestamp)
        if contents.ignored or contents.shown or contents.identities:
            _add_others(batch, position, contents)
    return batch


def _add_others(batch: DecodedBatch, position: int, contents: Contents) -> None:
    """Adds what is no action."""
    batch.ignored.extend(contents.ignored)
    batch.shown.extend(msgspec.structs.replace(shown, position=position) for shown in contents.shown)
    batch.identities.extend(msgspec.structs.replace(one, position=position) for one in contents.identities)


def decode_event(key: bytes | None, value: bytes | None, record_time: int) -> Contents:
    """Returns what a record says: its actions, one or one for each line, or what is no action.

    Types are under nextact's own names; times, like `record_time`, are in milliseconds since the epoch.
    Raises `RejectedRecord` when the record is not an event.
    """
    if not value:
        raise RejectedRecord("empty", "the record has no value")
    if len(value) > LARGEST_EVENT:
        raise RejectedRecord("too_large", f"the value has {len(value)} bytes, more than {LARGEST_EVENT}")
    try:
        event = _EVENT_DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _other(key, value, record_time, undecodable(value, error))
    kind = TYPE_NAMES.get(event.type) or TYPE_NAMES.get(event.type.casefold())
    if kind is None:
        message = f"type is {event.type[:64]!r}, not one of {', '.join(EVENT_TYPES)}"
        return _other(key, value, record_time, RejectedRecord("unknown_type", message))
    if kind != event.type:
        event = msgspec.structs.replace(event, type=kind)
    actions = _actions_of(event)
    check_key(key, event.user_id)
    time = record_time if event.timestamp is None else milliseconds(event.timestamp)
    return Contents(actions, (time,) * len(actions))


def _other(key: bytes | None, value: bytes, record_time: int, rejection: RejectedRecord) -> Contents:
    """Returns what a record of another kind says; else raises the rejection."""
    try:
        kind = _KIND_DECODER.decode(value).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise rejection from None
    decode = OWN_KINDS.get(kind.casefold()) if isinstance(kind, str) else None
    if decode is None:
        raise rejection
    return decode(key, value, record_time)


def _actions_of(event: Event) -> Sequence[Event]:
    if event.items and event.type != "search":
        return [_action_of(event, line) for line in event.items]
    if event.items is not None:
        event = msgspec.structs.replace(event, items=None)
    _check_fields(event)
    return (event,)


def _action_of(event: Event, line: Line) -> Event:
    """Returns one line of an event as an event of its own."""
    action = msgspec.structs.replace(
        event,
        item_id=line.item_id,
        category=line.category,
        brand=line.brand,
        currency=line.currency or event.currency,
        price=line.price,
        quantity=line.quantity,
        items=None,
    )
    check_numbers(action)
    return action


def _check_fields(event: Event) -> None:
    if event.type == "search":
        if event.query is None:
            raise RejectedRecord("missing_field", "a search has no query")
    elif event.item_id is None:
        raise RejectedRecord("missing_field", f"a {event.type} has no item_id")
    check_numbers(event)
