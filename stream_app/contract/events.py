"""Decodes records of the events topic as the contract has them, or says why a record is not an event.

Predictions go the other way, to bytes, in `prediction_json`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

import msgspec

from model.data.events import EVENT_TYPES, ID_LENGTH, Event, Line
from stream_app.contract.records import Record, UnreadableBatch

Reason = Literal[
    "empty",
    "too_large",
    "not_utf8",
    "not_json",
    "not_object",
    "missing_field",
    "invalid_field",
    "too_long",
    "unknown_type",
    "invalid_timestamp",
    "missing_key",
    "key_mismatch",
    "unreadable",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)

LARGEST_EVENT: Final = 256 * 1024  # bytes; no real event is larger, and one must not hold up a batch
YEAR_10000_MS: Final = 253_402_300_800_000  # milliseconds since the epoch; where RFC 3339 ends

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


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record is not an event."""

    position: int  # of the record in its batch, from 0
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The actions of a batch's events in order, and why other records were rejected.

    The actions of one event follow each other and share their record.
    """

    positions: list[int] = field(default_factory=list)  # of the actions' records in the batch, from 0
    events: list[Event] = field(default_factory=list)  # one for each action, each without `items`
    lines: list[int] = field(default_factory=list)  # of each action in its event, from 0
    times: list[int] = field(default_factory=list)  # milliseconds since the epoch, as the publisher gave them
    record_times: list[int] = field(default_factory=list)  # milliseconds since the epoch, of the records
    rejected: list[Rejection] = field(default_factory=list)


class RejectedRecord(Exception):
    """A record is not an event; `decode_batch` turns it into a `Rejection`."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


_EVENT_DECODER: Final = msgspec.json.Decoder(Event)


def decode_batch(records: Sequence[Record], most_lines: int = sys.maxsize) -> DecodedBatch:
    """Decodes and validates records; guesses nothing. Returns only the first `most_lines` actions of an event."""
    batch = DecodedBatch()
    for position, record in enumerate(records):
        try:
            actions, times = decode_event(record.key, record.value, record.timestamp)
        except RejectedRecord as rejection:
            if isinstance(record, UnreadableBatch):
                batch.rejected.append(Rejection(position, record.reason, record.message))
            else:
                batch.rejected.append(Rejection(position, rejection.reason, str(rejection)))
            continue
        for line, event in enumerate(actions[:most_lines]):
            batch.positions.append(position)
            batch.events.append(event)
            batch.lines.append(line)
            batch.times.append(times[line])
            batch.record_times.append(record.timestamp)
    return batch


def decode_event(key: bytes | None, value: bytes | None, record_time: int) -> tuple[Sequence[Event], Sequence[int]]:
    """Returns the actions of an event, one or one for each of its lines, and their times.

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
        raise _undecodable(value, error) from None
    kind = event.type if event.type in EVENT_TYPES else TYPE_NAMES.get(event.type.casefold())
    if kind is None:
        raise RejectedRecord("unknown_type", f"type is {event.type[:64]!r}, not one of {', '.join(EVENT_TYPES)}")
    if kind != event.type:
        event = msgspec.structs.replace(event, type=kind)
    actions = _actions_of(event)
    _check_key(key, event.user_id)
    time = record_time if event.timestamp is None else _milliseconds(event.timestamp)
    return actions, [time] * len(actions)


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
    _check_numbers(action)
    return action


def _check_fields(event: Event) -> None:
    if event.type == "search":
        if event.query is None:
            raise RejectedRecord("missing_field", "a search has no query")
    elif event.item_id is None:
        raise RejectedRecord("missing_field", f"a {event.type} has no item_id")
    _check_numbers(event)


def _check_numbers(event: Event) -> None:
    if event.price is not None and not math.isfinite(event.price):
        raise RejectedRecord("invalid_field", f"price is {event.price}, not a finite number")
    if event.quantity is not None and not math.isfinite(event.quantity):
        raise RejectedRecord("invalid_field", f"quantity is {event.quantity}, not a finite number")


def _check_key(key: bytes | None, user_id: str) -> None:
    if not key:
        raise RejectedRecord("missing_key", "the record has no key; it must be the user_id")
    if key != user_id.encode():
        raise RejectedRecord("key_mismatch", "the record key is not the user_id: it may lie on the wrong partition")


def _milliseconds(timestamp: str | int | float) -> int:
    """Returns milliseconds since the epoch for an RFC 3339 text (with its offset from UTC) or a number of them."""
    if isinstance(timestamp, str):
        try:
            moment = datetime.fromisoformat(timestamp.upper())  # RFC 3339 allows a small t and z
        except ValueError:
            raise RejectedRecord("invalid_timestamp", f"timestamp {timestamp[:64]!r} is not RFC 3339") from None
        if moment.tzinfo is None:
            raise RejectedRecord("invalid_timestamp", f"timestamp {timestamp[:64]!r} has no offset from UTC")
        return round(moment.timestamp() * 1000)
    if not -YEAR_10000_MS < timestamp < YEAR_10000_MS:
        raise RejectedRecord("invalid_timestamp", f"timestamp {timestamp} is not in milliseconds since 1970")
    return round(timestamp)


def _undecodable(value: bytes, error: Exception) -> RejectedRecord:
    """Returns the reason behind a decoding error; slow and careful, as such errors are rare."""
    try:
        value.decode()
    except UnicodeDecodeError as mistake:
        return RejectedRecord("not_utf8", f"byte {mistake.start} of the value is not UTF-8")
    try:
        fields = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return RejectedRecord("not_json", str(error))
    if not isinstance(fields, dict):
        return RejectedRecord("not_object", f"the value is a JSON {type(fields).__name__}, not an object")
    if "missing required field" in str(error):
        return RejectedRecord("missing_field", str(error))
    too_long = [name for name in ("user_id", "item_id") if _longer(fields.get(name))]
    if too_long:
        return RejectedRecord("too_long", f"{too_long[0]} has more than {ID_LENGTH} characters")
    return RejectedRecord("invalid_field", str(error))


def _longer(text: Any) -> bool:
    return isinstance(text, str) and len(text) > ID_LENGTH
