"""A shop's past as it was imported: files of rows in the order of time, read before what came from the topic.

A file has a piece of a source, which is any file of a shop. Its name says which one: the digest of the source up to the
piece, the digest up to its end, and how many rows it had. So a piece is imported once, whatever the source is called
and however long it has grown since, and the name stays taken when the rows are erased or have grown too old.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_app.history.files import ROWS, FileDamage, HistoryFile, read_columns, read_file, rewrite_file
from stream_app.history.rows import ACTION_COLUMNS
from stream_app.history.storage import HistoryStorage, original_name
from stream_app.history.upkeep import raising_when_damaged

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """What the name of a file says."""

    before: str  # digest of the source up to it
    after: str  # digest of the source up to its end
    rows: int  # that were imported

    @staticmethod
    def of(name: str) -> Piece:
        """Reads the name of a file."""
        before, after, rows = name.removesuffix(".parquet").split("-")
        return Piece(before, after, int(rows))

    @property
    def name(self) -> str:
        """The file's name, relative to the storage."""
        return f"{self.before}-{self.after}-{self.rows}.parquet"


class ImportedEvents:
    """The files of all imports. Other processes may add files, and none but this one changes them."""

    def __init__(self, storage: HistoryStorage) -> None:
        """Reads what there is. Raises `HistoryFailed`."""
        self.storage: Final = storage
        self.files: Sequence[HistoryFile] = ()  # in the order of their newest times
        self.look()

    @property
    def rows(self) -> int:
        """The number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)

    def look(self) -> None:
        """Finds the files that were added; sets damaged ones aside. Raises `HistoryFailed`."""
        known = {(file.name, file.size): file for file in self.files}
        files = (known.get(entry) or self._read(*entry) for entry in self.storage.sizes().items())
        self.files = sorted(filter(None, files), key=_newest)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Locks imports out. Raises `HistoryUnusable` when one is running."""
        if self.storage.exists():
            self.storage.claim()
        try:
            self.look()
            yield
        finally:
            self.storage.release()

    def forget_repaired(self) -> None:
        """Removes damaged files whose rows an import has brought again, and was killed then. Raises `HistoryFailed`."""
        for name in self._aside() & {file.name for file in self.files}:
            self.storage.remove_aside(name)

    def missing(self) -> set[Piece]:
        """Returns the pieces whose files were damaged and have not been imported again."""
        return set(map(Piece.of, self._aside()))

    def _aside(self) -> set[str]:
        return set(map(original_name, self.storage.set_aside_names()))

    def newest(self, most: int, before: int | None) -> Iterator[pa.RecordBatch]:
        """Yields the newest `most` rows in the order of time, but for those from `before` (ms) on.

        Those do count among the `most`. Raises `HistoryFailed` when a file turns out to be damaged.
        """
        runs, rows = list[list[HistoryFile]](), 0
        for run in reversed(_overlapping([file for file in self.files if file.rows])):
            if rows < most:
                runs.insert(0, run)
                rows += sum(file.rows for file in run)
        skip = max(0, rows - most)
        for run in runs:
            for batch in in_order_of_time([self._rows(file) for file in run]):
                if (left := _up_to(batch.slice(min(skip, batch.num_rows)), before)).num_rows:
                    yield left
                skip = max(0, skip - batch.num_rows)

    def expire(self, limit: float) -> None:
        """Empties the files whose rows are all older than `limit` (ms). Raises `HistoryFailed`."""
        self.files = [
            rewrite_file(self.storage, file.name, (), file.metadata) if file.rows and _newest(file) < limit else file
            for file in self.files
        ]

    def _rows(self, file: HistoryFile) -> Iterator[pa.RecordBatch]:
        with raising_when_damaged(self.storage, file):
            yield from read_columns(self.storage, file, ACTION_COLUMNS)

    def _read(self, name: str, size: int) -> HistoryFile | None:
        try:
            return read_file(self.storage, name, size)
        except FileDamage as damage:
            aside = self.storage.set_aside(name)
            logger.error(
                "damaged file of an import: %s (%s); it is now %s: import its source again", name, damage, aside
            )
            return None


def in_order_of_time(sources: Iterable[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """Merges sources whose rows come in the order of time; of the same time, rows of the first source come first."""
    heads = [_Head(source) for source in sources]
    while heads := [head for head in heads if head.rows is not None]:
        bound = min(head.last for head in heads)
        taken = pa.Table.from_batches([rows for head in heads for rows in head.take(bound)])
        order = np.argsort(_times(taken), kind="stable") if len(heads) > 1 else None
        yield from (taken if order is None else taken.take(order)).combine_chunks().to_batches(ROWS)


class _Head:
    """The next rows of a source."""

    def __init__(self, source: Iterator[pa.RecordBatch]) -> None:
        self._source = source
        self.rows: pa.RecordBatch | None = next(source, None)

    @property
    def last(self) -> int:
        """The time of the last of the rows, in ms."""
        return int(_times(self.rows)[-1])

    def take(self, bound: int) -> Iterator[pa.RecordBatch]:
        """Yields all rows up to the time `bound`, so that no event of several rows is cut, and goes on behind them."""
        while self.rows is not None:
            end = int(np.searchsorted(_times(self.rows), bound, side="right"))
            yield self.rows.slice(0, end)
            if end < self.rows.num_rows:
                self.rows = self.rows.slice(end)
                return
            self.rows = next(self._source, None)


def _overlapping(files: Sequence[HistoryFile]) -> list[list[HistoryFile]]:
    """Groups files so that all times of a group are before those of the next."""
    runs = list[list[HistoryFile]]()
    for file in sorted(files, key=_oldest):
        if runs and _oldest(file) <= max(map(_newest, runs[-1])):
            runs[-1].append(file)
        else:
            runs.append([file])
    return runs


def _up_to(rows: pa.RecordBatch, before: int | None) -> pa.RecordBatch:
    return rows if before is None else rows.slice(0, int(np.searchsorted(_times(rows), before)))


def _times(rows: pa.RecordBatch | pa.Table | None) -> NDArray[np.int64]:
    assert rows is not None
    times: NDArray[np.int64] = pc.cast(rows["time"], pa.int64()).to_numpy()
    return times


def _oldest(file: HistoryFile) -> int:
    return file.metadata.oldest or 0


def _newest(file: HistoryFile) -> int:
    return file.metadata.newest or 0
