"""`nextact history`: what it lists and what it erases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from stream_app.cli.main import cli
from stream_app.history.files import HistoryFile, read_file
from stream_app.history.storage import HistoryStorage, number_of
from tests.unit.builders.histories import DAY, NOON, Reader, Topic, close_all, files_of, rows_in


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three days of three users in two partitions."""
    return tmp_path / "history"


@pytest.fixture
def topic(folder: Path) -> Topic:
    topic = Topic()
    reader = Reader(folder, topic)
    for day in range(3):
        for number in range(4):
            topic.add(number % 2, user=f"u{number % 3}", time=NOON + day * DAY + number)
        reader.take_all().append()
    reader.close()
    return topic


def nextact(*arguments: str, folder: Path) -> Result:
    return CliRunner().invoke(cli, ["history", *arguments, "--history", str(folder)])


def test_the_days_are_listed(folder: Path, topic: Topic) -> None:
    days = [json.loads(line) for line in nextact("list", "--json", folder=folder).stdout.splitlines()]
    sizes = [path.stat().st_size for path in files_of(folder)]
    assert days[1] == {
        "day": "2026-01-03",
        "files": 1,
        "rows": 4,
        "shown": 0,
        "bytes": sizes[1],
        "oldest": "2026-01-03T12:00:00.000+00:00",
        "newest": "2026-01-03T12:00:00.003+00:00",
        "missing": 0,
        "positions": {"0": 4, "1": 4},
    }
    lines = nextact("list", folder=folder).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["day", "2026-01-02", "2026-01-03", "2026-01-04", "goes"]
    assert lines[-1] == "goes on at 0:6, 1:6"


def test_an_empty_history_is_listed(folder: Path) -> None:
    assert "there is no file yet" in nextact("list", folder=folder).stdout


def test_a_file_that_is_merged_meanwhile_is_not_an_error(
    folder: Path, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanishing(storage: HistoryStorage, name: str, size: int) -> HistoryFile:
        if number_of(name) == 2:
            Path(storage.address, name).unlink()
        return read_file(storage, name, size)

    monkeypatch.setattr("stream_app.history.listing.read_file", vanishing)
    days = [json.loads(line) for line in nextact("list", "--json", folder=folder).stdout.splitlines()]
    assert [day["rows"] for day in days] == [4, 4]


def test_users_are_erased_and_nothing_else_changes(folder: Path, topic: Topic, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("u1\r\n\nnobody\n")
    before, metadata = rows_in(folder), [pq.read_metadata(path).metadata for path in files_of(folder)]
    done = nextact("erase", "--users", str(tmp_path / "users"), "--json", folder=folder)
    assert json.loads(done.stdout) == {"users": 2, "rows": 3, "files": 3, "removed": 0, "shown": 0}
    assert rows_in(folder) == [row for row in before if row["user_id"] != "u1"]
    assert [pq.read_metadata(path).metadata for path in files_of(folder)] == metadata
    reader = Reader(folder, topic)
    assert reader.read == {0: 6, 1: 6}
    assert reader.history.events.gaps == []


def test_files_without_these_users_are_not_written_again(folder: Path, topic: Topic, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("nobody\n")
    before = [path.stat().st_ino for path in files_of(folder)]
    done = nextact("erase", "--users", str(tmp_path / "users"), folder=folder)
    assert done.stdout == "0 events and 0 shown lists of 1 users erased from 0 files\n"
    assert [path.stat().st_ino for path in files_of(folder)] == before


def test_damaged_files_go_when_users_are_erased(folder: Path, topic: Topic, tmp_path: Path) -> None:
    victim = files_of(folder)[1]
    victim.write_bytes(victim.read_bytes()[:50])
    Reader(folder, topic).close()
    (tmp_path / "users").write_text("u0\n")
    done = nextact("erase", "--users", str(tmp_path / "users"), "--json", folder=folder)
    assert json.loads(done.stdout)["removed"] == 1
    assert list(folder.rglob("_*")) == []


def test_nothing_is_erased_while_a_trainer_runs(folder: Path, topic: Topic, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("u0\n")
    trainer = Reader(folder, topic)
    done = nextact("erase", "--users", str(tmp_path / "users"), folder=folder)
    assert "is in use by pid" in str(done.exception)
    assert len(rows_in(folder)) == 12
    trainer.close()


@pytest.mark.parametrize(("content", "said"), [(b"", "has no user id"), (b"\xff\xfe", "UTF-8"), (None, "No such file")])
def test_an_unusable_list_of_users_is_refused(folder: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "users").write_bytes(content)
    assert said in str(nextact("erase", "--users", str(tmp_path / "users"), folder=folder).exception)
