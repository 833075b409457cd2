"""What counts events and what keeps the counts, as far as topics and processes need to know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiokafka.partitioner import murmur2

from model.data.event_time import judge_times
from model.data.events import Actions, actions_of
from model.statistics.table_records import CountedRecords
from stream_app.contract.events import decode_batch
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.records import OutgoingRecord, Record
from stream_app.kafka.encoded_batch import RecordBatch, encode_records
from stream_app.settings import Compression

_POSITIVE: Final = 0x7FFFFFFF  # bits of a hash that Kafka's default partitioner takes


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
    """A table that is ranked by, and can be written to disk piece by piece."""

    @property
    def generation(self) -> int:
        """Changes when records have other numbers than before."""

    @property
    def record_count(self) -> int:
        """The number of all records."""

    def records(self, start: int, most: int) -> Sequence[tuple[bytes, bytes]]:
        """Returns the records of so many numbers; some may be of nothing any more, and left out."""


class Counter(Protocol):
    """Counts actions into a table."""

    def learn(self, actions: Actions, *, counted: bool = True) -> None:
        """Counts actions, in their order; not `counted`: only what users did of late is noted."""

    def take_changes(self, most: int) -> CountedRecords:
        """Returns at most so many records of what has changed since they were taken; none: that is all."""


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


def batches_by_partition(
    changes: CountedRecords, partitions: int, compression: Compression
) -> list[tuple[int, RecordBatch]]:
    """Returns the records of changes as batches: what is gone comes first, as it may have come back since."""
    records = [OutgoingRecord(key, None) for key in changes.removed]
    records += map(OutgoingRecord, changes.keys, changes.values)
    by_partition: dict[int, list[OutgoingRecord]] = {}
    for record in records:
        number = (murmur2(record.key) & _POSITIVE) % partitions if partitions > 1 else 0
        by_partition.setdefault(number, []).append(record)
    return [
        (number, batch)
        for number, several in by_partition.items()
        for batch in encode_records(several, compression=compression)
    ]
