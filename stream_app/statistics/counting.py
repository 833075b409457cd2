"""What counts events and what keeps the counts, as far as topics and processes need to know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from model.data.event_time import judge_times
from model.data.events import Actions, actions_of
from stream_app.contract.events import decode_batch
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.records import Record


class CountedRecords(NamedTuple):
    """What has changed since it was asked for: records to write, and keys of what is no longer there."""

    keys: Sequence[bytes]
    values: Sequence[bytes]
    removed: Sequence[bytes]


class Table(Protocol):
    """Counts by key, within so much memory. Not for two threads at once."""

    def apply(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Replaces the counts of keys; None: they are no longer there."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """How much was forgotten since the table was made, by kind."""

    def __len__(self) -> int:
        """Returns the number of items."""


class SavedTable(Table, Protocol):
    """A table that can be written to disk piece by piece."""

    @property
    def generation(self) -> int:
        """Changes when records have other numbers than before."""

    def records(self, start: int, most: int) -> Sequence[tuple[bytes, bytes]]:
        """Returns the records from a number on; none: there are no more."""


class Counter(Protocol):
    """Counts actions into a table."""

    def learn(self, actions: Actions, *, counted: bool = True) -> None:
        """Counts actions, in their order; not `counted`: only what users did of late is noted."""

    def take_changes(self) -> CountedRecords:
        """Returns all that has changed since the last call."""


@dataclass(frozen=True, slots=True)
class Counting:
    """A table, what counts into it, and how events are decoded."""

    table: Table
    counter: Counter
    options: DecodeOptions

    def learn(self, records: Sequence[Record], *, counted: bool = True) -> int:
        """Counts the events among records, all their items; returns how many events there were."""
        decoded = decode_batch(records, options=self.options)
        if decoded.events:
            times, _ = judge_times(decoded.times, decoded.record_times)
            self.counter.learn(actions_of(decoded.events, times, decoded.lines), counted=counted)
        return decoded.lines.count(0)


MakeCounting = Callable[[], Counting]
