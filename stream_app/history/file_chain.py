"""The files of one table of the history that follow each other in the offsets of the events topic."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Final

import pyarrow as pa

from stream_app.history.files import (
    FileDamage,
    FileMetadata,
    FileWriter,
    HistoryFile,
    Span,
    Stream,
    name_of,
    read_file,
    with_rows,
    write_file,
)
from stream_app.history.offset_chain import OffsetGap, check_chain, positions
from stream_app.history.storage import HistoryStorage, number_of

logger: Final = logging.getLogger(__name__)


class GapWriter:
    """Writes the rows that Kafka still has of a gap into the file that closes it."""

    def __init__(self, writer: FileWriter, metadata: FileMetadata) -> None:
        self._writer = writer
        self.metadata = metadata

    @property
    def rows(self) -> int:
        """The number of rows written so far."""
        return self._writer.rows

    def write(self, rows: pa.RecordBatch) -> None:
        """Adds rows, which must come in the order of their offsets per partition."""
        self._writer.write(rows)
        self.metadata = with_rows(self.metadata, rows)


class FileChain:
    """The files of a table. The storage is claimed, and no other process writes to it."""

    def __init__(self, storage: HistoryStorage) -> None:
        """Tidies up after a process that was killed. Raises `HistoryFailed` if the storage cannot be read."""
        self.storage: Final = storage
        storage.remove_scratch()
        intact, self._damaged = _readable(storage)
        chain = check_chain(intact, self._damaged)
        for file in chain.covered:
            storage.remove(file.name)
        for file in chain.misfits:
            _set_aside(storage, file.name, "its offsets contradict those of its neighbours")
        self.files: list[HistoryFile] = chain.files  # oldest first
        self.gaps: list[OffsetGap] = chain.gaps

    @property
    def newest(self) -> int:
        """The number of the newest file, 0 without files."""
        return self.files[-1].number if self.files else 0

    @property
    def rows(self) -> int:
        """The number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)

    def ends(self, stream: Stream) -> dict[int, int]:
        """Returns the offsets where the files of a stream end, by partition; of a later one they have none yet."""
        return positions(self.files) if self.files and self.files[-1].metadata.stream == stream else {}

    def expect_ends(self, stream: Stream, ends: Mapping[int, int], day: str) -> None:
        """Makes a gap up to these offsets of what damaged files behind the last one held."""
        lost = [number for number in self._damaged if number > self.newest]
        if lost and ends:
            own = self.ends(stream)
            spans = {partition: Span(own.get(partition, 0), end) for partition, end in ends.items()}
            spans = {partition: Span(span.first, max(span.first, span.next)) for partition, span in spans.items()}
            self.gaps.append(OffsetGap(max(lost), day, stream, spans, from_start=not own))

    def append(self, batches: Sequence[pa.RecordBatch], metadata: FileMetadata) -> None:
        """Adds a file with these rows; `metadata` is that of a file without rows.

        Raises `HistoryFailed` and leaves the files as they were when it cannot be written.
        """
        metadata = reduce(with_rows, batches, metadata)
        self.files.append(write_file(self.storage, self.newest + 1, batches, metadata))

    @contextmanager
    def fill_gap(self, gap: OffsetGap, spans: Mapping[int, Span], *, written: int, missing: int) -> Iterator[GapWriter]:
        """Closes a gap with the rows written inside the context, or not at all when that fails.

        `written`: the time now, in ms. `missing`: records of the spans that Kafka had removed before they were read.
        """
        name = name_of(gap.number, gap.day)
        with self.storage.scratch(name) as scratch:
            with FileWriter(scratch, self.storage.table) as writer:
                gap_writer = GapWriter(writer, FileMetadata(gap.stream, dict(spans), written, missing))
                yield gap_writer
                metadata = writer.close(gap_writer.metadata)
            size = self.storage.publish(scratch, name, replace=False)
        file = HistoryFile(name, size, writer.rows, metadata)
        self.files = sorted([*self.files, file], key=lambda file: file.number)
        self.gaps.remove(gap)
        self.mark_repaired()

    def mark_repaired(self) -> None:
        """Notes that no damaged file's rows are to be read again, if that is so."""
        if not self.gaps:
            self.storage.close_damage()


def _readable(storage: HistoryStorage) -> tuple[list[HistoryFile], list[int]]:
    """Returns the intact files and the numbers of the damaged ones, which it sets aside."""
    files, damaged = list[HistoryFile](), storage.open_damage()
    for name, size in storage.sizes().items():
        try:
            files.append(read_file(storage, name, size))
        except FileDamage as damage:
            _set_aside(storage, name, str(damage))
            damaged.append(number_of(name))
    return files, damaged


def _set_aside(storage: HistoryStorage, name: str, why: str) -> None:
    aside = storage.set_aside(name)
    logger.error("damaged file of the history: %s (%s); it is now %s, its events are read again", name, why, aside)
