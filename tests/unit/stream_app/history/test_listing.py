"""The list of a history's days, also while a trainer writes, and the list of users to erase."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.errors import InputUnreadable
from stream_app.history.files import Stream
from stream_app.history.listing import days_table, list_days, read_users
from tests.unit.builders.histories import Reader, close_all, files_of, make_topic, read_in_steps


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


def test_days_are_listed_while_a_trainer_holds_the_lock(tmp_path: Path) -> None:
    read_in_steps(tmp_path, make_topic(days=2))
    first, second = list_days(str(tmp_path))
    assert (first.day, first.files, first.rows, first.missing) == ("2026-01-02", 2, 8, 0)
    assert first.bytes == sum(path.stat().st_size for path in files_of(tmp_path)[:2])
    assert (first.oldest, first.newest) == ("2026-01-02T12:00:00.000+00:00", "2026-01-02T12:00:00.003+00:00")
    assert (first.positions, second.positions) == ({0: 4, 1: 4}, {0: 8, 1: 8})


def test_damaged_files_are_left_out_and_left_alone(tmp_path: Path) -> None:
    read_in_steps(tmp_path, make_topic(days=2)).close()
    victim = files_of(tmp_path)[2]
    victim.write_bytes(b"")
    assert [day.rows for day in list_days(str(tmp_path))] == [8, 4]
    assert victim.exists()


def test_positions_of_a_day_are_those_of_its_newest_stream(tmp_path: Path) -> None:
    read_in_steps(tmp_path, make_topic(days=1, partitions=2)).close()
    stream = Stream("cluster-2", "shop.events", 2)
    Reader(tmp_path, make_topic(days=1, partitions=1), stream=stream).take_all().append()
    (day,) = list_days(str(tmp_path))
    assert (day.rows, day.positions) == (12, {0: 4})


def test_the_table_has_a_line_for_each_day_and_the_positions(tmp_path: Path) -> None:
    read_in_steps(tmp_path, make_topic(days=2))
    lines = list(days_table(list_days(str(tmp_path))))
    assert [line.split()[0] for line in lines] == ["day", "2026-01-02", "2026-01-03", "goes"]
    assert lines[-1] == "goes on at 0:8, 1:8"
    assert list(days_table([]))[-1] == "goes on at the oldest events: there is no file yet"


def test_users_are_read_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_bytes("\ufeffada\r\n\n bob \nada\nzoë".encode())
    assert read_users(str(path)) == {"ada", " bob ", "zoë"}


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n", "has no user id"), (b"\xff", "UTF-8"), (None, "No such file")]
)
def test_a_list_without_users_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "users"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputUnreadable, match=message):
        read_users(str(path))
