"""Records become statistics between two batches, and a snapshot goes on where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from stream_app.following.content import Origin
from stream_app.statistics.live import LiveStatistics
from stream_app.statistics.position import FORMAT, Position, position_record
from tests.unit.builders.basics import make_record
from tests.unit.builders.exact_counting import ExactTable

ORIGIN = Origin("cluster", "shop.statistics")
SAID = position_record(Position(format=FORMAT, topic="e", epoch=1, offsets={0: 3}, written=2, until=1))


class Timer:
    """Time that passes when something is taken in."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class SlowTable(ExactTable):
    """Takes a millisecond for each call."""

    def __init__(self, timer: Timer) -> None:
        super().__init__()
        self.timer = timer

    def apply(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        super().apply(keys, values)
        self.timer.now += 0.001


def live(folder: Path, timer: Timer | None = None) -> tuple[LiveStatistics, ExactTable]:
    timer = timer or Timer()
    table = SlowTable(timer)
    return LiveStatistics(table, folder, lambda: 1000.0, timer), table


def records(start: int, end: int, value: int = 1) -> list[object]:
    return [make_record(b"%d" % value, key=b"%d" % number) for number in range(start, end)]


def test_while_batches_come_each_takes_in_a_little(tmp_path: Path) -> None:
    timer = Timer()
    statistics, table = live(tmp_path, timer)
    with statistics.up_to_date():
        assert not len(table)
    statistics.apply(records(0, 1000))
    assert (statistics.waiting, len(table)) == (1000, 0)
    sizes = []
    while statistics.waiting:
        before = timer.now
        with statistics.up_to_date():
            sizes.append(len(table))
        assert timer.now - before < 0.0035, "a batch waits for no more"
    assert sizes == [*range(128, 1000, 128), 1000]


def test_the_newest_record_of_a_key_counts_whenever_it_is_taken_in(tmp_path: Path) -> None:
    statistics, table = live(tmp_path)
    with statistics.up_to_date():
        pass
    statistics.apply(records(0, 300, 1))
    with statistics.up_to_date():
        pass
    statistics.apply([*records(0, 300, 2), make_record(None, key=b"7")])
    while statistics.waiting:
        with statistics.up_to_date():
            pass
    assert set(table.counts.values()) == {2}
    assert (len(table), b"7" in table.counts) == (299, False)


def test_while_no_batch_comes_all_is_taken_in_at_once(tmp_path: Path) -> None:
    timer = Timer()
    statistics, table = live(tmp_path, timer)
    statistics.apply(records(0, 1000))
    assert len(table) == 1000, "no batch was there yet"
    with statistics.up_to_date():
        pass
    timer.now += 1
    statistics.apply(records(1000, 2000))
    assert len(table) == 2000


def test_statistics_are_ready_once_all_events_were_counted(tmp_path: Path) -> None:
    statistics, table = live(tmp_path)
    for until, ready in ((0, False), (999_000, True), (0, True)):
        said = position_record(Position(format=FORMAT, topic="e", epoch=1, offsets={}, written=1_000_000, until=until))
        statistics.apply([make_record(said.value, key=said.key)])
        with statistics.up_to_date() as rows:
            assert rows is (table if ready else None), "what was whole once is better than a version's"


def test_a_snapshot_has_all_that_was_read_also_what_waits(tmp_path: Path) -> None:
    statistics, table = live(tmp_path)
    said = make_record(SAID.value, key=SAID.key)
    statistics.apply([*records(0, 1500), said])
    with statistics.up_to_date():
        pass
    statistics.apply([*records(1400, 1600, 5), make_record(None, key=b"7")])
    assert statistics.waiting == 201
    assert statistics.save(ORIGIN, {0: 9})
    again, read = live(tmp_path)
    assert again.load(ORIGIN, {0: 9}, 3600.0) == {0: 9}
    assert again.position == statistics.position
    assert again.position is not None
    while statistics.waiting:
        with statistics.up_to_date():
            pass
    assert read.counts == table.counts
    assert len(read) == 1599


def test_a_snapshot_that_cannot_be_used_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    statistics, _ = live(tmp_path)
    assert statistics.load(ORIGIN, {0: 9}, 3600.0) == {}
    assert not caplog.records
    statistics.apply(records(0, 10))
    assert statistics.save(ORIGIN, {0: 9})
    for ends, retention in (({0: 8}, 3600.0), ({0: 9}, -1.0)):
        again, read = live(tmp_path)
        assert again.load(ORIGIN, ends, retention) == {}
        assert not len(read)
    assert "ends at 8" in caplog.text
    assert "delete.retention.ms" in caplog.text


def test_no_snapshot_is_written_of_rows_that_change_places(tmp_path: Path) -> None:
    statistics, table = live(tmp_path)
    statistics.apply(records(0, 1500))
    pairs = table.records

    def moving(start: int, most: int) -> Sequence[tuple[bytes, bytes]]:
        table.generation += start == 0
        return pairs(start, most)

    table.records = moving  # type: ignore[method-assign]
    assert not statistics.save(ORIGIN, {0: 9})
    assert not list(tmp_path.iterdir())
