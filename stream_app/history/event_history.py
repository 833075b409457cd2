"""The events that the trainer has read, and what its shoppers were shown, in Parquet files by day.

The files alone say up to which offsets the topic was read. The position is recorded nowhere else, so no crash can make
the two differ. What was shown is a table of its own, whose files follow each other on their own: one is written before
the events' file that ends at the same offsets, and what is read again after a crash is stored already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from model.data.deduplicate import Deduplicator
from model.data.events import Actions, ItemNames
from model.items.attributes import completed
from model.items.catalogue import ItemCatalogue
from stream_app.errors import HistoryUnusable
from stream_app.history.file_chain import FileChain
from stream_app.history.files import FileMetadata, HistoryFile, Span, Stream, read_actions, read_columns
from stream_app.history.imported import ImportedEvents
from stream_app.history.offset_chain import positions
from stream_app.history.rows import actions_in
from stream_app.history.storage import HistoryStorage
from stream_app.history.tables import IMPORTED, SHOWN
from stream_app.history.upkeep import DAY_MS, ErasureResult, erase, expired, in_format, merged, raising_when_damaged

_FIRST: Final = 1000  # rows whose times say when a history begins

logger: Final = logging.getLogger(__name__)


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
            self.events: Final = FileChain(storage)
            self.shown: Final = FileChain(storage.beside(SHOWN))
            self.imported: Final = ImportedEvents(storage.beside(IMPORTED))
            if self.files:
                newest = self.files[-1]
                stream = newest.metadata.stream
                self.shown.expect_ends(stream, self.events.ends(stream), newest.day)
            for chain in self._chains:
                chain.mark_repaired()
        except BaseException:
            storage.release()
            raise

    @property
    def _chains(self) -> tuple[FileChain, FileChain]:
        return self.events, self.shown

    def close(self) -> None:
        """Releases the storage for other processes."""
        with self._changing:
            self._storage.release()

    @property
    def files(self) -> Sequence[HistoryFile]:
        """All files of events, oldest first."""
        return self.events.files

    @property
    def rows(self) -> int:
        """The number of events in all files, imported ones among them."""
        return self.events.rows + self.imported.rows

    @property
    def size(self) -> int:
        """The size of the files of all tables in bytes."""
        return self.events.size + self.shown.size + self.imported.size

    @property
    def newest(self) -> int:
        """The number of the newest file of events, 0 without files."""
        return self.events.newest

    def positions(self, stream: Stream) -> dict[int, int]:
        """Returns the offset to read next, by partition; a partition that is not in it is read from its oldest record.

        Raises `HistoryUnusable` when the history belongs to another stream. A stream of a higher epoch may follow it.
        """
        newest = self.files[-1].metadata.stream if self.files else stream
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
        return positions(self.files)

    def last_rows(self) -> dict[int, tuple[int, int]]:
        """Returns offset and record time (ms) of the newest row, by partition of the newest stream."""
        last: dict[int, tuple[int, int]] = {}
        for file in self.files:
            if file.metadata.stream == self.files[-1].metadata.stream:
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
        shown: Sequence[pa.RecordBatch] = (),
    ) -> None:
        """Adds a file with the events of these spans, which begin where the last file's spans end.

        `written`: the time now, in ms. `missing`: records of the spans that Kafka had removed before they were read.
        `shown`: rows of what was shown, of these spans; those that are stored already do not count.
        Raises `HistoryFailed` and leaves the events as they were when a file cannot be written.
        """
        with self._changing:
            ends = self.shown.ends(stream)
            if shown := [rows for batch in shown if (rows := _from(ends, batch)).num_rows]:
                starts = {partition: ends.get(partition, 0) for partition in spans}
                behind = {p: Span(starts[p], max(starts[p], span.next)) for p, span in spans.items()}
                self.shown.append(shown, FileMetadata(stream, behind, written))
            self.events.append(batches, FileMetadata(stream, dict(spans), written, missing))

    def chunks(
        self,
        most: int,
        until: int | None = None,
        catalogue: ItemCatalogue | None = None,
        names: ItemNames | None = None,
    ) -> Iterator[Actions]:
        """Yields the newest `most` events, oldest first, in order per partition, without a user's repeated event ids.

        `until`: the number of the last file to read. `catalogue` says what events do not say of their items, and
        `names` keeps what their categories and brands are called. A chunk has 50,000 events at most, and only one is in
        memory. Imported events come first, in the order of time, up to where the history itself begins. Raises
        `HistoryFailed` when a file turns out to be damaged: the next start reads its events from Kafka.
        """
        newest, rows = list[HistoryFile](), 0
        for file in reversed(self.files_until(until)):
            if rows >= most:
                break
            newest.insert(0, file)
            rows += file.rows
        deduplicator = Deduplicator()
        if rows < most and self.imported.files:
            begin = begin_of(self._storage, newest)
            for batch in self.imported.newest(most - rows, begin):
                yield deduplicator.without_repeats(_actions(batch, catalogue, names))
        for index, file in enumerate(newest):
            skip = max(0, rows - most) if index == 0 else 0
            with raising_when_damaged(self._storage, file):
                for batch in read_actions(self._storage, file, skip):
                    yield deduplicator.without_repeats(_actions(batch, catalogue, names))

    def files_until(self, number: int | None) -> list[HistoryFile]:
        """Returns the files up to the one of this number, or all for None."""
        return [file for file in self.files if number is None or file.number <= number]

    def keep_up(self, days: float) -> None:
        """Merges the files of finished days and removes those older than `days` (0: never).

        Must not run while anyone reads. Raises `HistoryFailed`.
        """
        with self._changing:
            for chain in self._chains:
                assert not chain.gaps, "a merged file would cover the gaps' offsets without their events"
                chain.files = merged(chain.storage, chain.files)
            self.imported.look()
            newest = max((file.metadata.age for file in self.files or self.imported.files), default=0)
            for chain in self._chains:
                chain.files = expired(chain.storage, chain.files, days, newest)
            if days:
                self.imported.expire(newest - days * DAY_MS)

    def use_format(self) -> None:
        """Writes the files of a later format than that of the storage's table again. Raises `HistoryFailed`."""
        with self._changing:
            self.events.files = in_format(self._storage, self.events.files)

    def erase(self, users: Collection[str], report: Callable[[str], None]) -> ErasureResult:
        """Removes all rows of users (see `upkeep.erase`); the history must be opened again afterwards."""
        with self._changing, self.imported.claimed():
            tables = (*self._chains, self.imported)
            results = [erase(table.storage, table.files, users, report) for table in tables]
        events, shown, imported = (result.rows for result in results)
        return ErasureResult(
            users=len(set(users)),
            rows=events + imported,
            files=sum(result.files for result in results),
            removed=sum(result.removed for result in results),
            shown=shown,
        )


def begin_of(storage: HistoryStorage, files: Sequence[HistoryFile]) -> int | None:
    """Returns when a history begins (ms), which one record with a wrong time does not tell; None if it is empty."""
    first = next((file for file in files if file.rows), None)
    if first is None:
        return None
    with raising_when_damaged(storage, first):
        times = next(read_columns(storage, first, ["record_time"]))["record_time"].slice(0, _FIRST).drop_null()
    return int(np.median(times.cast(pa.int64()).to_numpy())) if len(times) else None


def _from(starts: Mapping[int, int], rows: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the rows from these offsets on, by partition."""
    first = np.array([starts.get(partition, 0) for partition in rows["partition"].to_pylist()], np.int64)
    return rows.filter(pa.array(rows["offset"].to_numpy() >= first))


def _actions(rows: pa.RecordBatch, catalogue: ItemCatalogue | None, names: ItemNames | None) -> Actions:
    """Returns the actions in rows; what they do not say of their items, the catalogue says, as in a worker."""
    actions = actions_in(rows, names)
    return completed(actions, rows["market"].to_pylist(), catalogue, names) if catalogue else actions
