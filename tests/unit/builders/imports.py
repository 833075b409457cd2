"""Sources to import: rows as a shop's files give them, and what the history has of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.data.events import Event
from stream_app.contract.decoded import DecodedBatch
from stream_app.history.importer import Import, Importer
from stream_app.history.rows import rows_of
from tests.unit.builders.histories import NOON


@dataclass(frozen=True)
class Source:
    """The events of a file, each with its time (ms) and one or more lines."""

    events: tuple[tuple[int, int, str], ...]  # time, lines, user

    @staticmethod
    def of(times: Sequence[int], lines: int = 1, prefix: str = "u") -> Source:
        """Makes events of four users at these times (seconds before noon are negative)."""
        return Source(tuple((NOON + 1000 * t, lines, f"{prefix}{n % 4}") for n, t in enumerate(times)))

    def batches(self, size: int = 7) -> Iterator[pa.RecordBatch]:
        """Yields the rows in batches of so many events."""
        for first in range(0, len(self.events), size):
            batch = DecodedBatch()
            for position, (time, lines, user) in enumerate(self.events[first : first + size], first):
                for line in range(lines):
                    batch.positions.append(position)
                    batch.events.append(Event(user, "view", f"{user} {position}.{line}", event_id=f"{user}-{position}"))
                    batch.lines.append(line)
                    batch.times.append(time)
                    batch.record_times.append(time)
            yield rows_of(0, range(len(self.events)), batch)

    def items(self) -> list[str]:
        """Returns the items of all rows, in the order of time."""
        rows = [
            (time, position, line, f"{user} {position}.{line}")
            for position, (time, lines, user) in enumerate(self.events)
            for line in range(lines)
        ]
        return [item for *_, item in sorted(rows)]


def import_source(folder: Path, source: Source, name: str = "past.csv") -> list[Import]:
    """Imports a source as one process does."""
    importer = Importer(str(folder))
    try:
        return list(importer.add(name, source.batches(), lambda: NOON))
    finally:
        importer.close()


def imported_in(folder: Path) -> list[dict[str, Any]]:
    """Reads all imported rows with pyarrow alone."""
    files = sorted((folder / "_imported").glob("[0-9a-f]*.parquet"))
    return [row for path in files for row in pq.read_table(path, partitioning=None).to_pylist()]


def items_in(folder: Path) -> list[str]:
    """Returns the items of all imported rows, sorted."""
    return sorted(row["item_id"] for row in imported_in(folder))
