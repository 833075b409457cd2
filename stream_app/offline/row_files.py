"""Reads tables as they are: the rows of CSV, TSV, JSON Lines and Parquet files, by the names of a contract's fields."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from stream_app.errors import InputUnreadable, SettingsInvalid
from stream_app.offline.baskets import Row
from stream_app.offline.cell_values import column_values

Format = Literal["auto", "csv", "tsv", "jsonl", "parquet"]

STDIN: Final = "-"
_FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
READ_AHEAD_ERRORS: Final = (OSError, EOFError, zlib.error, UnicodeError)  # may come before their line is reached
READ_ERRORS: Final = (*READ_AHEAD_ERRORS, csv.Error, msgspec.DecodeError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Rows of a file that follow each other, by the fields of the contract."""

    lines: Sequence[int]  # where each row stands in the file
    columns: Mapping[str, list[Any] | pa.Array]  # as they stand there; None: the row has no such cell

    def part(self, begin: int, end: int) -> RowChunk:
        """Returns some of the rows."""
        return RowChunk(self.lines[begin:end], {name: column[begin:end] for name, column in self.columns.items()})

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yields the rows, each with the line where it stands."""
        cells = {
            name: column if isinstance(column, list) else column_values(column) for name, column in self.columns.items()
        }
        for index, line in enumerate(self.lines):
            yield line, {name: column[index] for name, column in cells.items()}


@dataclass(slots=True)
class RowFile:
    """The rows of one file, in file order, read on demand; each iteration starts from the beginning.

    `path`: a file (gzip by suffix or content), or "-" for standard input, JSON Lines unless `format` says
    otherwise. `columns`: contract field -> column; other fields come from a column of the field's own name,
    if there is one. Raises `SettingsInvalid` at once for options that cannot be, and `InputUnreadable` while
    reading, with file, line and value.
    """

    path: str | Path
    columns: Mapping[str, str] = field(default_factory=dict)
    format: Format = "auto"
    _line: int = field(default=0, init=False, repr=False)  # that was read last
    fields: ClassVar[Sequence[str]] = ()  # of the contract
    kind: ClassVar[str] = ""  # what a row is
    option: ClassVar[str] = "--column"  # by which a user says which column holds a field

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in self.fields:
                raise SettingsInvalid(f"no {self.kind} field is called {name!r}; there are {', '.join(self.fields)}")

    def _needed(self) -> set[str]:
        """Returns the fields that the file must have a column for."""
        raise NotImplementedError

    def _otherwise(self, name: str) -> str:
        """Says what else may be done about a column that is missing."""
        return ""

    def _rows(self) -> Iterator[Row]:
        """Yields rows by contract field, with the values as they stand in the file."""
        file_format = self._format()
        if file_format == "parquet":
            yield from self._parquet_rows()
            return
        with open_bytes(str(self.path)) as stream:
            if file_format == "jsonl":
                yield from self._json_rows(stream)
            else:
                with io.TextIOWrapper(stream, "utf-8-sig", newline="") as lines:
                    yield from self._table_rows(lines, "\t" if file_format == "tsv" else None)

    def _chunks(self, size: int) -> Iterator[RowChunk]:
        """Yields the rows of `_rows`, so many at a time. What raises does so when all rows before were yielded."""
        if self._format() == "parquet":
            yield from self._parquet_chunks(size)
            return
        held, rows = _RowBuffer(), self._rows()
        try:
            for row in rows:
                held.add(self._line, row)
                if len(held.rows) == size:
                    yield held.take(self.fields)
        except READ_ERRORS:
            line = self._line
            yield held.take(self.fields)
            self._line = line
            raise
        yield held.take(self.fields)

    def _format(self) -> Format:
        if self.format != "auto":
            return self.format
        if str(self.path) == STDIN:
            return "jsonl"
        name = re.sub(r"\.(gz|gzip)$", "", Path(self.path).name.lower())
        file_format = _FORMATS.get(Path(name).suffix)
        if file_format is None:
            raise InputUnreadable(
                f"{self.path}: the name does not tell the format: give --format csv, tsv, jsonl or parquet"
            )
        return file_format

    def _json_rows(self, stream: Iterable[bytes]) -> Iterator[Row]:
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        sources = [(name, self.columns.get(name, name)) for name in self.fields]
        for self._line, line in enumerate(stream, 1):
            content = line.removeprefix(b"\xef\xbb\xbf").strip()
            if content:
                row = decode(content)
                yield {name: row[column] for name, column in sources if column in row}

    def _table_rows(self, lines: io.TextIOWrapper, delimiter: str | None) -> Iterator[Row]:
        first = lines.readline()
        self._line = 1
        delimiter = delimiter or _delimiter(first)
        header = next(csv.reader([first], delimiter=delimiter), [])
        indices = [(name, header.index(column)) for name, column in self._sources(header).items()]
        rows = csv.reader(lines, delimiter=delimiter)
        for row in rows:
            self._line = rows.line_num + 1
            if row:
                yield {name: row[index] for name, index in indices if index < len(row)}

    def _parquet_rows(self) -> Iterator[Row]:
        for chunk in self._parquet_chunks(8192):
            for self._line, row in chunk.rows():
                yield row

    def _parquet_chunks(self, size: int) -> Iterator[RowChunk]:
        if str(self.path) == STDIN:
            raise InputUnreadable("Parquet cannot be read from standard input: give the name of a file")
        with pq.ParquetFile(self.path) as file:
            sources, line = self._sources(file.schema_arrow.names), 1
            for batch in file.iter_batches(batch_size=size, columns=list(set(sources.values()))):
                lines = range(line, line := line + batch.num_rows)
                yield RowChunk(lines, {name: batch.column(column) for name, column in sources.items()})
                self._line = line - 1

    def _sources(self, header: list[str]) -> dict[str, str]:
        """Returns the column of the file for each contract field that has one."""
        sources = {name: self.columns.get(name, name) for name in self.fields}
        needed = {*self._needed(), *self.columns}
        for name in self.fields:
            if sources[name] in header:
                continue
            if name in needed:
                raise InputUnreadable(
                    f"{self.path}: no column {sources[name]!r} for {name}; there are: {', '.join(header)}. "
                    f"Say which one it is with {self.option} {name}=...{self._otherwise(name)}"
                )
            del sources[name]
        return sources

    def position(self) -> str:
        """Names the line or row that was read last."""
        return self._position(self._line)

    def _position(self, line: int) -> str:
        return f"{'row' if self._format() == 'parquet' else 'line'} {line}"

    def _broken(self, error: Exception) -> InputUnreadable:
        after = "after " if isinstance(error, READ_AHEAD_ERRORS) else ""
        return unreadable(self.path, error, f"{after}{self.position()}" if self._line else "at the start")


class _RowBuffer:
    """Rows that are not yielded yet."""

    def __init__(self) -> None:
        self.lines, self.rows = list[int](), list[Row]()

    def add(self, line: int, row: Row) -> None:
        self.lines.append(line)
        self.rows.append(row)

    def take(self, fields: Sequence[str]) -> RowChunk:
        """Returns the rows by those fields that any of them has, and forgets them."""
        lines, rows = self.lines, self.rows
        self.lines, self.rows = [], []
        given = set().union(*rows)
        return RowChunk(lines, {name: [row.get(name) for row in rows] for name in fields if name in given})


def unreadable(path: str | Path, error: Exception, position: str) -> InputUnreadable:
    """Turns what reading a file raised into an error that says where it happened and what to do."""
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        why = error.strerror or str(error)
        return InputUnreadable(f"{path} cannot be opened: {why}. Give the path of a readable file")
    return InputUnreadable(f"{path}, {position}: {_advice(error)}")


@contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """Opens a file or standard input; unpacks what is gzipped by its suffix or its first bytes."""
    if path == STDIN:
        yield _gunzipped(sys.stdin.buffer, path)
        return
    with Path(path).open("rb") as file:
        yield _gunzipped(file, path)


def _gunzipped(file: Any, path: str) -> IO[bytes]:
    if path.lower().endswith((".gz", ".gzip")) or file.peek(2)[:2] == b"\x1f\x8b":
        file = gzip.GzipFile(fileobj=file)
    open_bytes: IO[bytes] = file
    return open_bytes


def _delimiter(header: str) -> str:
    return "," if "," in header else next((mark for mark in ";\t|" if mark in header), ",")


def _advice(error: Exception) -> str:
    if isinstance(error, OSError | EOFError | zlib.error):
        return f"the compressed data is broken or cut off ({error}): check it with gzip -t, or fetch it again"
    if isinstance(error, UnicodeError):
        return f"not UTF-8 ({error}): convert the file first, for instance with iconv -t UTF-8"
    if isinstance(error, msgspec.DecodeError):
        return f"not a JSON object on a line of its own ({error}): JSON Lines are expected"
    return f"{error}: the file is not in the format its name or --format says, or damaged"


def pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    found = [text.partition("=") for text in given]
    for name, separator, _ in found:
        if not name or not separator:
            raise SettingsInvalid(f"{option} {name!r}: give two names with = between them")
    return {name: value for name, _, value in found}
