"""The table for people names exactly the fields that the code reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from model.data.events import Event
from stream_app.contract.event_names import MEANINGS
from stream_app.contract.formats.ga4 import _ROW_PARAMETERS, Item, Request, Row
from stream_app.contract.formats.own import IdentityRecord, ShownRecord
from stream_app.contract.formats.segment import Call
from stream_app.contract.formats.table import FIELDS, FORMATS, formats_table
from stream_app.contract.formats.ubi import UbiEvent

READ_BY_SHAPE = {"Segment": {"type", "event"}, "GA4, exported row": {"event_name"}, "UBI": {"action_name"}}
WRAPPERS = {"event_params", "key", "value", "string_value", "int_value", "properties", "params", "object"}


def fields_of(kind: Any) -> Iterator[str]:
    """The names of a struct's fields, and of those inside."""
    for field in msgspec.structs.fields(kind):
        yield field.encode_name
        for inner in (field.type, *getattr(field.type, "__args__", ())):
            for one in (inner, *getattr(inner, "__args__", ())):
                if isinstance(one, type) and issubclass(one, msgspec.Struct):
                    yield from fields_of(one)


READ = {
    "nextact": {*fields_of(Event), *fields_of(ShownRecord), *fields_of(IdentityRecord)},
    "Segment": {*fields_of(Call), *READ_BY_SHAPE["Segment"]},
    "GA4, request": {
        *fields_of(Request), "items", "currency", "search_term", "transaction_id", "session_id", "item_list_id",
        "item_list_name", "market", "prediction_id", *fields_of(Item),
    },
    "GA4, exported row": {*fields_of(Row), *_ROW_PARAMETERS, *READ_BY_SHAPE["GA4, exported row"]},
    "UBI": {*fields_of(UbiEvent), *READ_BY_SHAPE["UBI"]},
}  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_every_field_that_is_read_is_named_and_no_other(format: str) -> None:
    column = 1 + FORMATS.index(format)
    cells = " ".join(row[column] for row in FIELDS)
    if format == "GA4, exported row":  # "the same" as in the column before
        cells += " ".join(re.findall(r"`item_\w+`", " ".join(row[column - 1] for row in FIELDS))) + " `currency`"
    named = {word for text in re.findall(r"`([^`]+)`", cells) for word in re.findall(r"\w+", text)} - {"a", "b", "c"}
    assert named | WRAPPERS == READ[format] | WRAPPERS


def test_every_name_is_in_the_table() -> None:
    text = formats_table()
    assert {name for name in MEANINGS if f"`{name}`" not in text} == set()
