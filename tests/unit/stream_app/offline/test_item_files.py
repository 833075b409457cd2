"""Files of a catalogue in all formats become the same records; rows that are not items are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.items.item import Item, Offer
from stream_app.errors import InputUnreadable, SettingsInvalid
from stream_app.offline.item_files import ItemFile, catalogue_of, item_file

HEADER = "item_id,title,category,price,available,stock,tags,markets,released\n"
ROW = '7,Shoe,Shoes > Running,89.90,TRUE,,"[""sale""]","{""CH"": {""price"": 95}}",2026-01-02\n'
FIELDS: dict[str, Any] = {
    "item_id": 7,
    "title": "Shoe",
    "category": ["Shoes", "Running"],
    "price": "89.90",
    "available": True,
    "stock": None,
    "tags": ["sale"],
    "markets": {"CH": {"price": 95}},
    "released": "2026-01-02",
}
SHOE = Item(
    "7",
    title="Shoe",
    category=("Shoes", "Running"),
    price=89.9,
    available=True,
    tags=("sale",),
    released=1_767_312_000_000,
    markets={"CH": Offer(95.0)},
)


def written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_formats_give_the_same_items(tmp_path: Path) -> None:
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([FIELDS | {"item_id": 7.0}]), parquet)
    files = [
        written(tmp_path / "a.csv", HEADER + ROW),
        written(tmp_path / "a.jsonl", json.dumps(FIELDS) + "\n"),
        parquet,
    ]
    for path in files:
        file = ItemFile(path)
        ((key, value),) = file
        assert key == b"7"
        assert "item_id" not in json.loads(value)
        assert [change.item for change in file.changes()] == [SHOE], path
        assert (file.rows, file.left_out, file.first_fault) == (1, 0, "")


def test_rows_that_are_no_items_are_left_out_and_the_first_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "item_id,price,tags\n1,2,\n,3,\n2,cheap,\n3,1,not JSON\n4,1,\n5,,\n")
    file = ItemFile(path)
    assert [key for key, _ in file] == [b"1", b"4", b"5"]
    assert (file.rows, file.left_out) == (6, 3)
    assert file.first_fault.startswith(f"{path}, line 3: the record has no key")
    assert list(catalogue_of(file)) == [Item("1", price=2.0), Item("4", price=1.0), Item("5")]


def test_other_names_of_columns_and_another_time_zone(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "sku,name,since\n7,Shoe,2026-01-02T01:00:00\n")
    options = {"columns": ("item_id=sku", "title=name", "released=since"), "file_format": "auto"}
    (change,) = item_file(str(path), options | {"timezone": "+01:00", "time_unit": "auto"}).changes()
    assert change.item == Item("7", title="Shoe", released=1_767_312_000_000)
    with pytest.raises(SettingsInvalid, match="no item field is called 'sku'"):
        ItemFile(path, {"sku": "item_id"})
    with pytest.raises(InputUnreadable, match="no column 'item_id' for item_id"):
        list(ItemFile(path))


def test_of_several_rows_of_one_item_the_last_one_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "item_id,title\n1,a\n2,b\n1,c\n")
    assert {item.item_id: item.title for item in catalogue_of(ItemFile(path))} == {"1": "c", "2": "b"}


@pytest.mark.parametrize(
    ("content", "why"), [("item_id\n", "no items in it"), ("item_id,price\n1,x\n2,y\n3,1\n", "2 of 3 rows")]
)
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(InputUnreadable, match=why):
        catalogue_of(ItemFile(written(tmp_path / "a.csv", content)))
