"""Counts how often each item was acted upon, exactly and for ever: an oracle in the place of the statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

from model.data.events import Actions
from model.statistics.table_records import CountedRecords
from stream_app.contract.formats.options import DecodeOptions
from stream_app.statistics.counting import Counting


class ExactTable:
    """A count of each item."""

    def __init__(self) -> None:
        self.counts: Counter[bytes] = Counter()
        self.dropped: Mapping[str, int] = {}
        self.generation = 0

    def apply(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        for key, value in zip(keys, values, strict=True):
            if value is None:
                self.counts.pop(key, None)
            else:
                self.counts[key] = int(value)

    @property
    def record_count(self) -> int:
        return len(self.counts)

    def records(self, start: int, most: int) -> Sequence[tuple[bytes, bytes]]:
        return [(key, b"%d" % count) for key, count in islice(self.counts.items(), start, start + most)]

    @property
    def nbytes(self) -> int:
        return 100 * len(self.counts)

    def __len__(self) -> int:
        return len(self.counts)


class ExactCounter:
    """Adds to the counts."""

    def __init__(self, table: ExactTable) -> None:
        self.seen = 0  # actions that were only noted
        self._table = table
        self._changed: set[bytes] = set()

    def learn(self, actions: Actions, *, counted: bool = True) -> None:
        if not counted:
            self.seen += len(actions)
            return
        keys = [item.encode() for item in actions.items if item]
        self._table.counts.update(keys)
        self._changed.update(keys)

    def take_changes(self, most: int) -> CountedRecords:
        keys = sorted(self._changed)[:most]
        self._changed.difference_update(keys)
        return CountedRecords(keys, [b"%d" % self._table.counts[key] for key in keys], [])


def exact_counting() -> Counting:
    """An empty table and its counter."""
    table = ExactTable()
    return Counting(table, ExactCounter(table), DecodeOptions())
