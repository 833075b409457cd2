"""Reads fields as other systems write them: ids that may be numbers, numbers that may be texts, several user ids."""

from __future__ import annotations

import math
import re
from typing import Final

from model.data.events import ID_LENGTH
from stream_app.contract.decoded import RejectedRecord

# What JSON has for them. Ids and texts are short, and those of a database often whole numbers; GA4's data layer and
# BigQuery's export write numbers as texts, too.
Text = str | int | None
Number = float | str | None

NOT_SET: Final = ("", "(not set)")  # what GA4 exports where a publisher said nothing
_NUMBER: Final = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")


def text_of(value: Text) -> str | None:
    """Returns a text, or the digits of a whole number; None where nothing is said."""
    if isinstance(value, str):
        return None if value in NOT_SET else value
    return None if value is None else str(value)


def id_of(value: Text, name: str) -> str | None:
    """Returns an id as `text_of` does. Raises `RejectedRecord` when it is too long."""
    text = text_of(value)
    return None if text is None else _checked(text, name)


def _checked(text: str, name: str) -> str:
    if len(text) > ID_LENGTH:
        raise RejectedRecord("too_long", f"{name} has more than {ID_LENGTH} characters")
    return text


def user_of(key: bytes | None, *ids: Text) -> str:
    """Returns the one of a record's ids that the record key is. Raises `RejectedRecord`."""
    if not key:
        raise RejectedRecord("missing_key", "the record has no key; it must be one of its ids of the user")
    for value in ids:
        text = text_of(value)
        if text is not None and text.encode() == key:
            return _checked(text, "the id of the user")
    if not any(map(text_of, ids)):
        raise RejectedRecord("missing_field", "the record has no id of the user")
    raise RejectedRecord("key_mismatch", "the record key is none of its ids: it may lie on the wrong partition")


def number_of(value: Number, name: str) -> float | None:
    """Returns a number that may be a text. Raises `RejectedRecord` when it is neither, or not finite."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value) or not math.isfinite(float(value)):
            raise RejectedRecord("invalid_field", f"{name} is {value[:64]!r}, not a finite number")
        return float(value)
    return value  # those of JSON are finite, or they were refused before


def price_of(value: Number) -> float | None:
    """Returns a price as `number_of` does. Raises `RejectedRecord` also when it is negative."""
    price = number_of(value, "price")
    if price is not None and price < 0:
        raise RejectedRecord("invalid_field", f"price is {price}, below 0")
    return price


def unknown_name(name: str) -> RejectedRecord:
    """Returns the rejection of an event whose name no format knows."""
    text = "which no format knows; NEXTACT_IGNORED_EVENTS can name what is to be passed over"
    return RejectedRecord("unknown_type", f"the event is named {name[:64]!r}, {text}")
