"""Reads Segment's calls: track, page, screen, group, identify and alias, as sources and destinations write them.

Fields of all calls: https://segment.com/docs/connections/spec/common/; of the ecommerce events:
https://segment.com/docs/connections/spec/ecommerce/v2/; of an alias: https://segment.com/docs/connections/spec/alias/.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from model.data.events import Event
from stream_app.contract.decoded import Contents, Identity, RejectedRecord, ShownList
from stream_app.contract.event_fields import decode_as, milliseconds
from stream_app.contract.formats.fields import Number, Text, id_of, number_of, price_of, text_of, unknown_name, user_of
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.formats.shape import Shape


class Product(msgspec.Struct, frozen=True, gc=False):
    """A product of a call's properties, or the properties themselves where they speak of one."""

    product_id: Text = None
    sku: Text = None
    category: str | None = None
    brand: str | None = None
    price: Number = None
    quantity: Number = None
    currency: str | None = None


class Properties(Product, frozen=True, gc=False):
    """What a track call says of its event."""

    products: list[Product] | None = None
    query: str | None = None
    list_id: Text = None
    market: str | None = None  # not of Segment's spec
    prediction_id: str | None = None  # not of Segment's spec


class Call(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A call as Segment forwards it."""

    user_id: Text = None
    anonymous_id: Text = None
    previous_id: Text = None
    message_id: str | None = None
    timestamp: str | int | float | None = None  # the device's clock corrected
    original_timestamp: str | int | float | None = None  # by the device's clock
    properties: Properties | None = None


_CALL: Final = msgspec.json.Decoder(Call)
_NO_PROPERTIES: Final = Properties()


def decode_segment(shape: Shape, key: bytes | None, value: bytes, record_time: int, options: DecodeOptions) -> Contents:
    """Returns what a call says. Raises `RejectedRecord`."""
    if shape.type == "track":
        return _track(shape.event, key, value, record_time, options)
    if shape.type in ("identify", "alias"):
        return _identity(shape.type, key, value, record_time)
    if shape.type in ("page", "screen", "group"):
        return Contents(ignored=(shape.type,))
    raise RejectedRecord("unknown_type", f"type is {str(shape.type)[:64]!r}, not one of Segment's calls")


def _track(name: object, key: bytes | None, value: bytes, record_time: int, options: DecodeOptions) -> Contents:
    if not isinstance(name, str):
        raise RejectedRecord("missing_field", "a track call has no event")
    meaning = options.meaning(name)
    if meaning == "ignored":
        return Contents(ignored=(name.casefold(),))
    if meaning is None or meaning == "identify":
        raise unknown_name(name)
    call = decode_as(_CALL, value)
    user = user_of(key, call.user_id, call.anonymous_id)
    time = _time_of(call, record_time)
    if meaning == "shown":
        return _shown(name, user, time, record_time, call)
    actions = _actions(meaning, user, call)
    return Contents(actions, (time,) * len(actions))


def _actions(kind: str, user: str, call: Call) -> Sequence[Event]:
    said = call.properties or _NO_PROPERTIES
    if kind == "search":
        if said.query is None:
            raise RejectedRecord("missing_field", "a search has no query")
        return (Event(user, kind, None, said.query, None, call.message_id, market=said.market),)
    return [
        Event(
            user, kind, _item_of(product, kind), None, None, call.message_id, None,
            product.category,
            product.brand,
            product.currency or said.currency,
            price_of(product.price),
            number_of(product.quantity, "quantity"),
            said.market,
        )
        for product in said.products or (said,)
    ]  # fmt: skip


def _item_of(product: Product, kind: str) -> str:
    item = id_of(product.product_id, "product_id") or id_of(product.sku, "sku")
    if item is None:
        raise RejectedRecord("missing_field", f"a product of a {kind} has neither product_id nor sku")
    return item


def _shown(name: str, user: str, time: int, record_time: int, call: Call) -> Contents:
    said = call.properties or _NO_PROPERTIES
    if not said.products:
        return Contents(ignored=(name.casefold(),))
    shown = ShownList(
        user_id=user,
        items=[_item_of(product, "list") for product in said.products],
        time=time,
        record_time=record_time,
        prediction_id=said.prediction_id,
        slate=text_of(said.list_id) or said.category,
        event_id=call.message_id,
        market=said.market,
    )
    return Contents(shown=(shown,))


def _identity(kind: str, key: bytes | None, value: bytes, record_time: int) -> Contents:
    """Returns who an anonymous user is; a call of one id, which says nothing of the kind, is ignored."""
    call = decode_as(_CALL, value)
    known = id_of(call.user_id, "userId")
    anonymous = id_of(call.anonymous_id if kind == "identify" else call.previous_id, "the other id")
    if known is None or anonymous is None or known == anonymous:
        return Contents(ignored=(kind,))
    user_of(key, known, anonymous)
    time = _time_of(call, record_time)
    return Contents(identities=(Identity(known, anonymous, time, record_time, event_id=call.message_id),))


def _time_of(call: Call, record_time: int) -> int:
    timestamp = call.original_timestamp if call.timestamp is None else call.timestamp
    return record_time if timestamp is None else milliseconds(timestamp)
