"""The record of the signals topic, as subscribers decode it: what silence says of a user."""

from __future__ import annotations

from typing import Final, Literal, get_args
from uuid import UUID, uuid5

import msgspec

SignalKind = Literal["visit_ended", "cart_abandoned", "purchase_expected", "audience_entered", "audience_left"]
SIGNAL_KINDS: Final[tuple[SignalKind, ...]] = get_args(SignalKind)
MeasuredBy = Literal["clock", "stream"]


class SignalVisit(msgspec.Struct, frozen=True, gc=False):
    """The visit that a signal is about."""

    number: int
    begun: int  # milliseconds since the epoch
    last: int  # the same, at its last action
    actions: int


class SignalItem(msgspec.Struct, frozen=True, gc=False):
    """An item that a signal is about."""

    item_id: str


class Signal(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What there is to tell of a user, as published to the signals topic."""

    signal_id: str
    kind: SignalKind
    user_id: str
    timestamp: int  # milliseconds since the epoch
    measured_by: MeasuredBy
    visit: SignalVisit
    items: list[SignalItem] | None = None
    purchase_probability: float | None = None
    audience: str | None = None


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Signal)


def encode_signal(signal: Signal) -> bytes:
    """Returns the value of a record."""
    return _ENCODER.encode(signal)


def decode_signal(value: bytes) -> Signal:
    """Decodes a published signal; raises `msgspec.DecodeError` for anything else."""
    return _DECODER.decode(value)


def signal_namespace(epoch: int, topic: str) -> UUID:
    """Returns the namespace of the ids of signals, for one epoch of a topic of events."""
    return uuid5(UUID(int=0), f"nextact/signals/{epoch}/{topic}")


def signal_id(namespace: UUID, partition: int, user_id: str, what: str) -> str:
    """Returns the id of a signal: the same each time when the same is told of a user; `what` says what that is."""
    return str(uuid5(namespace, f"{partition}/{what}/{user_id}"))
