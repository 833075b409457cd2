"""Reads shop logs as they are: CSV, TSV, JSON Lines and Parquet files become event dicts of the contract.

Rows are mapped, not judged: a row without an item, say, is passed on, and the worker makes it a dead letter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, ClassVar, Final

from model.data.events import EVENT_TYPES, Event
from stream_app.contract.event_names import TYPE_NAMES
from stream_app.errors import InputUnreadable, SettingsInvalid
from stream_app.offline.baskets import Row, in_baskets
from stream_app.offline.cell_values import TimeUnit, finite, is_empty, milliseconds, text, zone_of
from stream_app.offline.row_files import READ_ERRORS, RowChunk, RowFile, pairs

_NUMBERS: Final = frozenset({"price", "quantity"})


@dataclass(slots=True)
class EventFile(RowFile):
    """The events of one file, see `RowFile`.

    `types`: type in the file -> type of the contract, None = skip such rows (counted in
    `skipped`). `constant_type`: the type of rows without one. `timezone`: of timestamps without a zone, a
    name like "Asia/Shanghai" or an offset like "+08:00". `time_unit`: of timestamps that are numbers; "auto"
    takes those below 1e11 as seconds. `known_types`: names that are accepted as types, such as the contract's
    aliases. `baskets`: rows of one user, time and type become one event (see `baskets.in_baskets`).

    Timestamps come out as epoch milliseconds, prices and quantities as numbers, empty cells not at all; what
    cannot be converted stays as it is.
    """

    types: Mapping[str, str | None] = field(default_factory=dict)
    constant_type: str | None = None
    timezone: str = "UTC"
    time_unit: TimeUnit = "auto"
    known_types: Collection[str] = frozenset(EVENT_TYPES)
    baskets: bool = False
    skipped: int = field(default=0, init=False)
    zone: tzinfo = field(init=False, repr=False)
    _first_line: int = field(default=0, init=False, repr=False)  # of the basket that came last; 0: as `_line`
    fields: ClassVar = Event.__struct_fields__
    kind: ClassVar = "event"

    def __post_init__(self) -> None:
        RowFile.__post_init__(self)  # not by super(), which slots have another class for
        self.zone = zone_of(self.timezone)
        for kind in (*self.types.values(), self.constant_type):
            if kind is not None and kind not in self.known_types:
                raise SettingsInvalid(f"no event type is called {kind!r}; there are {self._type_names()}")

    def __iter__(self) -> Iterator[Row]:
        self.skipped = self._line = self._first_line = 0
        try:
            yield from self._baskets() if self.baskets else self._events()
        except READ_ERRORS as error:
            raise self._broken(error) from error

    def chunks(self, size: int) -> Iterator[RowChunk]:
        """Yields the rows of the file as they stand there, so many at a time, whatever `baskets` says.

        Those with anything in them that is not read by column are to be read by `events_in`.
        """
        self.skipped = self._line = self._first_line = 0
        try:
            yield from self._chunks(size)
        except READ_ERRORS as error:
            raise self._broken(error) from error

    def events_in(self, chunk: RowChunk) -> Iterator[Row]:
        """Yields the events of a chunk, as iteration does."""
        try:
            for self._line, row in chunk.rows():
                event = self._event(row)
                if event is not None:
                    yield event
        except READ_ERRORS as error:
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

    def _event(self, row: Row) -> Row | None:
        # Texts, which most cells are, are told by hand: a call for each takes a third of the time of reading.
        event = {
            name: value for name, value in row.items() if (value != "" if type(value) is str else not is_empty(value))
        }
        kind = event.get("type", self.constant_type)
        if isinstance(kind, str):
            kind = self.type_of(kind)
            if kind is None:
                self.skipped += 1
                return None
        if kind is not None:
            event["type"] = kind
        for name, value in event.items():
            if name == "timestamp":
                event[name] = milliseconds(value, self.time_unit, self.zone)
            elif name in _NUMBERS:
                event[name] = finite(value, value)
            elif type(value) is not str:
                event[name] = text(value)
        return event

    def type_of(self, kind: str) -> str | None:
        """Returns the type that a type of the file means; None: such rows are skipped. Raises `InputUnreadable`."""
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
        return self._position(self._first_line or self._line)

    def _needed(self) -> set[str]:
        return {"user_id"} | ({"type"} if self.constant_type is None else set())

    def _otherwise(self, name: str) -> str:
        return " or give --type" if name == "type" else ""


def event_file(path: str, options: Mapping[str, Any]) -> EventFile:
    """Returns the log in a file, to be read as the command's options say. Raises `SettingsInvalid`."""
    return EventFile(
        path,
        columns=pairs("--column", options["columns"]),
        types={name: kind or None for name, kind in pairs("--type-map", options["types"]).items()},
        constant_type=options["constant_type"],
        timezone=options["timezone"],
        time_unit=options["time_unit"],
        format=options["file_format"],
        known_types=TYPE_NAMES.keys(),
        baskets=options["baskets"],
    )
