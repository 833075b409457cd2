"""What the records of the events topic say, once they are decoded, in whatever format they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import msgspec

from model.data.events import Event

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
    "invalid_key",
    "key_mismatch",
    "unreadable",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


class RejectedRecord(Exception):
    """A record is not an event; `decode_batch` turns it into a `Rejection`."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record is not an event."""

    position: int  # of the record in its batch, from 0
    reason: Reason
    message: str


class ShownList(msgspec.Struct, frozen=True, gc=False):
    """Items that a user was shown: neither a step of their sequence nor a reason for a prediction."""

    user_id: str
    items: list[str]  # ids in the order in which they stood; at least one
    time: int  # milliseconds since the epoch, as the publisher gave it
    record_time: int  # milliseconds since the epoch, of the record
    prediction_id: str | None = None  # of the prediction that the items come from
    slate: str | None = None  # name of the list or of the place where it stood
    event_id: str | None = None
    session_id: str | None = None
    market: str | None = None
    position: int = 0  # of the record in its batch, from 0; one record may hold several lists


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Says that an anonymous user is a known one."""

    user_id: str  # of the known user
    anonymous_id: str  # the record key is one of the two
    time: int  # milliseconds since the epoch, as the publisher gave it
    record_time: int  # milliseconds since the epoch, of the record
    event_id: str | None = None
    position: int = 0  # of the record in its batch, from 0


class Contents(msgspec.Struct, frozen=True, gc=False):
    """What one record says: all of it holds, or the record is rejected."""

    actions: Sequence[Event] = ()  # in order, each without `items`
    times: Sequence[int] = ()  # of the actions, milliseconds since the epoch, as the publisher gave them
    ignored: Sequence[str] = ()  # names of what is no shopper's action, from a closed set
    shown: Sequence[ShownList] = ()
    identities: Sequence[Identity] = ()


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What the records of a batch say, in order, and why other records were rejected.

    The actions of one record follow each other and share its position.
    """

    positions: list[int] = field(default_factory=list)  # of the actions' records in the batch, from 0
    events: list[Event] = field(default_factory=list)  # one for each action, each without `items`
    lines: list[int] = field(default_factory=list)  # of each action in its record, from 0
    times: list[int] = field(default_factory=list)  # milliseconds since the epoch, as the publisher gave them
    record_times: list[int] = field(default_factory=list)  # milliseconds since the epoch, of the records
    rejected: list[Rejection] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # names of what is no shopper's action, from a closed set
    shown: list[ShownList] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
