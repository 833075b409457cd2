"""What is seen of an event on its topic, as far as the story needs it."""

from __future__ import annotations

from typing import Final, NamedTuple

from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.events import decode_event
from stream_app.contract.records import Record

_NO_TARGETS: Final = ("search", "remove")  # types of events on nothing that somebody wants


class Place(NamedTuple):
    """Where an event lies in the events topic."""

    partition: int
    offset: int


class SeenEvent(NamedTuple):
    """An event; of a basket its first line."""

    place: Place
    user: str
    type: str
    time: int  # ms since the epoch, as the publisher gave it
    item: str | None
    query: str | None
    category: str | None
    event_id: str | None

    @property
    def is_target(self) -> bool:
        """Whether it scores the answer before it: it is on an item that somebody wants."""
        return self.item is not None and self.type not in _NO_TARGETS


def seen_event(place: Place, record: Record) -> SeenEvent | None:
    """Returns the event of a record; None: it is none, or no shopper's action."""
    try:
        contents = decode_event(record.key, record.value, record.timestamp)
    except RejectedRecord:
        return None
    if not contents.actions:
        return None
    event = contents.actions[0]
    return SeenEvent(
        place,
        event.user_id,
        event.type,
        contents.times[0],
        event.item_id,
        event.query,
        event.category,
        event.event_id,
    )
