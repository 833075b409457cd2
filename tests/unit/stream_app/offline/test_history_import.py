"""A shop's files in the history: what the trainer learns is what the files say, in the order of time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from model.data.events import Actions, concatenate
from model.evaluation.split import in_order_of_time
from stream_app.cli.main import cli
from stream_app.errors import InputUnreadable
from stream_app.history.importer import Importer
from stream_app.offline.event_files import EventFile
from stream_app.offline.history_import import ImportProgress, import_logs
from stream_app.offline.log_reader import LogReader
from tests.unit.builders.histories import assert_same_actions, close_all, open_history
from tests.unit.builders.imports import imported_in

HEADER = "user_id,type,item_id,timestamp,category,price,event_id\n"


@pytest.fixture(autouse=True)
def _locks_are_released(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("stream_app.history.importer.PIECE", 20)
    monkeypatch.setattr("stream_app.offline.log_reader._CHUNK", 7)
    yield
    close_all()


def lines(first: int, end: int) -> str:
    """Rows of five users, whose times go back and forth a little."""
    times = {n: f"2026-01-02T10:{n // 60:02}:{(n * 7) % 60:02}Z" for n in range(first, end)}
    return "".join(
        f"u{n % 5},{'view' if n % 3 else 'cart'},i{n % 11},{time},c{n % 4},{n},e{n}\n" for n, time in times.items()
    )


def past(path: Path, rows: str) -> Path:
    path.write_text(HEADER + rows)
    return path


def nextact(*arguments: Any, folder: Path) -> Result:
    alone = ["--no-states"] if arguments[0] == "import" else []
    return CliRunner().invoke(cli, ["history", *map(str, arguments), *alone, "--history", str(folder)])


def summaries(result: Result) -> list[dict[str, Any]]:
    assert result.exception is None, result.exception
    return [json.loads(line) for line in result.stdout.splitlines()]


def learned(folder: Path) -> Actions:
    return concatenate(list(open_history(folder).chunks(100_000)))


def read(*logs: EventFile) -> Actions:
    """The actions of logs by the reader of `nextact evaluate`, in the order of time."""
    return in_order_of_time(LogReader().read(logs))


def test_files_of_all_formats_are_imported_once(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    table = past(tmp_path / "a.csv", lines(0, 33))
    objects = tmp_path / "b.jsonl"
    searches = [
        {"user_id": f"u{n}", "type": "search", "query": f"red {n}", "timestamp": 1_767_000_000_000 + n}
        for n in range(9)
    ]
    objects.write_text("".join(json.dumps(one) + "\n" for one in searches))
    columns = {"who": ["a", "b"], "what": ["x", "y"], "when": [1_766_000_000, 1_766_000_001]}
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    first = summaries(nextact("import", table, objects, "--json", folder=folder))
    assert [(one["file"], one["imported"]) for one in first] == [(str(table), 33), (str(objects), 9)]
    mapping = ("--column", "user_id=who", "--column", "item_id=what", "--column", "timestamp=when", "--type", "view")
    (third,) = summaries(nextact("import", tmp_path / "c.parquet", *mapping, "--json", folder=folder))
    assert (third["imported"], third["oldest"]) == (2, "2025-12-17T19:33:20.000+00:00")
    again = summaries(nextact("import", objects, table, "--json", folder=folder))
    assert [(one["imported"], one["known"]) for one in again] == [(0, 9), (0, 33)]
    parquet = EventFile(
        tmp_path / "c.parquet",
        columns={"user_id": "who", "item_id": "what", "timestamp": "when"},
        constant_type="view",
    )
    assert_same_actions(learned(folder), read(parquet, EventFile(objects), EventFile(table)))


def test_a_file_that_grew_brings_its_new_rows(tmp_path: Path) -> None:
    folder, path = tmp_path / "history", tmp_path / "a.csv"
    sizes = (5, 47, 48, 90)
    for before, size in zip((0, *sizes), sizes, strict=False):
        (summary,) = summaries(nextact("import", past(path, lines(0, size)), "--json", folder=folder))
        assert (summary["imported"], summary["known"]) == (size - before, before)
    assert_same_actions(learned(folder), read(EventFile(path)))


def test_rows_of_a_basket_are_lines_of_an_event(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    rows = "".join(f"u{n // 3},purchase,i{n},2026-01-02T10:00:{n // 3:02}Z,,{n},\n" for n in range(12))
    result = nextact("import", past(tmp_path / "a.csv", rows), "--baskets", folder=folder)
    assert "12 events imported, from 2026-01-02T10:00:00.000+00:00 to" in result.stdout
    assert learned(folder).lines.tolist() == [0, 1, 2] * 4
    assert [row["offset"] for row in imported_in(folder)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_rows_that_are_not_events_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    rows = lines(0, 9) + "u,view,,2026-01-02T10:00:00Z,,,\n" + "u,ping,i,2026-01-02T10:00:00Z,,,\n"
    (summary,) = summaries(
        nextact("import", past(tmp_path / "a.csv", rows), "--type-map", "ping=", "--json", folder=folder)
    )
    assert (summary["imported"], summary["left_out"], summary["skipped"]) == (9, 1, 1)
    assert "a.csv, line 11" in summary["first_fault"]
    said = nextact("import", tmp_path / "a.csv", "--type-map", "ping=", folder=folder).stdout
    assert "0 events imported, 9 were there, 1 rows are not events (the first: " in said
    assert "1 rows skipped" in said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("u,view,,2026-01-02T10:00:00Z,,,\n" * 9 + lines(0, 3), "9 of 12 rows of .* are not events; the first is"),
        ("", "no events in it"),
        (lines(0, 3) + "u,view,i,,,,\n", "line 5: no timestamp"),
        (lines(0, 3) + "u,what,i,2026-01-02T10:00:00Z,,,\n", "unknown type 'what'"),
    ],
)
def test_a_file_that_cannot_be_what_was_meant_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    folder = tmp_path / "history"
    result = nextact("import", past(tmp_path / "a.csv", rows), folder=folder)
    assert isinstance(result.exception, InputUnreadable)
    with pytest.raises(InputUnreadable, match=said):
        raise result.exception
    assert imported_in(folder) == []


def test_an_import_that_was_ended_goes_on(tmp_path: Path) -> None:
    folder, path = tmp_path / "history", past(tmp_path / "a.csv", lines(0, 90))
    shown: list[ImportProgress] = []

    def end(progress: ImportProgress) -> None:
        shown.append(progress)
        if progress.imported >= 40:
            raise KeyboardInterrupt

    importer = Importer(str(folder))
    with pytest.raises(KeyboardInterrupt):
        list(import_logs(importer, [EventFile(path)], lambda: 1.0, end))
    importer.close()
    assert [progress.imported for progress in shown] == [20, 40]
    assert len(imported_in(folder)) == 40
    (summary,) = summaries(nextact("import", path, "--json", folder=folder))
    assert (summary["imported"], summary["known"]) == (50, 40)
    assert_same_actions(learned(folder), read(EventFile(path)))


def test_what_was_imported_is_listed_and_erased(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    nextact("import", past(tmp_path / "a.csv", lines(0, 50)), folder=folder)
    (source,) = summaries(nextact("list", "--json", folder=folder))
    assert (source["imported"], source["files"], source["rows"]) == ("a.csv", 3, 50)
    assert nextact("list", folder=folder).stdout.splitlines()[-1].endswith("a.csv")
    (tmp_path / "users").write_text("u1\n")
    erased = json.loads(nextact("erase", "--users", tmp_path / "users", "--json", folder=folder).stdout)
    assert (erased["rows"], erased["files"]) == (10, 3)
    assert {row["user_id"] for row in imported_in(folder)} == {"u0", "u2", "u3", "u4"}


def test_a_past_that_is_longer_than_the_history_is_kept_is_pointed_out(tmp_path: Path) -> None:
    old = "u,view,i,2025-09-01T00:00:00Z,,,\n"
    result = nextact("import", past(tmp_path / "a.csv", old + lines(0, 9)), folder=tmp_path / "history")
    assert "goes back 123 days, and the trainer keeps events for 90 before the newest" in result.stderr
    assert "goes back" not in nextact("import", past(tmp_path / "b.csv", lines(0, 9)), folder=tmp_path / "other").stderr
