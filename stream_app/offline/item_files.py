"""Reads a shop's catalogue as it is: the rows of a file become records of the items topic, and a catalogue.

A row is judged as a worker judges its record: what is not an item is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, ClassVar, Final

import msgspec

from model.items.catalogue import ItemCatalogue
from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.items import ItemChange, ItemRecord, decode_item
from stream_app.errors import InputUnreadable
from stream_app.offline.baskets import Row
from stream_app.offline.cell_values import TimeUnit, finite, is_empty, milliseconds, text, zone_of
from stream_app.offline.row_files import READ_ERRORS, RowFile, pairs

_KEY: Final = "item_id"
_NUMBERS: Final = frozenset({"price", "stock"})
_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False}
_NOT_TEXT: Final = (bool, dict, list)
_CHUNK: Final = 5_000  # items that are objects at a time


@dataclass(slots=True)
class ItemFile(RowFile):
    """The items of one file, see `RowFile`; each is the key and the value of a record.

    `timezone` and `time_unit`: of `released`, as for events. What cannot be converted stays as it is, and makes the row
    no item; such rows are counted in `left_out`, and `first_fault` says where the first one is, and why it is none.
    """

    timezone: str = "UTC"
    time_unit: TimeUnit = "auto"
    rows: int = field(default=0, init=False)
    left_out: int = field(default=0, init=False)
    first_fault: str = field(default="", init=False)
    _zone: tzinfo = field(init=False, repr=False)
    fields: ClassVar = (_KEY, *ItemRecord.__struct_fields__)
    kind: ClassVar = "item"

    def __post_init__(self) -> None:
        RowFile.__post_init__(self)  # not by super(), which slots have another class for
        self._zone = zone_of(self.timezone)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return ((key, value) for key, value, _ in self._judged())

    def changes(self) -> Iterator[ItemChange]:
        """Yields the items as a worker decodes them."""
        return (change for _, _, change in self._judged())

    def _judged(self) -> Iterator[tuple[bytes, bytes, ItemChange]]:
        self.rows = self.left_out = self._line = 0
        self.first_fault = ""
        try:
            for row in self._rows():
                self.rows += 1
                try:
                    yield self._record(row)
                except RejectedRecord as fault:
                    self.left_out += 1
                    self.first_fault = self.first_fault or f"{self.path}, {self.position()}: {fault}"
        except READ_ERRORS as error:
            raise self._broken(error) from error

    def _record(self, row: Row) -> tuple[bytes, bytes, ItemChange]:
        """Returns a row's key, value and meaning. Raises `RejectedRecord`."""
        said = {name: self._value(name, value) for name, value in row.items() if not is_empty(value)}
        key, value = str(said.pop(_KEY, "")).encode(), msgspec.json.encode(said)
        return key, value, decode_item(key, value)

    def _value(self, name: str, value: Any) -> Any:
        if name == "released":
            return milliseconds(value, self.time_unit, self._zone)
        if name in _NUMBERS:
            return finite(value, value)
        if name == "available" and not isinstance(value, bool):
            return _FLAGS.get(str(text(value)).casefold(), value)
        return value if isinstance(value, _NOT_TEXT) else text(value)

    def _needed(self) -> set[str]:
        return {_KEY}


def item_file(path: str, options: Mapping[str, Any]) -> ItemFile:
    """Returns the catalogue in a file, to be read as the command's options say. Raises `SettingsInvalid`."""
    return ItemFile(
        path,
        columns=pairs("--column", options["columns"]),
        format=options["file_format"],
        timezone=options["timezone"],
        time_unit=options["time_unit"],
    )


def catalogue_of(file: ItemFile, progress: Callable[[int], None] = lambda _: None) -> ItemCatalogue:
    """Reads a file into a catalogue; of several rows of one item the last one counts.

    `progress` is given the number of rows now and then. Raises `InputUnreadable` for a file that is mostly not items.
    """
    catalogue, waiting = ItemCatalogue(), dict[str, ItemChange]()
    for change in file.changes():
        waiting[change.item_id] = change
        if len(waiting) == _CHUNK:
            _apply(catalogue, waiting)
            progress(file.rows)
    _apply(catalogue, waiting)
    check_items(file)
    return catalogue


def check_items(file: ItemFile) -> None:
    """Raises `InputUnreadable` for a file, which was read, without items, or one that is mostly not items."""
    if not file.rows:
        raise InputUnreadable(f"{file.path}: no items in it: give a file that has some")
    if file.left_out > file.rows / 2:
        raise InputUnreadable(
            f"{file.left_out} of {file.rows} rows of {file.path} are not items; the first is {file.first_fault}"
        )


def _apply(catalogue: ItemCatalogue, waiting: dict[str, ItemChange]) -> None:
    items = [change.item for change in waiting.values() if change.item is not None]
    catalogue.apply(items, [0] * len(items))
    waiting.clear()
