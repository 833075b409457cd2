"""Files of shop logs in all formats become the same event dicts; what cannot be read is named."""

from __future__ import annotations

import gzip
import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_app.errors import InputUnreadable, SettingsInvalid
from stream_app.offline.event_files import EventFile
from tests.paths import SHARED_DATA
from tests.skips import NO_SHARED_DATA

CSV = "user_id,type,item_id,price,extra\nu1,view,i1,9.50,x\nu2,cart,i2,,y\n"
EVENTS = [
    {"user_id": "u1", "type": "view", "item_id": "i1", "price": 9.5},
    {"user_id": "u2", "type": "cart", "item_id": "i2"},
]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def first_time(tmp_path: Path, cell: str, **options: Any) -> Any:
    path = written(tmp_path / "t.csv", f"user_id,timestamp\nu1,{cell}\n")
    return next(iter(EventFile(path, constant_type="view", **options))).get("timestamp")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("a.csv", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode()),
        ("semicolons.csv", CSV.replace(",", ";").encode()),
        ("a.tsv", CSV.replace(",", "\t").encode()),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("zipped-all-the-same.csv", gzip.compress(CSV.encode(), mtime=0)),
        (
            "a.jsonl",
            b'{"user_id":"u1","type":"view","item_id":"i1","price":"9.50"}\n\n'
            b'{"user_id":"u2","type":"cart","item_id":"i2","price":null,"more":[1]}\n',
        ),
    ],
)
def test_formats_give_the_same_events(tmp_path: Path, name: str, content: bytes) -> None:
    log = EventFile(written(tmp_path / name, content))
    assert list(log) == EVENTS
    assert list(log) == EVENTS  # each iteration begins anew


def test_parquet_gives_the_same_values(tmp_path: Path) -> None:
    moment = datetime(2024, 5, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "visitor": [17850.0, None],
            "type": pa.array(["view", "cart"]).dictionary_encode(),
            "item_id": [7, 8],
            "timestamp": pa.array([moment, moment], pa.timestamp("ns", "UTC")),
            "price": [1.5, float("nan")],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    ms = int(moment.timestamp() * 1000)
    assert list(EventFile(tmp_path / "a.parquet", columns={"user_id": "visitor"})) == [
        {"user_id": "17850", "type": "view", "item_id": "7", "timestamp": ms, "price": 1.5},
        {"type": "cart", "item_id": "8", "timestamp": ms},
    ]


def test_standard_input_is_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b'{"user_id":"u1","type":"view"}\n')))
    monkeypatch.setattr(sys, "stdin", text)
    assert list(EventFile("-")) == [{"user_id": "u1", "type": "view"}]


def test_types_are_mapped_skipped_and_filled_in(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "user_id,type\nu1,follow\nu1,comment\nu1,\nu1,Order Completed\n")
    log = EventFile(
        path,
        types={"follow": "favorite", "comment": None},
        constant_type="view",
        known_types={"view", "favorite", "order completed"},
    )
    assert [event["type"] for event in log] == ["favorite", "view", "Order Completed"]
    assert log.skipped == 1


@pytest.mark.parametrize(
    ("cell", "options", "expected"),
    [
        ("2018-03-01 00:00:06", {}, 1519862406000),
        ("2018-03-01 00:00:06", {"timezone": "+08:00"}, 1519862406000 - 8 * 3_600_000),
        ("2018-03-01T00:00:06+08:00", {"timezone": "-03:00"}, 1519862406000 - 8 * 3_600_000),
        ("2018-03-01T00:00:06Z", {}, 1519862406000),
        ("1396860669.277", {}, 1396860669277),
        ("1396860669277", {}, 1396860669277),
        ("5000", {"time_unit": "ms"}, 5000),
        ("1396860669277", {"time_unit": "s"}, 1396860669277000),
        ("yesterday", {}, "yesterday"),
        ("nan", {}, "nan"),
        ("", {}, None),
    ],
)
def test_times_become_epoch_milliseconds(tmp_path: Path, cell: str, options: dict[str, Any], expected: Any) -> None:
    assert first_time(tmp_path, cell, **options) == expected


def test_cells_that_are_not_numbers_are_left_to_the_worker(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "user_id,price,quantity\nu1,cheap,nan\n")
    assert list(EventFile(path, constant_type="view")) == [
        {"user_id": "u1", "price": "cheap", "quantity": "nan", "type": "view"}
    ]


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("a.csv", "visitor,type\nu,view\n", {}, ["'user_id'", "visitor, type", "--column user_id="]),
        ("a.csv", CSV, {"columns": {"brand": "marke"}}, ["'marke'", "user_id, type, item_id"]),
        ("a.csv", "user_id\nu\n", {}, ["'type'", "--type"]),
        ("a.csv", "user_id,type\nu,view\nu,follow\n", {}, ["line 3", "'follow'", "--type-map follow="]),
        ("a.csv", b"user_id,type\n\xff\xfe,view\n", {}, ["not UTF-8", "iconv"]),
        ("a.csv.gz", CSV, {}, ["gzip"]),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-12], {}, ["cut off"]),
        ("a.jsonl", '{"user_id":"u","type":"view"}\n[1]\n', {}, ["line 2", "JSON"]),
        ("a.jsonl", b'{"user_id":"\xff"}\n', {}, ["line 1"]),
        ("a.parquet", "no parquet", {}, ["damaged"]),
        ("a.dat", CSV, {}, ["--format"]),
    ],
)
def test_unreadable_input_names_file_and_way_out(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], words: list[str]
) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(InputUnreadable) as caught:
        list(EventFile(path, **options))
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "."])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputUnreadable, match="cannot be opened"):
        list(EventFile(tmp_path / name, format="parquet" if "parquet" in name else "csv"))


@pytest.mark.parametrize(
    "options",
    [{"timezone": "Mars/Olympus"}, {"columns": {"user": "u"}}, {"types": {"a": "b"}}, {"constant_type": "x"}],
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid):
        EventFile("a.csv", **options)


@pytest.mark.skipif(not SHARED_DATA.exists(), reason=NO_SHARED_DATA)
def test_real_logs_are_read() -> None:
    jdata = EventFile(
        SHARED_DATA / "jdata" / "test.csv.gz",
        types={"follow": "favorite", "comment": None},
        timezone="+08:00",
    )
    events = list(jdata)
    assert len(events) + jdata.skipped == 2262
    assert {event["type"] for event in events} <= {"click", "purchase", "favorite"}
    columns = {"user_id": "SessionId", "item_id": "ItemId", "timestamp": "Time"}
    clicks = iter(EventFile(SHARED_DATA / "yoochoose100k" / "test.tsv.gz", columns=columns, constant_type="click"))
    assert set(next(clicks)) == {"user_id", "item_id", "timestamp", "type"}
