"""What was shown: a chain of files of its own beside the events, which damage to either leaves whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stream_app.history.files import Stream
from stream_app.history.listing import list_days
from tests.unit.builders.histories import (
    DAY,
    NOON,
    STREAM,
    Reader,
    Topic,
    close_all,
    files_of,
    offsets,
    open_history,
    read_in_steps,
    rows_in,
    shown_in,
)


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


def mixed_topic(days: int = 3) -> Topic:
    """Makes a topic of two partitions with four events and two lists a day and partition, by three users."""
    topic = Topic()
    for number in range(6 * days):
        for partition in range(2):
            kind = "event" if number % 3 else "shown"
            topic.add(partition, user=f"u{number % 2}", time=NOON + number // 6 * DAY + number, kind=kind)
    return topic


def test_a_list_is_a_row_of_a_table_of_its_own(tmp_path: Path) -> None:
    topic = Topic()
    topic.add(0)
    fields: dict[str, Any] = {"prediction_id": "p", "slate": "home", "event_id": "e", "session_id": "s", "market": "DE"}
    topic.add(0, kind="shown", user="bob", timestamp=NOON - 5, items=["b", {"item_id": "a"}], **fields)
    Reader(tmp_path, topic).take_all().append()
    (row,) = shown_in(tmp_path)
    times = [int(row.pop(name).timestamp() * 1000) for name in ("record_time", "time")]
    assert times == [NOON, NOON - 5]
    assert row == {"partition": 0, "offset": 1, "user_id": "bob", "items": ["b", "a"]} | fields
    assert [row["offset"] for row in rows_in(tmp_path)] == [0]


def test_readers_of_parquet_folders_see_the_events_alone(tmp_path: Path) -> None:
    read_in_steps(tmp_path, mixed_topic())
    assert "items" not in pq.read_table(tmp_path).column_names
    assert pq.read_table(tmp_path).num_rows == 24
    assert pq.read_table(tmp_path / "_shown").num_rows == 12


def test_where_nothing_is_shown_there_is_no_table(tmp_path: Path) -> None:
    topic = Topic()
    topic.add(0)
    reader = read_in_steps(tmp_path, topic)
    reader.history.keep_up(1)
    assert not (tmp_path / "_shown").exists()


@pytest.mark.parametrize("victims", [[0], [1], [0, 1], [5], [0, 1, 2, 3, 4, 5], [2, 5]])
def test_a_damaged_file_of_what_was_shown_is_read_again_and_the_events_are_not(
    tmp_path: Path, victims: list[int]
) -> None:
    topic = mixed_topic()
    read_in_steps(tmp_path, topic, step=3).close()
    for victim in victims:
        files_of(tmp_path / "_shown")[victim].write_bytes(b"")
    events = [path.stat().st_ino for path in files_of(tmp_path)]
    open_history(tmp_path).close()  # it died before it could read anything again
    Reader(tmp_path, topic).close()
    assert offsets(shown_in(tmp_path)) == topic.shown()
    assert [path.stat().st_ino for path in files_of(tmp_path)] == events
    history = open_history(tmp_path)
    assert history.shown.gaps == []


def test_events_that_are_read_again_do_not_double_what_was_shown(tmp_path: Path) -> None:
    topic = mixed_topic()
    read_in_steps(tmp_path, topic, step=3).close()
    for victim in files_of(tmp_path)[1:]:
        victim.write_bytes(b"")
    topic.add(0, kind="shown")
    Reader(tmp_path, topic).take_all().append()
    assert offsets(rows_in(tmp_path)) == topic.events()
    assert offsets(shown_in(tmp_path)) == topic.shown()


def test_what_was_shown_is_merged_and_goes_with_the_events_of_its_day(tmp_path: Path) -> None:
    topic = mixed_topic(days=4)
    reader = read_in_steps(tmp_path, topic, step=3)
    reader.history.keep_up(0)
    assert [day.shown for day in list_days(str(tmp_path))] == [4, 4, 4, 4]
    assert [file.rows for file in reader.history.shown.files] == [4, 4, 4, 2, 2]
    assert offsets(shown_in(tmp_path)) == topic.shown()
    topic.add(0, time=NOON + 4 * DAY)
    reader.now = NOON + 5 * DAY
    reader.take_all().append().history.keep_up(1.5)
    assert {row["offset"] for row in shown_in(tmp_path)} == {18, 21}
    topic.add(0, time=NOON + 40 * DAY)
    reader.now = NOON + 41 * DAY
    reader.take_all().append().history.keep_up(1.5)
    assert shown_in(tmp_path) == []
    topic.add(0, kind="shown", time=NOON + 40 * DAY)
    reader.take_all().append().close()
    assert offsets(shown_in(tmp_path)) == {(0, 26): 1}
    assert open_history(tmp_path).shown.gaps == []


def test_users_are_erased_from_what_was_shown(tmp_path: Path) -> None:
    topic = mixed_topic()
    reader = read_in_steps(tmp_path, topic)
    lines: list[str] = []
    erased = reader.history.erase({"u1"}, lines.append)
    assert (erased.rows, erased.shown) == (12, 6)
    assert {row["user_id"] for row in [*rows_in(tmp_path), *shown_in(tmp_path)]} == {"u0"}
    assert any(line.startswith("_shown/day=") and "2 of 2 lists" in line for line in lines), lines


def test_a_topic_that_was_created_again_begins_anew(tmp_path: Path) -> None:
    topic, again = mixed_topic(), mixed_topic(days=1)
    read_in_steps(tmp_path, topic).close()
    raised = Stream("cluster-2", "shop.events", 2)
    reader = Reader(tmp_path, again, stream=raised)
    assert reader.history.shown.ends(STREAM) == {0: 16, 1: 16}
    assert reader.history.shown.ends(raised) == {}
    reader.take_all().append().close()
    assert offsets(shown_in(tmp_path)) == topic.shown() + again.shown()
    Reader(tmp_path, again, stream=raised).take_all().append()
    assert offsets(shown_in(tmp_path)) == topic.shown() + again.shown()
