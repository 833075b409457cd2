"""Rows of files by the names of fields; `test_event_files` has the formats and the faults."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from stream_app.errors import InputUnreadable, SettingsInvalid
from stream_app.offline.baskets import Row
from stream_app.offline.row_files import RowFile, open_bytes, pairs


@dataclass(slots=True)
class Fruit(RowFile):
    """Any rows."""

    fields: ClassVar = ("name", "colour")
    kind: ClassVar = "fruit"

    def __iter__(self) -> Iterator[Row]:
        return self._rows()

    def _needed(self) -> set[str]:
        return {"name"}


def test_columns_are_found_by_their_names_or_as_is_said(tmp_path: Path) -> None:
    path = tmp_path / "fruits.csv"
    path.write_text("name,c,more\napple,red,1\npear,,2\n")
    assert list(Fruit(path)) == [{"name": "apple"}, {"name": "pear"}]
    fruits = Fruit(path, {"colour": "c"})
    assert list(fruits) == [{"name": "apple", "colour": "red"}, {"name": "pear", "colour": ""}]
    assert fruits.position() == "line 3"
    with pytest.raises(InputUnreadable, match=r"no column 'n' for name; there are: name, c, more"):
        list(Fruit(path, {"name": "n"}))
    with pytest.raises(SettingsInvalid, match="no fruit field is called 'taste'; there are name, colour"):
        Fruit(path, {"taste": "c"})


def test_files_are_unpacked_by_what_they_begin_with(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(gzip.compress(b"abc"))
    with open_bytes(str(path)) as file:
        assert file.read() == b"abc"


def test_pairs() -> None:
    assert pairs("--column", ("a=b", "c=")) == {"a": "b", "c": ""}
    with pytest.raises(SettingsInvalid, match="--column 'a': give two names"):
        pairs("--column", ("a",))
