"""Formats of the history's files: mixed in one history, rewritten, and read by the version before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from model.data.events import concatenate
from stream_app.history.tables import EVENTS, EVENTS_BEFORE, SCHEMA, Table, events_table
from tests.older import older_code, run_older
from tests.unit.builders.histories import (
    DAY,
    NOON,
    Reader,
    Topic,
    actions_at,
    assert_same_actions,
    close_all,
    files_of,
    offsets,
    open_history,
    rows_in,
)


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


def basket_topic(days: int = 3, per_day: int = 6) -> Topic:
    """Makes a topic with baskets of one to three lines, by four users, in two partitions."""
    topic = Topic()
    for number in range(days * per_day):
        lines = [{"item_id": f"i{number}.{line}"} for line in range(1 + number % 3)]
        time = NOON + number // per_day * DAY + number
        topic.add(number % 2, user=f"u{number % 4}", time=time, event_id=f"e{number}", market="DE", items=lines)
    return topic


def write(folder: Path, topic: Topic, count: int, table: Table) -> None:
    """Reads the next `count` records of each partition into two files."""
    reader = Reader(folder, topic, table=table)
    for _ in range(2):
        for partition in topic.records:
            reader.take(partition, count // 2)
        reader.append()
    reader.close()


def columns_of(folder: Path) -> list[set[str]]:
    """The columns by which the files' formats differ."""
    differing = {"line", "market"}
    return [set(pq.read_schema(path).names) & differing for path in files_of(folder)]


def actions_in(folder: Path) -> Any:
    return concatenate(list(open_history(folder).chunks(1000)))


def expected(folder: Path, topic: Topic) -> Any:
    return actions_at(topic, dict.fromkeys((row["partition"], row["offset"]) for row in rows_in(folder)))


def test_the_setting_chooses_the_format() -> None:
    assert events_table("current") == EVENTS
    assert events_table("previous").written.names == [name for name in SCHEMA.names if name not in ("line", "market")]
    assert EVENTS.written == SCHEMA


def test_formats_are_mixed_and_merged_into_the_one_that_is_written(tmp_path: Path) -> None:
    topic = basket_topic()
    for table in (EVENTS_BEFORE, EVENTS, EVENTS_BEFORE):
        write(tmp_path, topic, 2, table)
    write(tmp_path, topic, 1000, EVENTS)
    assert len(set(map(frozenset, columns_of(tmp_path)))) == 2
    assert_same_actions(actions_in(tmp_path), expected(tmp_path, topic))
    close_all()
    history = open_history(tmp_path)
    history.keep_up(0)
    merged, *_ = rows_in(tmp_path), columns_of(tmp_path)
    assert columns_of(tmp_path)[0] == {"line", "market"}
    assert history.rows == len(merged) == sum(1 + number % 3 for number in range(18))
    close_all()
    assert_same_actions(actions_in(tmp_path), expected(tmp_path, topic))


def test_a_history_can_be_written_again_in_the_format_before(tmp_path: Path) -> None:
    topic = basket_topic()
    write(tmp_path, topic, 4, EVENTS)
    write(tmp_path, topic, 1000, EVENTS_BEFORE)
    kept = files_of(tmp_path)[-1].stat().st_ino
    history = open_history(tmp_path, EVENTS_BEFORE)
    history.use_format()
    assert {file.metadata.format for file in history.files} == {1}
    assert set(map(frozenset, columns_of(tmp_path))) == {frozenset()}
    assert files_of(tmp_path)[-1].stat().st_ino == kept, "only files of a later format are written again"
    close_all()
    assert_same_actions(actions_in(tmp_path), expected(tmp_path, topic))
    close_all()
    history = open_history(tmp_path)
    history.use_format()
    assert {file.metadata.format for file in history.files} == {1}, "files of an earlier format stay"


READ_BEFORE = """
import json, sys
from stream_app.history.event_history import EventHistory
from stream_app.history.files import Stream
from stream_app.history.storage import HistoryStorage
STREAM = Stream("cluster-1", "shop.events", 1)
history = EventHistory(HistoryStorage(sys.argv[1]))
history.keep_up(0)
chunks = list(history.chunks(1000))
print(json.dumps({
    "files": len(history.files), "gaps": len(history.gaps), "rows": history.rows, "last": history.last_rows(),
    "positions": history.positions(STREAM), "items": [item for chunk in chunks for item in chunk.items],
}))
history.close()
"""


@pytest.fixture(scope="module")
def code_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as it was before format 2."""
    return older_code(tmp_path_factory.mktemp("before"))


def before(code: Path, script: str, folder: Path) -> Any:
    """Runs a script by the program as it was."""
    return json.loads(run_older(code, script, str(folder)))


@pytest.mark.parametrize("damage", [False, True])
def test_the_version_before_reads_what_was_written_for_it(tmp_path: Path, code_before: Path, damage: bool) -> None:
    """Each line is a row at its event's offset. That version takes an event's later lines for repeats."""
    topic = basket_topic()
    for partition in (0, 1):
        topic.add(partition, kind="shown", time=NOON)
    write(tmp_path, topic, 8, EVENTS)
    write(tmp_path, topic, 1000, EVENTS)
    if damage:  # the gap is filled in the format before, too
        files_of(tmp_path)[1].write_bytes(b"")
    reader = Reader(tmp_path, topic, table=EVENTS_BEFORE)
    reader.history.use_format()
    reader.close()
    found = before(code_before, READ_BEFORE, tmp_path)
    assert (found["files"], found["gaps"]) == (len(files_of(tmp_path)), 0)
    assert found["rows"] == sum(1 + number % 3 for number in range(18))
    assert found["positions"] == {"0": 10, "1": 10}
    assert found["last"] == {"0": [8, NOON + 2 * DAY + 16], "1": [8, NOON + 2 * DAY + 17]}
    events = dict.fromkeys(row["event_id"] for row in rows_in(tmp_path))
    assert found["items"] == [f"i{event[1:]}.0" for event in events]
    assert_same_actions(actions_in(tmp_path), expected(tmp_path, topic))
    assert set(offsets(rows_in(tmp_path))) == set(topic.events())
