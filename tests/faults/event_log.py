"""The events as they were written, also those that the log no longer has: deleted by retention, or cut off.

A log that was cut gives its offsets again. So everything here goes by *positions*: the offset, and above its 48 bits
how often the log was cut before that record was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.load import ABORTED, EXPECT
from tests.faults.replay import Place, Record

OFFSET_BITS: Final = 48


@dataclass(frozen=True)
class Cut:
    """A cut of the log, made while no worker had anything to do."""

    kept: Mapping[int, int]  # by partition that was cut: where its log ended then
    outputs: Mapping[str, Mapping[int, int]]  # by topic and partition: where what workers had written ended


@dataclass(frozen=True)
class LogRecord:
    """A record of the events topic, with its position as offset."""

    partition: int
    offset: int
    timestamp: int
    key: Any
    value: Any
    headers: Any


def cuts_before(cuts: Sequence[Cut], place: Place, written: Record | None = None, topic: str = "") -> int:
    """How often the log had been cut when the record at a partition and offset came into it.

    Its answer `written` to `topic` says which of the records with that offset is meant; None: the one there is now.
    """
    partition, offset = place
    for number in range(len(cuts), 0, -1):
        cut = cuts[number - 1]
        later = written is None or written.offset >= cut.outputs[topic].get(written.partition, 0)
        if later and offset >= cut.kept.get(partition, 1 << OFFSET_BITS):
            return sum(partition in one.kept for one in cuts[:number])
    return 0


class EventLog:
    """All events of a run: call `add` with the topic's records before any of them is lost, and at the end."""

    def __init__(self) -> None:
        self._records: dict[Place, LogRecord] = {}
        self.cuts: list[Cut] = []
        self.deleted: dict[int, int] = {}  # by partition: records before this offset were deleted

    def add(self, records: Iterable[Record]) -> None:
        """Takes in the records that the topic has now."""
        for record in records:
            cuts = cuts_before(self.cuts, (record.partition, record.offset))
            position = (cuts << OFFSET_BITS) + record.offset
            self._records[record.partition, position] = LogRecord(
                record.partition, position, record.timestamp, record.key, record.value, record.headers
            )

    def records(self) -> list[LogRecord]:
        """All records, by partition and position."""
        return [self._records[place] for place in sorted(self._records)]

    @property
    def committed(self) -> int:
        """How many records there are that were not taken back."""
        return sum(dict(record.headers).get(EXPECT) != ABORTED.encode() for record in self._records.values())

    @property
    def is_whole(self) -> bool:
        """Whether the topic still has all of it."""
        return not self.cuts and not self.deleted

    def deleted_places(self) -> set[Place]:
        """The places of all records that were deleted."""
        return {place for place in self._records if place[1] < self.deleted.get(place[0], 0)}
