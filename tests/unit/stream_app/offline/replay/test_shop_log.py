"""A log is read whole before anything starts, in the order of time; what is wrong with a file is said with its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream_app.errors import InputUnreadable
from stream_app.offline.replay.shop_log import LogFiles, ShopLog, read_shop_log

OPTIONS: dict[str, Any] = {
    "columns": ("item_id=sku",),
    "types": (),
    "constant_type": None,
    "timezone": "UTC",
    "time_unit": "auto",
    "file_format": "auto",
    "baskets": False,
}


def read(tmp_path: Path, events: int = 200, **more: str) -> tuple[ShopLog, list[tuple[str, str]]]:
    lines = ["user_id,type,sku,timestamp", *(f"u{n % 7},view,i{n % 30},{1_700_000_000 - n}" for n in range(events))]
    files = {"log": "\n".join(lines) + "\n"} | more
    paths: dict[str, Any] = {}
    for name, text in files.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(text, encoding="utf-8")
        paths[name] = str(path)
    said: list[tuple[str, str]] = []
    return read_shop_log(LogFiles(**paths), OPTIONS, lambda *stage: said.append(stage)), said


def test_events_come_in_the_order_of_time(tmp_path: Path) -> None:
    log, said = read(tmp_path)
    events = [json.loads(value) for _, value in log.records]
    times = [event["timestamp"] for event in events]
    assert len(times) == 200
    assert times == sorted(times)
    assert all(event["user_id"].encode() == key for event, (key, _) in zip(events, log.records, strict=True))
    assert (log.name, log.notes, log.rival, log.items) == ("log.csv", [], None, None)
    assert said[0][0] == "reading the log"


def test_titles_and_categories_come_from_the_items(tmp_path: Path) -> None:
    items = "item_id,title,category\ni1,Road runner,Shoes > Running\ni2,,\n,x,y\n"
    log, _ = read(tmp_path, items=items)
    assert (log.titles, log.categories) == ({"i1": "Road runner"}, {"i1": "Shoes > Running"})
    assert log.notes[0].startswith(f"1 of 3 rows are not items; the first is {tmp_path}/items.csv, line 4: ")
    assert len(list(log.items or ())) == 2


def test_rows_that_are_no_events_are_told_of(tmp_path: Path) -> None:
    rows = [f"u{n % 7},view,i{n % 30},{1_700_000_000 + n}" for n in range(200)]
    log, _ = read(tmp_path, log="user_id,type,sku,timestamp\nu,view,,1700000000\n" + "\n".join(rows) + "\n")
    assert len(log.records) == 200
    assert "1 of 201 rows are not events; the first is" in log.notes[0]
    assert "line 2: a view has no item_id" in log.notes[0]


def test_what_the_shop_shows_is_asked_by_user_and_time(tmp_path: Path) -> None:
    log, _ = read(tmp_path, rival="time,user,items\n1699999900,u1,a b\n")
    assert log.rival is not None
    assert log.rival("u1", 1_700_000_000_000) == ("a", "b")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"log": "user_id,type,item,timestamp\nu,view,a,1\n"}, "no column 'sku' for item_id; there are: user_id, type"),
        ({"log": "user_id,type,sku\nu,view,a\n"}, "line 2: no timestamp"),
        ({"log": "user_id,type,sku,timestamp\nu,dance,a,1\n"}, "line 2: unknown type 'dance'"),
        ({"log": "user_id,type,sku,timestamp\nu,view,a,1700000000\n"}, "only 1 events; a replay needs 100"),
        ({"rival": "time,user,items\n1,stranger,a\n"}, "none of its 1 users, such as 'stranger', is in"),
        ({"rival": "time,user,items\n"}, "no lists in it"),
        ({"items": "item_id,title\n"}, "no items in it"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_what_to_do(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(InputUnreadable, match=says):
        read(tmp_path, 200, **files)
