"""Rows of the history: the actions read from them are those made of the events themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.event_time import EARLIEST_MS, LATEST_MS, judge_times
from model.data.events import EVENT_TYPES, actions_of, concatenate
from stream_app.contract.events import decode_batch
from stream_app.history.rows import ACTION_COLUMNS, actions_in, day_of, known_time, rows_of
from stream_app.history.tables import SCHEMA
from tests.unit.builders.any_event import ANY_EVENT, INT64
from tests.unit.builders.basics import make_record
from tests.unit.builders.histories import (
    DAY,
    NOON,
    Topic,
    actions_at,
    assert_same_actions,
    close_all,
    positions_in,
    read_in_steps,
)

VARIED: list[dict[str, Any]] = [
    {"type": "search", "query": "Red shoes été", "item_id": None},
    {"type": "search", "query": "", "item_id": "ignored in a search"},
    {"type": "purchase", "price": 12.5, "quantity": -1, "currency": "EUR"},
    {"type": "Product Added", "category": "a", "brand": "b", "session_id": "s", "event_id": "e"},
    {"timestamp": "2026-01-01T00:00:00Z", "price": 0},
    {"timestamp": 5, "category": "", "brand": "é" * 300},
    {"timestamp": NOON + 300 * DAY},
    {"type": "cart", "market": "DE", "event_id": "e", "items": [{"item_id": "a", "price": 3}, {"item_id": "b"}] * 2},
]


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


def varied_topic() -> Topic:
    """Makes events with all kinds of fields in two partitions; some records have no valid time."""
    topic = Topic()
    for number, fields in enumerate(VARIED * 3):
        event_id = {"event_id": f"e{number}" if "event_id" in fields else f"{number}"}
        time = -1 if number % 7 == 5 else NOON + number
        topic.add(number % 2, user=f"u{number % 5}", time=time, **fields | event_id)
    return topic


def test_actions_from_files_are_those_of_the_events(tmp_path: Path) -> None:
    topic = varied_topic()
    reader = read_in_steps(tmp_path, topic, step=4)
    order = positions_in(tmp_path)
    assert len(order) == 3 * (len(VARIED) + 3)
    assert_same_actions(concatenate(list(reader.history.chunks(1000))), actions_at(topic, dict.fromkeys(order)))


@settings(deadline=None)
@given(st.lists(st.tuples(ANY_EVENT, INT64), max_size=8))
def test_any_event_becomes_a_row_and_an_action(sent: list[tuple[dict[str, Any], int]]) -> None:
    records = [
        make_record(json.dumps(event).encode(), key=event["user_id"].encode(), offset=n, timestamp=time)
        for n, (event, time) in enumerate(sent)
    ]
    decoded = decode_batch(records)
    times, _ = judge_times(decoded.times, decoded.record_times)
    rows = rows_of(0, [record.offset for record in records], decoded)
    assert_same_actions(actions_in(rows), actions_of(decoded.events, times, decoded.lines))


def test_actions_need_only_some_of_the_columns() -> None:
    topic = varied_topic()
    records = [record for record in topic.records[0] if record is not None]
    rows = rows_of(0, [record.offset for record in records], decode_batch(records))
    assert rows.schema == SCHEMA
    positions = [(0, record.offset) for record in records]
    assert_same_actions(actions_in(rows.select(list(ACTION_COLUMNS))), actions_at(topic, positions))


def test_rows_have_the_offsets_of_the_events_and_not_of_rejected_records() -> None:
    topic = Topic()
    for kind in ("event", "bad", "event"):
        topic.add(3, kind=kind)
    records = [record for record in topic.records[3] if record is not None]
    rows = rows_of(3, [10, 11, 12], decode_batch(records))
    assert rows["partition"].to_pylist() == [3, 3]
    assert rows["offset"].to_pylist() == [10, 12]
    assert rows["item_id"].to_pylist() == ["item 0", "item 2"]


def test_each_line_of_an_event_is_a_row() -> None:
    topic = Topic()
    topic.add(0, market="DE", items=[{"item_id": "a", "price": 3}, {"item_id": "b", "category": "c"}])
    topic.add(0)
    records = [record for record in topic.records[0] if record is not None]
    rows = rows_of(0, [4, 5], decode_batch(records)).select(
        ["offset", "line", "item_id", "price", "category", "market"]
    )
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        (4, 0, "a", 3.0, None, "DE"), (4, 1, "b", None, "c", "DE"), (5, 0, "item 1", None, None, None),
    ]  # fmt: skip


def test_what_was_returned_is_stored_and_read_as_removed() -> None:
    topic = Topic()
    topic.add(0, type="purchase", items=[{"item_id": "a", "quantity": -1}, {"item_id": "b", "quantity": 1}])
    topic.add(0, type="cart", quantity=-3)
    records = [record for record in topic.records[0] if record is not None]
    rows = rows_of(0, [4, 5], decode_batch(records))
    assert rows["type"].to_pylist() == ["remove", "purchase", "cart"]
    assert rows["quantity"].to_pylist() == [-1.0, 1.0, -3.0]
    as_before = rows.set_column(rows.schema.get_field_index("type"), "type", pa.array(["purchase"] * 2 + ["cart"]))
    for each in (rows, as_before):  # files of versions before have the types that were published
        assert [EVENT_TYPES[code] for code in actions_in(each).types] == ["remove", "purchase", "cart"]


def test_a_record_without_a_valid_time_has_none_in_its_row() -> None:
    assert [known_time(time) for time in (-1, EARLIEST_MS - 1, EARLIEST_MS, NOON, LATEST_MS - 1, LATEST_MS)] == [
        None, None, EARLIEST_MS, NOON, LATEST_MS - 1, None,
    ]  # fmt: skip
    topic = Topic()
    topic.add(0, time=-1)
    topic.add(0, time=NOON)
    records = [record for record in topic.records[0] if record is not None]
    rows = rows_of(0, [0, 1], decode_batch(records))
    assert rows["record_time"].to_pylist() == [None, datetime.fromtimestamp(NOON / 1000, UTC)]


def test_days_begin_at_midnight_utc() -> None:
    midnight = NOON - NOON % DAY
    assert [day_of(time) for time in (midnight - 1, midnight, midnight + DAY)] == [
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
    ]
