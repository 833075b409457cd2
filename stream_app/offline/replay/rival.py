"""Reads what a shop shows today: rows of a time, a user and items, best first."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from stream_app.errors import InputUnreadable
from stream_app.offline.baskets import Row
from stream_app.offline.cell_values import TimeUnit, is_empty, milliseconds, text, zone_of
from stream_app.offline.row_files import READ_ERRORS, RowFile, pairs

_BETWEEN: Final = re.compile(r"[\s,;|]+")  # items of a cell of text
_EVERY: Final = 10_000  # rows between two reports of progress


class ShownList(NamedTuple):
    """A row: what a user was shown at a time (ms)."""

    time: int
    user: str
    items: tuple[str, ...]


@dataclass(slots=True)
class RivalFile(RowFile):
    """The lists of one file, see `RowFile`; `timezone` and `time_unit` are as for events.

    `items` are a list, in a table the JSON of one, or texts with spaces, commas, semicolons or bars between them; a row
    without any says that the user was shown nothing from then on.
    """

    timezone: str = "UTC"
    time_unit: TimeUnit = "auto"
    _zone: tzinfo = field(init=False, repr=False)
    fields: ClassVar = ("time", "user", "items")
    kind: ClassVar = "rival's"
    option: ClassVar = "--rival-column"

    def __post_init__(self) -> None:
        RowFile.__post_init__(self)  # not by super(), which slots have another class for
        self._zone = zone_of(self.timezone)

    def __iter__(self) -> Iterator[ShownList]:
        self._line = 0
        try:
            for row in self._rows():
                yield self._list(row)
        except READ_ERRORS as error:
            raise self._broken(error) from error

    def _list(self, row: Row) -> ShownList:
        for name in ("time", "user"):
            if is_empty(row.get(name)):
                raise InputUnreadable(
                    f"{self.path}, {self.position()}: no {name}; each row has a time, a user and items"
                )
        time = milliseconds(row["time"], self.time_unit, self._zone)
        if not isinstance(time, int):
            raise InputUnreadable(
                f"{self.path}, {self.position()}: time {row['time']!r} is neither a number nor an ISO 8601 text"
            )
        return ShownList(time, str(text(row["user"])), self._items(row.get("items")))

    def _items(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                raise InputUnreadable(
                    f"{self.path}, {self.position()}: items {value[:80]!r} are not a JSON list: {error}"
                ) from None
        if is_empty(value):
            return ()
        if isinstance(value, str):
            value = [name for name in _BETWEEN.split(value) if name]
        names = [text(name) for name in value] if isinstance(value, list) else [text(value)]
        for name in names:
            if not isinstance(name, str):
                raise InputUnreadable(f"{self.path}, {self.position()}: item {name!r} is not the id of an item")
        return tuple(names)

    def _needed(self) -> set[str]:
        return set(self.fields)


def rival_file(path: str, columns: Sequence[str], options: Mapping[str, Any]) -> RivalFile:
    """Returns the lists in a file; `options` say how to read times, as for the log. Raises `SettingsInvalid`."""
    return RivalFile(
        path,
        columns=pairs("--rival-column", tuple(columns)),
        timezone=options["timezone"],
        time_unit=options["time_unit"],
    )


class RivalLists:
    """What each user was shown, and when."""

    def __init__(self, lists: Iterator[ShownList], progress: Callable[[int], None] = lambda _rows: None) -> None:
        """`progress` gets the number of rows now and then."""
        shown: defaultdict[str, list[ShownList]] = defaultdict(list)
        self.rows = 0
        for one in lists:
            shown[one.user].append(one)
            self.rows += 1
            if self.rows % _EVERY == 0:
                progress(self.rows)
        self._lists = {user: sorted(several, key=lambda one: one.time) for user, several in shown.items()}
        self._times = {user: [one.time for one in several] for user, several in self._lists.items()}

    @property
    def users(self) -> frozenset[str]:
        """The users who were shown anything."""
        return frozenset(self._lists)

    def __call__(self, user: str, time: int) -> Sequence[str] | None:
        """Returns what a user was shown last before a time (ms); None: nothing."""
        number = bisect_left(self._times.get(user, ()), time)
        return self._lists[user][number - 1].items if number else None
