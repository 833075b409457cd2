"""Makes baskets of the rows of a shop's log: a log has a row for each line, the contract an event of several lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from model.data.events import Line
from stream_app.contract.event_names import TYPE_NAMES

Row = dict[str, Any]
Key = tuple[str, str]  # user and type

_MOST_LINES: Final = 1000  # of a basket; real ones have up to 300, and an event must not grow too large for its topic
_MOST_HELD: Final = 100_000  # baskets of one time that are in memory; more of them are not looked through
_LINE_FIELDS: Final = frozenset(Line.__struct_fields__)


@dataclass(slots=True)
class _Baskets:
    """The events of one time so far, in the order of their first rows."""

    position: Callable[[], int]  # of the row that was read last
    time: Any = None
    _events: list[tuple[int, list[Row]]] = field(default_factory=list)  # position of the first row, and all rows
    _latest: dict[Key, list[Row]] = field(default_factory=dict)

    def fits(self, row: Row) -> bool:
        """Tells whether a row may belong to one of these."""
        time = row.get("timestamp")
        return time is not None and time == self.time and len(self._events) < _MOST_HELD

    def add(self, row: Row) -> None:
        """Adds a row to the basket of its user and type, or as an event of its own."""
        key = _key(row)
        basket = self._latest.get(key) if key else None
        if basket is not None and len(basket) < _MOST_LINES:
            basket.append(row)
            return
        self._events.append((self.position(), [row]))
        if key:
            self._latest[key] = self._events[-1][1]

    def take(self) -> Iterator[tuple[int, Row]]:
        """Yields the events, each with the position of its first row, and forgets them."""
        events, self._events, self._latest = self._events, [], {}
        for position, rows in events:
            yield position, rows[0] if len(rows) == 1 else _event(rows)


def in_baskets(rows: Iterable[Row], position: Callable[[], int]) -> Iterator[tuple[int, Row]]:
    """Yields events, each with the position of its first row: rows of one user, time and type are lines of one event.

    They need not be adjacent, but no row of another time may be between them: a log is in the order of time. Rows that
    are no lines, such as searches, and those that have no time stay events of their own.
    """
    baskets = _Baskets(position)
    for row in rows:
        if not baskets.fits(row):
            yield from baskets.take()
            baskets.time = row.get("timestamp")
        baskets.add(row)
        if baskets.time is None:
            yield from baskets.take()
    yield from baskets.take()


def _key(row: Row) -> Key | None:
    """Returns what the lines of a basket share beside their time; None: the row is not a line."""
    user, kind = row.get("user_id"), row.get("type")
    if not (isinstance(user, str) and isinstance(kind, str) and isinstance(row.get("item_id"), str)):
        return None
    name = TYPE_NAMES.get(kind.casefold())
    return None if name in (None, "search") or "items" in row else (user, name)


def _event(rows: list[Row]) -> Row:
    """Makes one event of several rows; what is not a line's own is the first that a row gives."""
    event: Row = {}
    for row in reversed(rows):
        event |= {name: value for name, value in row.items() if name not in _LINE_FIELDS}
    return event | {"items": [{name: row[name] for name in row if name in _LINE_FIELDS} for row in rows]}
