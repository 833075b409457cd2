"""Records of the statistics as they are read: the newest of each key, and how far the events were counted by then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stream_app.following.content import Offsets, Origin, Record
from stream_app.statistics.counting import Table
from stream_app.statistics.position import KEY, Position, read_position


class ReadRecords(NamedTuple):
    """What several records say."""

    counts: dict[bytes, bytes | None]  # the newest of each key; None: its counts are gone
    position: Position | None  # the newest; None: there is none among them


def read_records(records: Sequence[Record]) -> ReadRecords:
    """Returns what records say; those without a key, or that nobody can read, say nothing."""
    counts = {record.key: record.value for record in records if record.key is not None}
    said = counts.pop(KEY, None)
    return ReadRecords(counts, read_position(said) if said else None)


class AppliedRecords:
    """A table that is filled from a topic, without a snapshot on disk."""

    def __init__(self, table: Table) -> None:
        self.position: Position | None = None
        self._table = table

    def load(self, origin: Origin, ends: Offsets, retention: float) -> Offsets:
        """Returns nothing: all is read."""
        return {}

    def apply(self, records: Sequence[Record]) -> None:
        """Takes records in."""
        read = read_records(records)
        self.position = read.position or self.position
        self._table.apply(list(read.counts), list(read.counts.values()))

    def save(self, origin: Origin, offsets: Offsets) -> bool:
        """Writes nothing."""
        return True
