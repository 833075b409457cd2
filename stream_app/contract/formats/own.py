"""Reads nextact's own records that are no shopper's action: what was shown, and who an anonymous user is."""

from __future__ import annotations

from typing import Final

import msgspec

from model.data.events import Id
from stream_app.contract.decoded import Contents, Identity, ShownList
from stream_app.contract.event_fields import check_key, decode_as, milliseconds


class ShownItem(msgspec.Struct, frozen=True, gc=False):
    """An item that was shown; unknown fields are ignored."""

    item_id: Id


class ShownRecord(msgspec.Struct, frozen=True, gc=False):
    """Items that a user was shown, in the order in which they stood; unknown fields are ignored."""

    user_id: Id
    type: str
    items: list[Id | ShownItem]
    prediction_id: str | None = None
    slate: str | None = None
    timestamp: str | int | float | None = None
    event_id: str | None = None
    session_id: str | None = None
    market: str | None = None


class IdentityRecord(msgspec.Struct, frozen=True, gc=False):
    """An anonymous user turns out to be a known one; unknown fields are ignored."""

    user_id: Id
    type: str
    anonymous_id: Id | None = None
    timestamp: str | int | float | None = None
    event_id: str | None = None


_SHOWN: Final = msgspec.json.Decoder(ShownRecord)
_IDENTITY: Final = msgspec.json.Decoder(IdentityRecord)


def decode_shown(key: bytes | None, value: bytes, record_time: int) -> Contents:
    """Returns the list in a record of such a type; a list without items is ignored. Raises `RejectedRecord`."""
    record = decode_as(_SHOWN, value)
    check_key(key, record.user_id)
    time = record_time if record.timestamp is None else milliseconds(record.timestamp)
    if not record.items:
        return Contents(ignored=(record.type.casefold(),))
    shown = ShownList(
        user_id=record.user_id,
        items=[item if isinstance(item, str) else item.item_id for item in record.items],
        time=time,
        record_time=record_time,
        prediction_id=record.prediction_id,
        slate=record.slate,
        event_id=record.event_id,
        session_id=record.session_id,
        market=record.market,
    )
    return Contents(shown=(shown,))


def decode_identity(key: bytes | None, value: bytes, record_time: int) -> Contents:
    """Returns the identity in a record of such a type; one of a single id is ignored. Raises `RejectedRecord`."""
    record = decode_as(_IDENTITY, value)
    if record.anonymous_id is None or record.anonymous_id == record.user_id:
        return Contents(ignored=(record.type.casefold(),))
    check_key(key, record.anonymous_id if key == record.anonymous_id.encode() else record.user_id)
    time = record_time if record.timestamp is None else milliseconds(record.timestamp)
    return Contents(
        identities=(Identity(record.user_id, record.anonymous_id, time, record_time, event_id=record.event_id),)
    )
