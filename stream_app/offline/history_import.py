"""Imports a shop's own logs into the history, for the trainer and whoever else takes the pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from stream_app.history.importer import Import, Importer
from stream_app.offline.event_files import EventFile
from stream_app.offline.log_reader import LogReader, check_log


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What came of one file. Rows of it that were grouped into a basket count one by one, as in the history."""

    file: str
    imported: int = 0  # rows that are new in the history
    known: int = 0  # rows that an earlier import had brought
    left_out: int = 0  # rows that are not events
    skipped: int = 0  # rows of types that are mapped to nothing
    first_fault: str = ""  # where the first row that was left out is, and why
    oldest: str | None = None  # time of the oldest event, RFC 3339
    newest: str | None = None
    users: int | None = None  # who were sent to the workers; None: they were not wanted there

    @property
    def days(self) -> float:
        """The time from the oldest event to the newest."""
        if self.oldest is None or self.newest is None:
            return 0.0
        return (datetime.fromisoformat(self.newest) - datetime.fromisoformat(self.oldest)) / timedelta(days=1)

    def __str__(self) -> str:
        known = f", {self.known:,} were there" if self.known else ""
        left_out = f", {self.left_out:,} rows are not events (the first: {self.first_fault})" if self.left_out else ""
        skipped = f", {self.skipped:,} rows skipped" if self.skipped else ""
        times = f", from {self.oldest} to {self.newest}"
        users = "" if self.users is None else f"; the past of {self.users:,} users sent to the workers"
        return f"{self.file}: {self.imported:,} events imported{known}{left_out}{skipped}{times}{users}"


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far the import of a file has got."""

    file: str
    rows: int  # of the file that were read
    imported: int
    known: int


def import_logs(
    importer: Importer,
    logs: Iterable[EventFile],
    clock: Callable[[], float],
    progress: Callable[[ImportProgress], None],
    take: Callable[[Import], None] = lambda _piece: None,
) -> Iterator[ImportSummary]:
    """Imports logs one after the other, and yields what came of each; `clock` gives seconds since the epoch.

    `take` gets all pieces of a log, known ones too, before its summary is yielded.

    Raises `InputUnreadable` for a log that cannot be read, `HistoryFailed`. What was imported until then stays.
    """
    for log in logs:
        reader, summary = LogReader(), ImportSummary(str(log.path))
        for piece in importer.add(_shown_name(log), _rows(reader, log), lambda: round(1000 * clock())):
            summary = _with(summary, piece)
            take(piece)
            progress(ImportProgress(summary.file, reader.rows, summary.imported, summary.known))
        yield replace(summary, left_out=reader.left_out, skipped=log.skipped, first_fault=reader.first_fault)


def _rows(reader: LogReader, log: EventFile) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a log. Raises `InputUnreadable`."""
    for batch in reader.batches(log):
        check_log(log, reader.rows, reader.left_out, reader.first_fault)
        yield batch


def _with(summary: ImportSummary, piece: Import) -> ImportSummary:
    bounds = pc.min_max(piece.rows["time"])
    times = [_rfc3339(bounds[name].as_py()) for name in ("min", "max")]
    return replace(
        summary,
        imported=summary.imported + (piece.rows.num_rows if piece.new else 0),
        known=summary.known + (0 if piece.new else piece.rows.num_rows),
        oldest=min(filter(None, (summary.oldest, times[0]))),
        newest=max(filter(None, (summary.newest, times[1]))),
    )


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _shown_name(log: EventFile) -> str:
    return str(log.path).rpartition("/")[2]
