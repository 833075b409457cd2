"""Rows of files by the names of fields; `test_event_files` has the formats and the faults."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
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


def test_rows_come_in_chunks_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "fruits.csv"
    path.write_text('name,colour\napple,red\n\n"pear\npear",\nplum\n')
    chunks = list(Fruit(path)._chunks(2))
    assert [list(chunk.rows()) for chunk in chunks] == [
        [(2, {"name": "apple", "colour": "red"}), (5, {"name": "pear\npear", "colour": ""})],
        [(6, {"name": "plum"})],
    ]
    assert list(chunks[0].part(1, 2).rows()) == [(5, {"name": "pear\npear", "colour": ""})]
    pq.write_table(pa.table({"name": ["a", "b", "c"]}), tmp_path / "fruits.parquet")
    chunks = list(Fruit(tmp_path / "fruits.parquet")._chunks(2))
    assert [list(chunk.lines) for chunk in chunks] == [[1, 2], [3]]
    assert list(chunks[1].rows()) == [(3, {"name": "c"})]


def test_rows_before_a_broken_one_come_first(tmp_path: Path) -> None:
    path = tmp_path / "fruits.jsonl"
    path.write_text('{"name": "a"}\n\n{"colour": "b"}\n[]\n')
    fruits = Fruit(path)
    found = list[tuple[int, Row]]()

    def take() -> None:
        for chunk in fruits._chunks(9):
            found.extend(chunk.rows())
            fruits._line = 1  # as reading the rows one by one does

    with pytest.raises(msgspec.DecodeError):
        take()
    assert found == [(1, {"name": "a", "colour": None}), (3, {"name": None, "colour": "b"})]
    assert fruits.position() == "line 4"


def test_files_are_unpacked_by_what_they_begin_with(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(gzip.compress(b"abc"))
    with open_bytes(str(path)) as file:
        assert file.read() == b"abc"


def test_pairs() -> None:
    assert pairs("--column", ("a=b", "c=")) == {"a": "b", "c": ""}
    with pytest.raises(SettingsInvalid, match="--column 'a': give two names"):
        pairs("--column", ("a",))
