"""Imports a shop's past: rows of a source become files, each piece once, whatever happened to an earlier import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_app.history.files import FileMetadata, Span, Stream, with_rows, write_as
from stream_app.history.imported import ImportedEvents, Piece
from stream_app.history.storage import HistoryStorage
from stream_app.history.tables import IMPORTED, NUMBERS, TEXTS

PIECE: Final = 100_000  # rows of a new file, and at most those of one event more
START: Final = "0" * 16  # the digest of a source up to its first row
_CONTENT: Final = ("line", "time", *TEXTS, *NUMBERS)


@dataclass(frozen=True, slots=True)
class Import:
    """A piece of a source, which is in a file of the history."""

    source: str  # digest of the source up to the end of its first piece, which tells it from others
    rows: pa.RecordBatch  # as they come in the source; their `offset` counts its events, from 0
    new: bool  # false: an earlier import had brought it


class Importer:
    """Imports sources into a history, to which a trainer may write meanwhile."""

    def __init__(self, address: str) -> None:
        """Claims the imports. Raises `HistoryUnusable` when another process imports, or the history cannot be used."""
        self._storage = HistoryStorage(address, IMPORTED)
        self._storage.claim()
        self._storage.remove_scratch()
        stored = ImportedEvents(self._storage)
        stored.forget_repaired()
        self._missing = stored.missing()
        self._next: dict[str, list[Piece]] = {}  # known pieces, by the digest before them
        for piece in (*(Piece.of(file.name) for file in stored.files), *self._missing):
            self._next.setdefault(piece.before, []).append(piece)

    def close(self) -> None:
        """Lets other processes import."""
        self._storage.release()

    def add(self, name: str, batches: Iterator[pa.RecordBatch], written: Callable[[], int]) -> Iterator[Import]:
        """Imports the rows of a source and yields its pieces, one after the other, as soon as each is in a file.

        `batches`: rows with the columns of the history; `offset` counts the source's events. `name` is shown to people.
        `written`: gives the time now, in ms. Raises `HistoryFailed`. What is yielded stays when the caller ends.
        """
        rows, before, source = _Rows(batches), START, ""
        while rows.fill(PIECE):
            piece = self._known(rows, before) or self._cut(rows, before)
            taken, source = rows.take(piece.rows), source or piece.after
            new = piece not in self._next.get(before, []) or piece in self._missing
            if new:
                self._write(piece, taken, Stream(source, name, 0), written())
            yield Import(source, taken, new)
            before = piece.after

    def _known(self, rows: _Rows, before: str) -> Piece | None:
        for piece in self._next.get(before, []):
            if rows.fill(piece.rows) >= piece.rows and digest(before, rows.first(piece.rows)) == piece.after:
                return piece
        return None

    @staticmethod
    def _cut(rows: _Rows, before: str) -> Piece:
        count = rows.whole_events(PIECE)
        return Piece(before, digest(before, rows.first(count)), count)

    def _write(self, piece: Piece, rows: pa.RecordBatch, stream: Stream, now: int) -> None:
        first, last = (rows["offset"][index].as_py() for index in (0, -1))
        rows = rows.take(pc.sort_indices(rows["time"]))  # a stable sort: an event's rows stay together
        metadata = with_rows(FileMetadata(stream, {0: Span(first, last + 1)}, now), rows)
        write_as(self._storage, piece.name, [rows], metadata)
        self._next.setdefault(piece.before, []).append(piece)
        self._storage.remove_aside(piece.name)
        self._missing.discard(piece)


class _Rows:
    """Rows that are read and not taken yet."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._ahead: list[pa.RecordBatch] = []

    def fill(self, count: int) -> int:
        """Reads so many rows and one more, so that the last event is complete; returns how many there are."""
        have = sum(int(batch.num_rows) for batch in self._ahead)
        while have <= count and (batch := next(self._batches, None)) is not None:
            self._ahead.append(batch)
            have += batch.num_rows
        return have

    def first(self, count: int) -> pa.RecordBatch:
        """Returns the first rows, at most so many."""
        self._ahead = [pa.concat_batches(self._ahead)]
        return self._ahead[0].slice(0, count)

    def take(self, count: int) -> pa.RecordBatch:
        """Returns the first rows and goes on behind them."""
        taken = self.first(count)
        self._ahead = [self._ahead[0].slice(count)]
        return taken

    def whole_events(self, count: int) -> int:
        """Returns the number of rows up to the end of the event in which row number `count` lies."""
        begins = np.flatnonzero(self.first(2**62)["line"].to_numpy() == 0)
        later = begins[begins >= count]
        return int(later[0]) if len(later) else self.first(2**62).num_rows


def digest(before: str, rows: pa.RecordBatch) -> str:
    """Returns the digest of a source up to the end of these rows, from the one up to their beginning."""
    hashed = blake2b(before.encode(), digest_size=8)
    for name in _CONTENT:
        column = rows[name]
        hashed.update(np.packbits(column.is_null().to_numpy(zero_copy_only=False)).tobytes())
        if pa.types.is_string(column.type):
            hashed.update(pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False))
            hashed.update(_characters(column.drop_null()))
        else:
            hashed.update(pc.fill_null(_as_number(column), 0).to_numpy(zero_copy_only=False))
    return hashed.hexdigest()


def _characters(column: pa.Array) -> memoryview:
    """Returns the UTF-8 of all texts, one after the other."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32)[column.offset :]
    return memoryview(data)[ends[0] : ends[len(column)]]


def _as_number(column: pa.Array) -> pa.Array:
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
