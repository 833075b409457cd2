"""Checks the fields of events whose types cannot express it, the same for all formats."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from model.data.events import ID_LENGTH, Event
from stream_app.contract.decoded import RejectedRecord

Decoded = TypeVar("Decoded")

DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
YEAR_10000_MS: Final = 253_402_300_800_000  # milliseconds since the epoch; where RFC 3339 ends


def check_numbers(event: Event) -> None:
    """Raises `RejectedRecord` for a price or quantity that is not finite."""
    if event.price is not None and not math.isfinite(event.price):
        raise RejectedRecord("invalid_field", f"price is {event.price}, not a finite number")
    if event.quantity is not None and not math.isfinite(event.quantity):
        raise RejectedRecord("invalid_field", f"quantity is {event.quantity}, not a finite number")


def check_key(key: bytes | None, user_id: str) -> None:
    """Raises `RejectedRecord` when the record key is not the user id."""
    if not key:
        raise RejectedRecord("missing_key", "the record has no key; it must be the user_id")
    if key != user_id.encode():
        raise RejectedRecord("key_mismatch", "the record key is not the user_id: it may lie on the wrong partition")


def milliseconds(timestamp: str | int | float) -> int:
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


def decode_as(decoder: msgspec.json.Decoder[Decoded], value: bytes) -> Decoded:
    """Returns what a decoder makes of a record's value. Raises `RejectedRecord`."""
    try:
        return decoder.decode(value)
    except DECODE_ERRORS as error:
        raise undecodable(value, error) from None


def decode_part(decoder: msgspec.json.Decoder[Decoded], part: msgspec.Raw) -> Decoded:
    """Returns what a decoder makes of a part of a value that was found to be JSON. Raises `RejectedRecord`."""
    try:
        return decoder.decode(part)
    except DECODE_ERRORS as error:
        raise RejectedRecord("invalid_field", str(error)) from None


def undecodable(value: bytes, error: Exception) -> RejectedRecord:
    """Returns the reason behind a decoding error of an event; slow and careful, as such errors are rare."""
    try:
        fields = fields_of(value, error)
    except RejectedRecord as rejection:
        return rejection
    if "missing required field" in str(error):
        return RejectedRecord("missing_field", str(error))
    too_long = [name for name in ("user_id", "item_id", "anonymous_id") if _longer(fields.get(name))]
    if too_long:
        return RejectedRecord("too_long", f"{too_long[0]} has more than {ID_LENGTH} characters")
    return RejectedRecord("invalid_field", str(error))


def fields_of(value: bytes, error: Exception) -> dict[str, Any]:
    """Returns the fields of a value that gave a decoding error. Raises `RejectedRecord` if it is not a JSON object."""
    try:
        value.decode()
    except UnicodeDecodeError as mistake:
        raise RejectedRecord("not_utf8", f"byte {mistake.start} of the value is not UTF-8") from None
    try:
        fields = msgspec.json.decode(value)
    except DECODE_ERRORS:
        raise RejectedRecord("not_json", str(error)) from None
    if not isinstance(fields, dict):
        raise RejectedRecord("not_object", f"the value is a JSON {type(fields).__name__}, not an object")
    return fields


def _longer(text: Any) -> bool:
    return isinstance(text, str) and len(text) > ID_LENGTH
