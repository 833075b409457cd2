"""Records of the items topic, and a folder: a plain reader of the same records is the oracle."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.items.item import Item
from stream_app.contract.items import decode_details
from stream_app.contract.records import UnreadableBatch
from stream_app.following.content import Origin, Record
from stream_app.following.snapshots import UNFINISHED
from stream_app.items.local_catalogue import LocalCatalogue
from tests.unit.builders.basics import make_record
from tests.unit.builders.catalogues import ORIGIN

NOW = 1_000_000.0
ENDS = {0: 100, 1: 100}
DAY = 86_400.0
VALUES = st.sampled_from([b"{}", b'{"title":"a","url":"u"}', b'{"title":"b"}', b"[]", b"{", None])
RECORDS = st.lists(st.tuples(st.sampled_from([b"1", b"2", b"3", b""]), VALUES), max_size=12)


made: list[LocalCatalogue] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    for found in made:
        found.close()
    made.clear()


def local(folder: Path, now: float = NOW) -> LocalCatalogue:
    made.append(LocalCatalogue(folder / "items", lambda: now))
    return made[-1]


def record(key: bytes, value: bytes | None, offset: int = 0) -> Record:
    return make_record(value, key=key, offset=offset)


def contents(found: LocalCatalogue) -> dict[str, tuple[str, str]]:
    """Title and page by item."""
    items, details = found.items, found.details
    return {
        item.item_id: (item.title, decode_details(details.get(int(items.column("details")[row]))).url)
        for item in items
        if (row := items.row_of(item.item_id)) >= 0
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(RECORDS, st.integers(1, 5))
def test_the_newest_good_record_of_an_item_counts(
    tmp_path: Path, records: list[tuple[bytes, bytes | None]], batch: int
) -> None:
    known, bad, found = dict[str, tuple[str, str]](), 0, local(tmp_path)
    for key, value in records:
        if not key or value in (b"[]", b"{"):
            bad += 1
        elif value is None:
            known.pop(key.decode(), None)
        else:
            fields = json.loads(value)
            known[key.decode()] = fields.get("title", ""), fields.get("url", "")
    rejected = [
        one
        for first in range(0, len(records), batch)
        for one in found.apply([record(*each) for each in records[first : first + batch]])
    ]
    assert len(rejected) == bad
    assert contents(found) == known
    assert found.save(ORIGIN, {0: 7})
    again = local(tmp_path)
    assert again.load(ORIGIN, ENDS, DAY) == {0: 7}
    assert contents(again) == contents(found) == known
    again.path.unlink()


def test_what_is_no_item_says_why_and_what_was_known_stays(tmp_path: Path) -> None:
    found = local(tmp_path)
    damaged = UnreadableBatch(**vars(make_record(None, key=None)), first_offset=3, reason="too_large", message="why")
    rejected = found.apply([record(b"1", b'{"title":"a"}'), record(b"1", b"{", offset=4), damaged])
    assert [one.rejection.reason for one in rejected] == ["not_json", "too_large"]
    assert rejected[0].record.offset == 4
    assert list(found.items) == [Item("1", title="a")]


def saved(folder: Path, **offsets: int) -> LocalCatalogue:
    found = local(folder)
    found.apply([record(b"1", b'{"title":"a"}')])
    assert found.save(ORIGIN, {int(name[1:]): offset for name, offset in offsets.items()})
    return found


@pytest.mark.parametrize(
    ("origin", "ends", "now", "why"),
    [
        (Origin("other", ORIGIN.topic), ENDS, NOW, "of cluster"),
        (ORIGIN, {0: 5, 1: 100}, NOW, "partition 0 ends at 5"),
        (ORIGIN, {1: 100}, NOW, "partition 0 ends at 0"),
        (ORIGIN, ENDS, NOW + DAY + 1, "delete.retention.ms"),
    ],
)
def test_another_snapshot_is_not_gone_on_with(
    tmp_path: Path, origin: Origin, ends: dict[int, int], now: float, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, p0=6)
    again = local(tmp_path, now)
    assert again.load(origin, ends, DAY) == {}
    assert not len(again.items)
    assert why in caplog.text


def test_a_damaged_snapshot_is_not_gone_on_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = saved(tmp_path, p0=6)
    content = found.path.read_bytes()
    found.path.write_bytes(content[: len(content) // 2])
    again = local(tmp_path)
    assert again.load(ORIGIN, ENDS, DAY) == {}
    assert "cut off" in caplog.text
    assert again.apply([record(b"2", b"{}")]) == []
    assert again.save(ORIGIN, {0: 6}), "the damaged one has the same offsets, and is written over if it cannot be read"


def test_a_snapshot_of_another_process_that_is_as_new_stays(tmp_path: Path) -> None:
    newer, older = saved(tmp_path, p0=6, p1=3), saved(tmp_path, p0=5, p1=3)
    assert local(tmp_path).load(ORIGIN, ENDS, DAY) == {0: 6, 1: 3}
    older.apply([record(b"2", b"{}")])
    assert older.save(ORIGIN, {0: 5, 1: 4})
    assert local(tmp_path).load(ORIGIN, ENDS, DAY) == {0: 5, 1: 4}
    assert contents(newer) == {"1": ("a", "")}


def test_a_folder_that_cannot_be_written_is_said_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "items").touch()
    found = local(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert found.load(ORIGIN, ENDS, DAY) == {}
        assert found.apply([record(b"1", b'{"title":"a","url":"u"}')]) == []
        assert not found.save(ORIGIN, {0: 1})
    assert contents(found) == {"1": ("a", "")}
    assert "no snapshot of the catalogue was written" in caplog.text


def test_nothing_is_written_for_a_catalogue_that_is_not_there(tmp_path: Path) -> None:
    assert local(tmp_path).load(ORIGIN, ENDS, DAY) == {}
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_behind_is_removed_later(tmp_path: Path) -> None:
    found = saved(tmp_path, p0=6)
    for name, age in (("1", 7200.0), ("2", 60.0)):
        path = found.path.with_name(f"{UNFINISHED}{name}")
        path.touch()
        os.utime(path, (NOW - age, NOW - age))
    local(tmp_path).load(ORIGIN, ENDS, DAY)
    assert sorted(path.name for path in found.path.parent.iterdir()) == [f"{UNFINISHED}2", "snapshot"]
