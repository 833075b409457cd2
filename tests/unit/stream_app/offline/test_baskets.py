"""Rows of a log become baskets: against a plain grouping of each run of one time."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from itertools import groupby, islice, takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.offline import baskets
from stream_app.offline.baskets import in_baskets
from stream_app.offline.event_files import EventFile
from stream_app.offline.log_reader import LogReader
from tests.paths import SHARED_DATA
from tests.skips import NO_SHARED_DATA

Row = dict[str, Any]
RETAIL = SHARED_DATA / "online_retail" / "until_2011-08.csv.gz"

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from("ab"),
            "type": st.sampled_from(["cart", "purchase"]),
            "item_id": st.sampled_from("ij"),
        },
        optional={"price": st.integers(0, 9), "session_id": st.sampled_from("xy"), "event_id": st.sampled_from("123")},
    ),
    max_size=20,
)


def events_of(rows: list[Row]) -> list[Row]:
    return [event for _, event in in_baskets(rows, lambda: 0)]


def lines_of(event: Row) -> list[Row]:
    own = ("item_id", "price")
    return event.get("items") or [{name: event[name] for name in own if name in event}]


@given(st.lists(ROWS, max_size=6))
def test_rows_of_one_user_time_and_type_are_one_event(runs: list[list[Row]]) -> None:
    rows = [row | {"timestamp": time % 3} for time, run in enumerate(runs) for row in run]
    expected, names = list[tuple[Any, ...]](), ("timestamp", "user_id", "type")
    for time, run in groupby(rows, key=lambda row: row["timestamp"]):
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in run:
            groups.setdefault((row["user_id"], row["type"]), []).append(row)
        for (user, kind), of_group in groups.items():
            lines = [{name: row[name] for name in ("item_id", "price") if name in row} for row in of_group]
            first = [next((row[name] for row in of_group if name in row), None) for name in ("session_id", "event_id")]
            expected.append((time, user, kind, lines, *first))
    assert [
        (*(event[name] for name in names), lines_of(event), event.get("session_id"), event.get("event_id"))
        for event in events_of(rows)
    ] == expected


@given(ROWS)
def test_without_a_time_each_row_is_an_event_and_comes_at_once(rows: list[Row]) -> None:
    read: list[int] = []

    def reading() -> Any:
        for number, row in enumerate(rows):
            read.append(number)
            yield row

    events = in_baskets(reading(), lambda: read[-1])
    for number, (position, event) in enumerate(events):
        assert (position, event) == (number, rows[number])
        assert len(read) == number + 1


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "search", "query": "shoes"},
        {"type": "view_search_results", "query": "shoes", "item_id": "i"},
        {"item_id": None},
        {"user_id": ["a"]},
        {"type": {"a": 1}},
        {"items": [{"item_id": "i"}]},
    ],
)
def test_what_is_no_line_stays_as_it_is(odd: Row) -> None:
    line = {"user_id": "a", "type": "cart", "item_id": "i", "timestamp": 5}
    row = line | odd
    assert events_of([line, row, row, line]) == [
        {"user_id": "a", "type": "cart", "timestamp": 5, "items": [{"item_id": "i"}, {"item_id": "i"}]},
        row,
        row,
    ]


def test_names_of_one_type_are_one_type() -> None:
    rows = [{"user_id": "a", "type": kind, "item_id": "i", "timestamp": 5} for kind in ("cart", "add_to_cart", "Cart")]
    (event,) = events_of(rows)
    assert (event["type"], len(event["items"])) == ("cart", 3)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baskets, "_MOST_LINES", 3)
    line = {"type": "cart", "item_id": "i", "timestamp": 5}
    of_one = events_of([line | {"user_id": "a"}] * 5)
    assert [len(lines_of(event)) for event in of_one] == [3, 2]
    monkeypatch.setattr(baskets, "_MOST_HELD", 2)
    of_many = events_of([line | {"user_id": user} for user in "abca"])
    assert [event["user_id"] for event in of_many] == ["a", "b", "c", "a"]


def test_a_file_is_read_in_baskets_and_a_fault_names_the_first_row(tmp_path: Path) -> None:
    rows = [
        {"user_id": "a", "type": "cart", "item_id": "i", "timestamp": 1_700_000_000, "price": 2},
        {"user_id": "b", "type": "cart", "item_id": "i", "timestamp": 1_700_000_000, "price": -1},
        {"user_id": "a", "type": "cart", "item_id": "j", "timestamp": 1_700_000_000, "brand": "x"},
        {"user_id": "b", "type": "cart", "item_id": "j", "timestamp": 1_700_000_000},
        {"user_id": "a", "type": "cart", "item_id": "k", "timestamp": 1_700_000_001},
        {"user_id": "c", "type": "cart", "item_id": "k", "timestamp": 1_700_000_001},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = LogReader()
    actions = reader.read([EventFile(path, baskets=True)])
    assert (actions.users, actions.items) == (list("aaac"), list("ijkk"))
    assert actions.lines.tolist() == [0, 1, 0, 0]
    assert (reader.rows, reader.left_out) == (6, 2)
    assert "a.jsonl, line 2: " in reader.first_fault
    assert "price" in reader.first_fault
    assert LogReader().read([EventFile(path)]).lines.tolist() == [0] * 5


@pytest.mark.parametrize("items", [7, "i", [], [{"item_id": 3}]])
def test_a_row_with_odd_items_of_its_own_is_left_out_as_ever(tmp_path: Path, items: Any) -> None:
    good = {"user_id": "a", "type": "cart", "item_id": "i", "timestamp": 1_700_000_000}
    path = tmp_path / "a.jsonl"
    rows = [good, good, good, {"user_id": "a", "type": "cart", "items": items, "timestamp": 1_700_000_000}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = LogReader()
    assert len(reader.read([EventFile(path, baskets=True)])) == 3
    assert reader.left_out == 1
    assert "line 4" in reader.first_fault


@pytest.mark.skipif(not RETAIL.exists(), reason=NO_SHARED_DATA)
def test_real_invoices_are_baskets() -> None:
    """Most have an invoice for each customer and minute; rows without a customer stay alone."""
    columns = {"user_id": "CustomerID", "item_id": "Description", "timestamp": "InvoiceDate"}
    log = EventFile(RETAIL, columns=columns, constant_type="purchase", baskets=True)
    found: Counter[tuple[str, int]] = Counter()
    evening = 1_291_500_000_000  # of 4 December 2010
    for event in takewhile(lambda event: event["timestamp"] < evening, log):
        if "user_id" in event:
            found[event["user_id"], len(lines_of(event))] += 1
    with gzip.open(RETAIL, "rt") as file:
        rows = list(islice(csv.DictReader(file), 20_000))
    early = [row for row in rows if row["CustomerID"] and row["InvoiceDate"] < "2010-12-04 22:00"]
    lines = Counter((row["CustomerID"], row["InvoiceDate"]) for row in early)
    assert found == Counter((user, size) for (user, _), size in lines.items())
    assert max(lines.values()) > 100
