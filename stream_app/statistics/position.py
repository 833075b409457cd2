"""The record that says how far the events are counted; it is written in the transaction of the counts it belongs to.

Offsets that are committed for a group would not do: Kafka forgets those of a topic that the group does not read, a week
after nothing came (`offsets.retention.minutes`), and all would be counted again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from stream_app.contract.records import OutgoingRecord
from stream_app.errors import DataPathError
from stream_app.settings import Settings

FORMAT: Final = 1
KEY: Final = b"\xffposition"  # not UTF-8, so not an item's id


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where events are counted, and when that was written."""

    format: int
    topic: str  # of the events
    epoch: int  # of the stream
    offsets: dict[int, int]  # by partition of the events: of the first one that is not counted
    written: int  # ms since the epoch
    until: int  # ms since the epoch: all that had come by then is counted
    dropped: dict[str, int] = {}  # what the writer has forgotten since its start, by kind


def position_record(position: Position) -> OutgoingRecord:
    """Returns the record of a position."""
    return OutgoingRecord(KEY, msgspec.json.encode(position))


def read_position(value: bytes) -> Position | None:
    """Returns what a record says; None where a later version wrote it in another way."""
    try:
        return msgspec.json.decode(value, type=Position)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def offsets_to_go_on(position: Position | None, settings: Settings) -> Mapping[int, int] | None:
    """Returns where counting goes on; None: at the beginning of the events, as nothing of this stream was counted.

    Raises `DataPathError` for a position of a later version, as counting anew would count twice.
    """
    if position is None:
        return None
    if position.format != FORMAT:
        raise DataPathError(
            f"{settings.statistics_topic} was written by a later version, in format {position.format}: run that one"
        )
    if (position.topic, position.epoch) != (settings.events_topic, settings.stream_epoch):
        return None
    return position.offsets
