"""Reads events of User Behavior Insights (UBI): https://o19s.github.io/ubi/schema/1.3.0/event.schema.json.

OpenSearch's page on them: https://docs.opensearch.org/latest/search-plugins/ubi/schemas/.
"""

from __future__ import annotations

from typing import Final

import msgspec

from model.data.events import Event
from stream_app.contract.decoded import Contents, RejectedRecord, ShownList
from stream_app.contract.event_fields import decode_as, milliseconds
from stream_app.contract.formats.fields import Text, id_of, text_of, unknown_name, user_of
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.formats.shape import Shape


class UbiObject(msgspec.Struct, frozen=True, gc=False):
    """What the action was done to."""

    object_id: Text = None


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """Details of an event; publishers may add to them."""

    object: UbiObject | None = None
    market: str | None = None  # not of UBI's schema
    prediction_id: str | None = None  # not of UBI's schema


class UbiEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as UBI's clients send it."""

    client_id: Text = None
    user_id: Text = None
    session_id: Text = None
    timestamp: str | int | float | None = None
    application: str | None = None
    user_query: str | None = None
    message: str | None = None  # of a search: the words searched for
    event_attributes: Attributes | None = None


_EVENT: Final = msgspec.json.Decoder(UbiEvent)
_NO_ATTRIBUTES: Final = Attributes()


def decode_ubi(shape: Shape, key: bytes | None, value: bytes, record_time: int, options: DecodeOptions) -> Contents:
    """Returns what an event says. Raises `RejectedRecord`."""
    name = shape.action_name
    if not isinstance(name, str):
        raise RejectedRecord("missing_field", "the event has no action_name")
    meaning = options.meaning(name)
    if meaning == "ignored":
        return Contents(ignored=(name.casefold(),))
    if meaning is None or meaning == "identify":
        raise unknown_name(name)
    event = decode_as(_EVENT, value)
    user = user_of(key, event.client_id, event.user_id)
    time = record_time if event.timestamp is None else milliseconds(event.timestamp)
    if meaning == "shown":
        return _shown(name, user, time, record_time, event)
    return Contents((_action(meaning, user, event),), (time,))


def _action(kind: str, user: str, event: UbiEvent) -> Event:
    attributes = event.event_attributes or _NO_ATTRIBUTES
    item, query = _item_of(attributes), event.user_query
    if kind == "search":
        query = event.message if query is None else query
        if query is None:
            raise RejectedRecord("missing_field", "a search has neither user_query nor message")
    elif item is None:
        raise RejectedRecord("missing_field", f"a {kind} has no event_attributes.object.object_id")
    session = text_of(event.session_id)
    return Event(user, kind, item, query, session_id=session, market=attributes.market)


def _shown(name: str, user: str, time: int, record_time: int, event: UbiEvent) -> Contents:
    """Returns the item of an impression: UBI has an event for each."""
    attributes = event.event_attributes or _NO_ATTRIBUTES
    item = _item_of(attributes)
    if item is None:
        return Contents(ignored=(name.casefold(),))
    shown = ShownList(
        user_id=user,
        items=[item],
        time=time,
        record_time=record_time,
        prediction_id=attributes.prediction_id,
        slate=event.application,
        session_id=text_of(event.session_id),
        market=attributes.market,
    )
    return Contents(shown=(shown,))


def _item_of(attributes: Attributes) -> str | None:
    return None if attributes.object is None else id_of(attributes.object.object_id, "object_id")
