"""The events that the trainer has read, in Parquet files by day.

The files alone say up to which offsets the topic was read. The position is recorded nowhere else, so no crash can make
the two differ.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Final

import pyarrow as pa

from model.data.deduplicate import Deduplicator
from model.data.events import Actions
from stream_app.errors import HistoryUnusable
from stream_app.history.files import (
    FileDamage,
    FileMetadata,
    FileWriter,
    HistoryFile,
    Span,
    Stream,
    name_of,
    read_actions,
    read_file,
    with_rows,
    write_file,
)
from stream_app.history.offset_chain import OffsetGap, check_chain, positions
from stream_app.history.rows import actions_in
from stream_app.history.storage import HistoryStorage, number_of
from stream_app.history.upkeep import ErasureResult, erase, expired, in_format, merged, raising_when_damaged

logger: Final = logging.getLogger(__name__)


class GapWriter:
    """Writes the events that Kafka still has of a gap into the file that closes it."""

    def __init__(self, writer: FileWriter, metadata: FileMetadata) -> None:
        self._writer = writer
        self.metadata = metadata

    @property
    def rows(self) -> int:
        """The number of events written so far."""
        return self._writer.rows

    def write(self, rows: pa.RecordBatch) -> None:
        """Adds rows, which must come in the order of their offsets per partition."""
        self._writer.write(rows)
        self.metadata = with_rows(self.metadata, rows)


class EventHistory:
    """The files of a history, to which no other process writes until it is closed.

    Another thread may read while files are added.
    """

    def __init__(self, storage: HistoryStorage) -> None:
        """Claims the storage and tidies up after a process that was killed.

        Raises `HistoryUnusable` if the storage is in use or cannot be written, `HistoryFailed` if it cannot be read.
        """
        self._storage = storage
        self._changing = threading.Lock()
        storage.claim()
        try:
            chain = check_chain(*_readable(storage))
            for file in chain.covered:
                storage.remove(file.name)
            for file in chain.misfits:
                _set_aside(storage, file.name, "its offsets contradict those of its neighbours")
        except BaseException:
            storage.release()
            raise
        self._files, self.gaps = chain.files, chain.gaps
        self._mark_repaired()

    def close(self) -> None:
        """Releases the storage for other processes."""
        with self._changing:
            self._storage.release()

    @property
    def files(self) -> Sequence[HistoryFile]:
        """All files, oldest first."""
        return self._files

    @property
    def rows(self) -> int:
        """The number of events in all files."""
        return sum(file.rows for file in self._files)

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self._files)

    def positions(self, stream: Stream) -> dict[int, int]:
        """Returns the offset to read next, by partition; a partition that is not in it is read from its oldest record.

        Raises `HistoryUnusable` when the history belongs to another stream. A stream of a higher epoch may follow it.
        """
        newest = self._files[-1].metadata.stream if self._files else stream
        if newest.epoch < stream.epoch:
            logger.warning("stream epoch %d: the history goes on with offsets of a new topic", stream.epoch)
            return {}
        if newest != stream:
            raise HistoryUnusable(
                f"the history in {self._storage.address!r} belongs to topic {newest.topic!r} on cluster "
                f"{newest.cluster}, stream epoch {newest.epoch}; not to {stream.topic!r} on {stream.cluster}, epoch "
                f"{stream.epoch}. "
                f"If the topic was created again, set NEXTACT_STREAM_EPOCH above {newest.epoch}; else set "
                "NEXTACT_HISTORY to another folder or address"
            )
        return positions(self._files)

    def last_rows(self) -> dict[int, tuple[int, int]]:
        """Returns offset and record time (ms) of the newest row, by partition of the newest stream."""
        last: dict[int, tuple[int, int]] = {}
        for file in self._files:
            if file.metadata.stream == self._files[-1].metadata.stream:
                last |= file.metadata.last
        return last

    def append(
        self,
        batches: Sequence[pa.RecordBatch],
        stream: Stream,
        spans: Mapping[int, Span],
        *,
        written: int,
        missing: int = 0,
    ) -> None:
        """Adds a file with the events of these spans, which begin where the last file's spans end.

        `written`: the time now, in ms. `missing`: records of the spans that Kafka had removed before they were read.
        Raises `HistoryFailed` and leaves the history as it was when the file cannot be written.
        """
        metadata = reduce(with_rows, batches, FileMetadata(stream, dict(spans), written, missing))
        with self._changing:
            number = self._files[-1].number + 1 if self._files else 1
            self._files.append(write_file(self._storage, number, batches, metadata))

    @contextmanager
    def fill_gap(self, gap: OffsetGap, spans: Mapping[int, Span], *, written: int, missing: int) -> Iterator[GapWriter]:
        """Closes a gap with the rows written inside the context, or not at all when that fails.

        The arguments are those of `append`.
        """
        name = name_of(gap.number, gap.day)
        with self._storage.scratch(name) as scratch:
            with FileWriter(scratch, self._storage.table) as writer:
                gap_writer = GapWriter(writer, FileMetadata(gap.stream, dict(spans), written, missing))
                yield gap_writer
                metadata = writer.close(gap_writer.metadata)
            size = self._storage.publish(scratch, name, replace=False)
        file = HistoryFile(name, size, writer.rows, metadata)
        self._files = sorted([*self._files, file], key=lambda file: file.number)
        self.gaps.remove(gap)
        self._mark_repaired()

    @property
    def newest(self) -> int:
        """The number of the newest file, 0 without files."""
        return self._files[-1].number if self._files else 0

    def chunks(self, most: int, until: int | None = None) -> Iterator[Actions]:
        """Yields the newest `most` events, oldest first, in order per partition, without a user's repeated event ids.

        `until`: the number of the last file to read. A chunk has 50,000 events at most, and only one is in memory.
        Raises `HistoryFailed` when a file turns out to be damaged: the next start reads its events from Kafka.
        """
        newest, rows = list[HistoryFile](), 0
        for file in reversed(self.files_until(until)):
            if rows >= most:
                break
            newest.insert(0, file)
            rows += file.rows
        deduplicator = Deduplicator()
        for index, file in enumerate(newest):
            skip = max(0, rows - most) if index == 0 else 0
            with raising_when_damaged(self._storage, file):
                for batch in read_actions(self._storage, file, skip):
                    yield deduplicator.without_repeats(actions_in(batch))

    def files_until(self, number: int | None) -> list[HistoryFile]:
        """Returns the files up to the one of this number, or all for None."""
        return [file for file in self._files if number is None or file.number <= number]

    def keep_up(self, days: float) -> None:
        """Merges the files of finished days and removes those older than `days` (0: never).

        Must not run while anyone reads. Raises `HistoryFailed`.
        """
        assert not self.gaps, "a merged file would cover the gaps' offsets without their events"
        with self._changing:
            self._files = expired(self._storage, merged(self._storage, self._files), days)

    def use_format(self) -> None:
        """Writes the files of a later format than that of the storage's table again. Raises `HistoryFailed`."""
        with self._changing:
            self._files = in_format(self._storage, self._files)

    def erase(self, users: Collection[str], report: Callable[[str], None]) -> ErasureResult:
        """Removes all events of users (see `upkeep.erase`); the history must be opened again afterwards."""
        with self._changing:
            return erase(self._storage, self._files, users, report)

    def _mark_repaired(self) -> None:
        if not self.gaps:
            self._storage.close_damage()


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
