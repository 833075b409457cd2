"""Rows that are read many at a time are the same as those that are judged one by one, whatever is in the cells."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_app.errors import InputUnreadable
from stream_app.offline import log_reader
from stream_app.offline.event_files import EventFile
from stream_app.offline.log_reader import LogReader
from stream_app.offline.plain_rows import plain_rows

NOON: Final = datetime(2024, 5, 1, 12, 0, 0, 123_556, UTC)  # not a whole number of milliseconds
MS: Final = int(NOON.timestamp() * 1000)
LOCAL: Final = pa.array([NOON.replace(tzinfo=None)] * 2)
GOOD: Final[dict[str, Any]] = {
    "user_id": ["u1", "ü2"],
    "type": ["view", "cart"],
    "item_id": ["i1", "i2"],
    "timestamp": [MS, MS + 1],
}
OPTIONS: Final[dict[str, Any]] = {
    "types": {"follow": "favorite", "comment": None},
    "known_types": {"view", "cart", "search", "favorite", "purchase", "order completed"},
}
Outcome = tuple[list[dict[str, Any]], tuple[Any, ...]]


def written(folder: Path, columns: dict[str, Any], form: str = "parquet") -> EventFile:
    path = folder / f"a.{form}"
    table = pa.table({name: cells for name, cells in columns.items() if cells is not None})
    if form == "parquet":
        pq.write_table(table, path)
    elif form == "jsonl":
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in table.to_pylist()))
    else:
        rows = [table.column_names, *zip(*table.to_pydict().values(), strict=True)]
        path.write_text("".join(",".join("" if cell is None else str(cell) for cell in row) + "\n" for row in rows))
    return EventFile(path)


def outcome(log: EventFile, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, plain: bool) -> Outcome:
    """What comes of a log, with what is said of it."""
    log, reader = EventFile(log.path, **OPTIONS | options), LogReader()
    rows: list[dict[str, Any]] = []
    with monkeypatch.context() as patched:
        if not plain:
            patched.setattr(log_reader, "plain_rows", lambda *_: None)
        try:
            for batch in reader.batches(log):
                rows += batch.to_pylist()
        except InputUnreadable as error:
            return rows, (str(error),)
    return rows, (reader.rows, reader.left_out, reader.first_fault, log.skipped)


def is_plain(log: EventFile, options: dict[str, Any]) -> bool:
    log = EventFile(log.path, **OPTIONS | options)
    return all(plain_rows(log, chunk, 0) is not None for chunk in log.chunks(100) if chunk.lines)


PLAIN: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    ({}, {}),
    ({"user_id": [7, 8], "item_id": [7.0, -0.0], "session_id": [3.0, None], "brand": [float("nan"), 2.0**62]}, {}),
    ({"item_id": pa.array(["a", "b"]).dictionary_encode(), "category": ["", "x > y"], "market": ["", ""]}, {}),
    ({"user_id": pa.array(["a", "b"], pa.large_string()), "event_id": [None, "e"]}, {}),
    ({"price": [1, 0], "quantity": [-2.5, None]}, {}),
    ({"price": ["9.50", ""], "quantity": ["1e3", "-0.0"]}, {}),
    ({"price": [float("nan"), 0.1], "quantity": pa.array([1, None], pa.int8())}, {}),
    ({"type": ["view", "search"], "item_id": ["i", None], "query": [None, "red shoes"]}, {}),
    ({"type": ["view", "search"], "query": ["", "red shoes"]}, {}),
    ({"type": ["follow", "comment"]}, {}),
    ({"type": ["comment", "comment"]}, {}),
    ({"type": ["Order Completed", None]}, {"constant_type": "purchase"}),
    ({"type": None}, {"constant_type": "view"}),
    ({"timestamp": [MS / 1000, MS]}, {}),
    ({"timestamp": [MS / 1000, 1.7e9]}, {"time_unit": "s"}),
    ({"timestamp": ["1714564800.5", "1714564800500"]}, {}),
    ({"timestamp": ["2024-05-01 12:00:00", "2024-05-01"]}, {"timezone": "-03:30"}),
    ({"timestamp": ["2024-05-01T12:00:00.0016Z", "2024-05-01 12:00:00+05:30"]}, {"timezone": "Europe/Berlin"}),
    ({"timestamp": ["2024-10-27 02:30:00", "2024-03-31 02:30:00"]}, {"timezone": "Europe/Berlin"}),
    ({"timestamp": ["2024-05-01 12:00:00 UTC", "1714564800"]}, {}),
    ({"timestamp": [NOON, NOON]}, {}),
    ({"timestamp": LOCAL.cast(pa.timestamp("ns"))}, {"timezone": "+08:00"}),
    ({"timestamp": LOCAL.cast(pa.timestamp("s"), safe=False)}, {"timezone": "Asia/Tokyo"}),
    ({"timestamp": [date(2024, 5, 1), date(2024, 5, 2)]}, {"timezone": "+08:00"}),
    ({"user_id": ["x" * 256, "é" * 256], "category": ["c" * 4096, None]}, {}),
]
ODD: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    ({"user_id": ["u", ""]}, {}),
    ({"user_id": ["u", "x" * 257]}, {}),
    ({"user_id": [True, False]}, {}),
    ({"user_id": [b"u", b"v"]}, {}),
    ({"user_id": [Decimal("1"), None]}, {}),
    ({"item_id": ["i", None]}, {}),
    ({"item_id": ["i", "é" * 257]}, {}),
    ({"item_id": [1.5, 2.0]}, {}),
    ({"item_id": [1e300, 2.0]}, {}),
    ({"type": ["view", "follows"]}, {}),
    ({"type": ["view", None]}, {}),
    ({"type": [1, 2]}, {}),
    ({"type": ["view", "search"]}, {}),
    ({"type": ["view", "search"], "query": ["q", ""]}, {}),
    ({"timestamp": [MS, None]}, {}),
    ({"timestamp": None}, {}),
    ({"timestamp": [MS, 5]}, {}),
    ({"timestamp": [MS, 2**62]}, {}),
    ({"timestamp": ["2024-05-01", "yesterday"]}, {}),
    ({"timestamp": ["2024-05-01", ""]}, {}),
    ({"timestamp": [True, True]}, {}),
    ({"timestamp": [float("nan"), float("inf")]}, {}),
    ({"price": [1.0, -1.0]}, {}),
    ({"price": ["cheap", "nan"]}, {}),
    ({"price": [float("inf"), 1.0]}, {}),
    ({"price": [Decimal("1.10"), Decimal("2.00")]}, {}),
    ({"quantity": [2**60 + 1, 1]}, {}),
    ({"quantity": [True, False]}, {}),
    ({"category": ["c" * 4097, None]}, {}),
    ({"category": ["c" * 300_000, None]}, {}),
    ({"items": [[{"item_id": "a"}, {"item_id": "b"}], None]}, {}),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(PLAIN) + len(ODD)))
@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_rows_are_the_same_as_judged_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, case: int
) -> None:
    cells, options = [*PLAIN, *ODD][case]
    log = written(tmp_path, GOOD | cells, form)
    together = outcome(log, options, monkeypatch, plain=True)
    assert repr(together) == repr(outcome(log, options, monkeypatch, plain=False))
    if form == "parquet":
        assert is_plain(log, options) == (case < len(PLAIN))


def test_texts_that_are_not_utf8_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = pa.StringArray.from_buffers(2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff"))
    log = written(tmp_path, GOOD | {"item_id": items})
    together = outcome(log, {}, monkeypatch, plain=True)
    assert together == outcome(log, {}, monkeypatch, plain=False)
    assert "not UTF-8" in together[1][0]


NUMBERS: Final = ("1", "1.", ".5", "+5", "-3", "1e3", "1E400", "0x10", "1_0", " 5", "5 ", "nan", "-inf", "1,5", "٣")
DATES: Final = ("2024-05-01", "20240501", "2024-5-1", "2024-W18-3", "2024-02-30", "0001-01-01", "2024-05")
CLOCKS: Final = ("", " 12:00:00", "T12:00:00", "t12:00", "T12", " 24:00:00", "T12:00:60", "T12:00:00.5", "  12:00:00")
ENDS: Final = ("", ".123456789", ".1234567", ",5", ".0004996")
ZONES: Final = ("", "Z", "z", "+08", "+0800", "+08:00", "-08:00:30", " UTC", "+25:00")


@pytest.mark.parametrize("zone", ["UTC", "+05:30", "America/New_York"])
def test_texts_mean_the_same_times_and_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    times = [date + clock + end + at for date in DATES for clock in CLOCKS for end in ENDS for at in ZONES]
    for cell in (*NUMBERS, *random.Random(5).sample(times, 150)):
        for name in ("timestamp", "price"):
            log = written(tmp_path, GOOD | {name: [cell, cell]})
            together = outcome(log, {"timezone": zone}, monkeypatch, plain=True)
            assert repr(together) == repr(outcome(log, {"timezone": zone}, monkeypatch, plain=False)), cell
