"""Shop logs become columns of actions; rows that are not events are counted."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from model.data.events import CATEGORY_BUCKETS, text_buckets
from model.items.catalogue import ItemCatalogue
from model.items.item import Item
from stream_app.contract.decoded import Contents
from stream_app.contract.events import decode_event
from stream_app.errors import InputUnreadable
from stream_app.offline.event_files import EventFile
from stream_app.offline.log_reader import EventRecord, LogReader

ROW = "u{n},view,i{n},2024-05-01 12:00:{n:02}\n"


def log(path: Path, *rows: str) -> EventFile:
    path.write_text("user_id,type,item_id,timestamp\n" + "".join(rows))
    return EventFile(path, types={"skip": None})


def good(count: int) -> list[str]:
    return [ROW.format(n=n) for n in range(count)]


def test_logs_become_actions_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.offline.log_reader._CHUNK", 3)
    shown: list[int] = []
    reader = LogReader(progress=shown.append)
    actions = reader.read([log(tmp_path / "b.csv", *good(7)), log(tmp_path / "a.csv", *good(2))])
    assert actions.items == [f"i{n}" for n in (*range(7), *range(2))]
    assert actions.times.tolist()[:2] == [1714564800000, 1714564801000]
    assert shown == [3, 6]
    assert reader.left_out == 0


@pytest.mark.parametrize("bad", [[], ["u9,view,,2024-05-01 12:00:00\n"]], ids=["plain", "not plain"])
def test_events_are_kept_as_their_publisher_would_send_them(tmp_path: Path, bad: list[str]) -> None:
    kept: list[EventRecord] = []
    actions = LogReader(keep=kept.append).read([log(tmp_path / "a.csv", *good(2), *bad)])
    assert [(record.time, record.key) for record in kept] == list(zip(actions.times, [b"u0", b"u1"], strict=True))
    assert decode_event(kept[1].key, kept[1].value, 0).actions[0].item_id == "i1"


def test_rows_that_are_not_events_are_counted(tmp_path: Path) -> None:
    bad = ["u9,view,,2024-05-01 12:00:00\n", "u9,view,i,yesterday\n", "u9,view,i,5\n"]
    reader = LogReader()
    actions = reader.read([log(tmp_path / "a.csv", *good(4), *bad)])
    assert len(actions) == 4
    assert (reader.rows, reader.left_out) == (7, 3)
    assert "a.csv, line 6" in reader.first_fault
    assert "item_id" in reader.first_fault


def test_only_rows_near_an_odd_one_are_judged_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.offline.log_reader._PART", 3)
    judged: list[bytes | None] = []

    def judge(key: bytes | None, value: bytes | None, time: int) -> Contents:
        judged.append(key)
        return decode_event(key, value, time)

    monkeypatch.setattr("stream_app.offline.log_reader.decode_event", judge)
    reader = LogReader()
    path = tmp_path / "a.csv"
    batches = list(reader.batches(log(path, *good(5), "odd,view,,2024-05-01\n", "u,skip,,\n", *good(9)[5:])))
    assert judged == [b"u3", b"u4", b"odd"]
    rows = pa.Table.from_batches(batches)
    assert rows["item_id"].to_pylist() == [f"i{n}" for n in range(9)]
    assert rows["offset"].to_pylist() == list(range(9))
    assert (reader.rows, reader.left_out) == (10, 1)
    assert "a.csv, line 7" in reader.first_fault


def test_the_first_of_several_faults_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = '{"user_id":"u","type":"view","item_id":"i","timestamp":1714564800}'
    path.write_text("\n".join([row, row.replace("view", "look"), row, "[1]"]))
    with pytest.raises(InputUnreadable, match="line 2: unknown type 'look'"):
        LogReader().read([EventFile(path)])
    path.write_text("\n".join([row, row, "", "[1]", row]))
    with pytest.raises(InputUnreadable, match="line 4: not a JSON object"):
        LogReader().read([EventFile(path)])


def test_logs_without_events_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputUnreadable, match="no events in it"):
        LogReader().read([log(tmp_path / "a.csv")])
    with pytest.raises(InputUnreadable, match=r"2 of 3 rows of .*b.csv are not events; the first is .*line 3"):
        LogReader().read([log(tmp_path / "b.csv", *good(1), *["u,view,,2024-05-01\n"] * 2)])


def test_a_row_without_a_time_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputUnreadable, match=r"a.csv, line 3: no timestamp.*--column timestamp"):
        LogReader().read([log(tmp_path / "a.csv", *good(1), "u,view,i,\n")])


def test_a_catalogue_says_what_events_do_not_say(tmp_path: Path) -> None:
    rows = "user_id,type,item_id,timestamp,category\nu,view,7,2024-05-01,\nu,view,7,2024-05-01,own\n"
    (tmp_path / "a.csv").write_text(rows)
    catalogue = ItemCatalogue()
    catalogue.apply([Item("7", category=("a", "b"), price=3.0)], [0])
    actions = LogReader(catalogue=catalogue).read([EventFile(tmp_path / "a.csv")])
    assert actions.categories.tolist() == text_buckets(["a > b", "own"], CATEGORY_BUCKETS).tolist()
    assert actions.prices.tolist() == [3, 3]
