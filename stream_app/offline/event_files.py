"""Reads shop logs as they are: CSV, TSV, JSON Lines and Parquet files become event dicts of the contract.

Rows are mapped, not judged: a row without an item, say, is passed on, and the worker makes it a dead letter.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from model.data.events import EVENT_TYPES, Event
from stream_app.contract.event_names import TYPE_NAMES
from stream_app.errors import InputUnreadable, SettingsInvalid
from stream_app.offline.baskets import Row, in_baskets
from stream_app.offline.cell_values import TimeUnit, column_values, finite, is_empty, milliseconds, text, zone_of

Format = Literal["auto", "csv", "tsv", "jsonl", "parquet"]

FIELDS: Final = Event.__struct_fields__
STDIN: Final = "-"
_NUMBERS: Final = frozenset({"price", "quantity"})
_FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_READ_AHEAD_ERRORS: Final = (OSError, EOFError, zlib.error, UnicodeError)  # may come before their line is reached
_READ_ERRORS: Final = (*_READ_AHEAD_ERRORS, csv.Error, msgspec.DecodeError, pa.ArrowException)


@dataclass(slots=True)
class EventFile:
    """The events of one file, in file order, read on demand; each iteration starts from the beginning.

    `path`: a file (gzip by suffix or content), or "-" for standard input, JSON Lines unless `format` says
    otherwise. `columns`: contract field -> column; other fields come from a column of the field's own name,
    if there is one. `types`: type in the file -> type of the contract, None = skip such rows (counted in
    `skipped`). `constant_type`: the type of rows without one. `timezone`: of timestamps without a zone, a
    name like "Asia/Shanghai" or an offset like "+08:00". `time_unit`: of timestamps that are numbers; "auto"
    takes those below 1e11 as seconds. `known_types`: names that are accepted as types, such as the contract's
    aliases. `baskets`: rows of one user, time and type become one event (see `baskets.in_baskets`).

    Timestamps come out as epoch milliseconds, prices and quantities as numbers, empty cells not at all; what
    cannot be converted stays as it is. Raises `SettingsInvalid` at once for options that cannot be, and
    `InputUnreadable` while reading, with file, line and value.
    """

    path: str | Path
    columns: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str | None] = field(default_factory=dict)
    constant_type: str | None = None
    timezone: str = "UTC"
    time_unit: TimeUnit = "auto"
    format: Format = "auto"
    known_types: Collection[str] = frozenset(EVENT_TYPES)
    baskets: bool = False
    skipped: int = field(default=0, init=False)
    _zone: tzinfo = field(init=False, repr=False)
    _line: int = field(default=0, init=False, repr=False)  # that was read last
    _first_line: int = field(default=0, init=False, repr=False)  # of the basket that came last; 0: as `_line`

    def __post_init__(self) -> None:
        self._zone = zone_of(self.timezone)
        for name in self.columns:
            if name not in FIELDS:
                raise SettingsInvalid(f"no event field is called {name!r}; there are {', '.join(FIELDS)}")
        for kind in (*self.types.values(), self.constant_type):
            if kind is not None and kind not in self.known_types:
                raise SettingsInvalid(f"no event type is called {kind!r}; there are {self._type_names()}")

    def __iter__(self) -> Iterator[Row]:
        self.skipped = self._line = self._first_line = 0
        try:
            yield from self._baskets() if self.baskets else self._events()
        except _READ_ERRORS as error:
            raise self._broken(error) from error

    def _events(self) -> Iterator[Row]:
        for row in self._rows():
            event = self._event(row)
            if event is not None:
                yield event

    def _baskets(self) -> Iterator[Row]:
        for first_line, event in in_baskets(self._events(), lambda: self._line):
            self._first_line = first_line
            yield event
            self._first_line = 0

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
        sources = [(name, self.columns.get(name, name)) for name in FIELDS]
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
        if str(self.path) == STDIN:
            raise InputUnreadable("Parquet cannot be read from standard input: give the name of a file")
        with pq.ParquetFile(self.path) as file:
            sources = self._sources(file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=8192, columns=list(set(sources.values()))):
                cells = {name: column_values(batch.column(column)) for name, column in sources.items()}
                for row in range(batch.num_rows):
                    self._line += 1
                    yield {name: column[row] for name, column in cells.items()}

    def _sources(self, header: list[str]) -> dict[str, str]:
        """Returns the column of the file for each contract field that has one."""
        sources = {name: self.columns.get(name, name) for name in FIELDS}
        needed = {"user_id", *self.columns} | ({"type"} if self.constant_type is None else set())
        for name in FIELDS:
            if sources[name] in header:
                continue
            if name in needed:
                raise InputUnreadable(
                    f"{self.path}: no column {sources[name]!r} for {name}; there are: {', '.join(header)}. "
                    f"Say which one it is with --column {name}=..." + (" or give --type" if name == "type" else "")
                )
            del sources[name]
        return sources

    def _event(self, row: Row) -> Row | None:
        # Texts, which most cells are, are told by hand: a call for each takes a third of the time of reading.
        event = {
            name: value for name, value in row.items() if (value != "" if type(value) is str else not is_empty(value))
        }
        kind = event.get("type", self.constant_type)
        if isinstance(kind, str):
            kind = self._type(kind)
            if kind is None:
                self.skipped += 1
                return None
        if kind is not None:
            event["type"] = kind
        for name, value in event.items():
            if name == "timestamp":
                event[name] = milliseconds(value, self.time_unit, self._zone)
            elif name in _NUMBERS:
                event[name] = finite(value, value)
            elif type(value) is not str:
                event[name] = text(value)
        return event

    def _type(self, kind: str) -> str | None:
        if kind in self.types:
            return self.types[kind]
        if kind in self.known_types or kind.casefold() in self.known_types:
            return kind
        raise InputUnreadable(
            f"{self.path}, {self.position()}: unknown type {kind!r}; known are {self._type_names()}. "
            f"Say what it means with --type-map {kind}=click, or skip such rows with --type-map {kind}="
        )

    def _type_names(self) -> str:
        return ", ".join(sorted(self.known_types))

    def position(self) -> str:
        """Names the line or row of the event that came last, the first one of a basket, or that is being read."""
        return f"{'row' if self._format() == 'parquet' else 'line'} {self._first_line or self._line}"

    def _broken(self, error: Exception) -> InputUnreadable:
        after = "after " if isinstance(error, _READ_AHEAD_ERRORS) else ""
        return unreadable(self.path, error, f"{after}{self.position()}" if self._line else "at the start")


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


def event_file(path: str, options: Mapping[str, Any]) -> EventFile:
    """Returns the log in a file, to be read as the command's options say. Raises `SettingsInvalid`."""
    return EventFile(
        path,
        columns=_pairs("--column", options["columns"]),
        types={name: kind or None for name, kind in _pairs("--type-map", options["types"]).items()},
        constant_type=options["constant_type"],
        timezone=options["timezone"],
        time_unit=options["time_unit"],
        format=options["file_format"],
        known_types=TYPE_NAMES.keys(),
        baskets=options["baskets"],
    )


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, separator, _ in pairs:
        if not name or not separator:
            raise SettingsInvalid(f"{option} {name!r}: give two names with = between them")
    return {name: value for name, _, value in pairs}
