"""Upkeep of a history: days are merged, old ones removed, users erased, and the offsets stay covered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.errors import HistoryFailed
from stream_app.history.upkeep import ErasureResult
from tests.unit.builders.histories import (
    DAY,
    NOON,
    Reader,
    Topic,
    close_all,
    files_of,
    make_topic,
    offsets,
    open_history,
    positions_in,
    read_in_steps,
    rows_in,
)


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


def days_of(folder: Path) -> list[str]:
    return [path.parent.name.removeprefix("day=") for path in files_of(folder)]


def test_a_finished_day_becomes_one_file(tmp_path: Path) -> None:
    reader = read_in_steps(tmp_path, make_topic(days=3, per_day=4))
    assert len(files_of(tmp_path)) == 6
    before = rows_in(tmp_path)
    reader.history.keep_up(0)
    assert days_of(tmp_path) == ["2026-01-02", "2026-01-03", "2026-01-04", "2026-01-04"]
    assert rows_in(tmp_path) == before
    assert [file.rows for file in reader.history.files] == [8, 8, 4, 4]


def test_a_merged_file_covers_the_offsets_of_all_its_files(tmp_path: Path) -> None:
    reader = read_in_steps(tmp_path, make_topic(days=2))
    reader.history.keep_up(0)
    merged = reader.history.files[0].metadata
    assert {partition: (span.first, span.next) for partition, span in merged.spans.items()} == {0: (0, 4), 1: (0, 4)}
    assert (merged.oldest, merged.newest) == (NOON, NOON + 3)
    reader.close()
    assert open_history(tmp_path).events.gaps == []


def test_old_days_are_removed_and_the_newest_file_never_is(tmp_path: Path) -> None:
    reader = read_in_steps(tmp_path, make_topic(days=5))
    reader.now = NOON + 5 * DAY
    reader.history.keep_up(2)
    assert set(days_of(tmp_path)) == {"2026-01-04", "2026-01-05", "2026-01-06"}
    reader.history.keep_up(1e-9)
    assert len(files_of(tmp_path)) == 1


@pytest.mark.parametrize("years", [40, -20])
def test_a_clock_that_jumped_costs_no_history(tmp_path: Path, years: int) -> None:
    """First the clock of a publisher jumps, then that of the trainer."""
    topic = make_topic(days=3)
    topic.add(0, time=NOON + years * 365 * DAY)
    reader = read_in_steps(tmp_path, topic)
    topic.add(0, time=NOON + 3 * DAY)
    reader.now = NOON + years * 365 * DAY
    reader.take_all().append().history.keep_up(90)
    assert offsets(rows_in(tmp_path)) == topic.events()


def test_a_record_from_the_future_does_not_keep_a_file_for_ever(tmp_path: Path) -> None:
    topic = Topic()
    topic.add(0, time=NOON + 40 * 365 * DAY)
    reader = Reader(tmp_path, topic)
    reader.now = NOON
    reader.take_all().append()
    for day in range(1, 20):
        topic.add(0, time=NOON + day * DAY)
        reader.now = NOON + day * DAY
        reader.take_all().append()
    reader.history.keep_up(7)
    assert min(offset for _, offset in positions_in(tmp_path)) == 12


def test_erasure_rewrites_only_files_with_these_users_and_says_how_much(tmp_path: Path) -> None:
    reader = read_in_steps(tmp_path, make_topic(days=1))  # user u1 is in the first of two files only
    lines: list[str] = []
    second = files_of(tmp_path)[1].stat().st_ino
    assert reader.history.erase({"u1", "nobody"}, lines.append) == ErasureResult(users=2, rows=2, files=1, removed=0)
    assert {row["user_id"] for row in rows_in(tmp_path)} == {"u0", "u2"}
    assert files_of(tmp_path)[1].stat().st_ino == second
    assert lines == [f"day=2026-01-02/{1:020d}.parquet: 2 of 4 events erased"]
    reader.close()
    assert Reader(tmp_path, reader.topic).read == {0: 4, 1: 4}, "erased events are not read again"


def test_erasure_of_a_damaged_file_ends_the_process(tmp_path: Path) -> None:
    reader = read_in_steps(tmp_path, make_topic())
    victim = files_of(tmp_path)[0]
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.raises(HistoryFailed, match="is damaged"):
        reader.history.erase({"u1"}, lambda _: None)
    assert [path.name for path in tmp_path.rglob("_*")] == [f"_{victim.name}.damaged"]
