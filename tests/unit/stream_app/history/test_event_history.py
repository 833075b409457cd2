"""The history against the topic it was read from: every event once, whatever dies when."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model.data.event_time import judged
from model.data.events import Actions, actions_of, concatenate
from stream_app.contract.events import decode_batch
from stream_app.errors import HistoryFailed, HistoryUnusable
from stream_app.history.event_history import EventHistory
from stream_app.history.files import Stream
from stream_app.history.storage import HistoryStorage
from tests.unit.builders.histories import (
    DAY,
    HOUR,
    NOON,
    Reader,
    Topic,
    close_all,
    files_of,
    offsets,
    open_history,
    rows_in,
)

PARTITIONS = 3
STEPS = ("publish", "remove")  # what changes a place


@pytest.fixture(autouse=True)
def _locks_are_given_back() -> Iterator[None]:
    yield
    close_all()


class Killed(BaseException):
    """The process ends here."""


class Executioner:
    """Ends a history's process at the n-th change of its place: before it, half way, or after it."""

    def __init__(self, storage: HistoryStorage, nth: int, moment: str) -> None:
        self._storage, self._left, self._moment = storage, nth, moment
        for name in STEPS:
            setattr(storage, name, self._armed(getattr(storage, name)))

    def _armed(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            now = self._left == 0
            if now and self._moment == "before":
                raise Killed
            if now and self._moment == "half" and step.__name__ == "publish":
                self._leave_scratch(arguments[0])
                raise Killed
            result = step(*arguments, **options)
            if now:
                raise Killed
            return result

        return run

    def _leave_scratch(self, scratch: Path) -> None:
        """What is being written stays, cut off: nobody tidies up after `kill -9`."""
        (Path(self._storage.address) / f".{7:020d}.tmp").write_bytes(scratch.read_bytes()[:-9])


@st.composite
def topics(draw: st.DrawFn) -> Topic:
    """Events over some days, bad records and markers among them; clocks of publishers jump now and then."""
    topic = Topic()
    for partition in range(PARTITIONS):
        for number in range(draw(st.integers(0, 25))):
            kind = draw(st.sampled_from(["event"] * 5 + ["bad", "marker"]))
            jump = draw(st.sampled_from([0] * 9 + [300 * DAY, -300 * DAY, -NOON - 1]))
            topic.add(partition, kind=kind, time=NOON + 5 * HOUR * number + jump, user=f"u{number % 4}")
        topic.records.setdefault(partition, [])
    return topic


LIVES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.integers(0, 9), st.booleans()), max_size=8),
        st.booleans(),  # whether files are merged in the end
        st.integers(1, 8),  # the change of the place at which it is killed
        st.sampled_from(["before", "half", "after"]),
        st.none() | st.tuples(st.integers(0, 99), st.sampled_from(["cut", "garbage", "empty", "gone"])),
    ),
    max_size=8,
)


@settings(max_examples=60, phases=[Phase.generate, Phase.explicit], suppress_health_check=[HealthCheck.too_slow])
@given(topics(), LIVES)
def test_kills_and_damage_at_any_moment_neither_lose_nor_double_an_event(topic: Topic, lives: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for reads, merge, nth, moment, damage in lives:
            live(folder, topic, reads, merge=merge, nth=nth, moment=moment)
            if damage is not None:
                spoil(folder, *damage)
        reader = Reader(folder, topic).take_all().append()
        reader.history.keep_up(0)
        reader.close()
        assert offsets(rows_in(folder)) == topic.events()
        assert_in_order(folder)
        assert not list(folder.glob(".*.tmp"))


def live(folder: Path, topic: Topic, reads: list[Any], *, merge: bool, nth: int, moment: str) -> None:
    """A process from its start to its kill, or to a clean end if it makes fewer changes."""
    reader = Reader(folder, topic)
    try:
        Executioner(reader.history._storage, nth, moment)
        for partition, count, append in reads:
            reader.take(partition, count)
            if append:
                reader.append()
        if merge:
            reader.history.keep_up(0)
    except Killed:
        pass
    finally:
        reader.close()


def spoil(folder: Path, which: int, how: str) -> None:
    """Damages a file, if there is one."""
    files = files_of(folder)
    if not files or (how == "gone" and which % len(files) == 0):
        return  # nobody can know that the oldest file is gone
    path = files[which % len(files)]
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[:-20])
        case "garbage":
            path.write_bytes(b"PAR1" + bytes(500) + b"PAR1")
        case "empty":
            path.write_bytes(b"")
        case "gone":
            path.unlink()


def assert_in_order(folder: Path) -> None:
    """Files by number give every partition in the order of its offsets."""
    seen: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows_in(folder):
        seen[row["partition"]].append(row["offset"])
    assert all(found == sorted(found) for found in seen.values())


def filled(days: int = 3, per_day: int = 4, partitions: int = 2) -> Topic:
    """Some events on each of some days."""
    topic = Topic()
    for number in range(days * per_day):
        for partition in range(partitions):
            time = NOON + number // per_day * DAY + number % per_day
            topic.add(partition, user=f"u{number % 3}", time=time, event_id=f"{partition}-{number}")
    return topic


def written(folder: Path, topic: Topic, by: int = 2) -> Reader:
    """A reader that has made a file of every `by` records of each partition."""
    reader = Reader(folder, topic)
    while any(reader.read.get(partition, 0) < len(log) for partition, log in topic.records.items()):
        for partition in topic.records:
            reader.take(partition, by)
        reader.append()
    return reader


def test_a_day_that_is_over_is_one_file(tmp_path: Path) -> None:
    reader = written(tmp_path, filled(days=3, per_day=4))
    assert len(files_of(tmp_path)) == 6
    before = rows_in(tmp_path)
    reader.history.keep_up(0)
    assert [path.parent.name for path in files_of(tmp_path)] == [
        "day=2026-01-02",
        "day=2026-01-03",
        "day=2026-01-04",
        "day=2026-01-04",
    ]
    assert rows_in(tmp_path) == before
    assert [file.rows for file in reader.history.files] == [8, 8, 4, 4]


def test_events_up_to_a_file_are_the_same_whatever_comes_after_it(tmp_path: Path) -> None:
    topic = filled(days=3, per_day=4)
    reader = Reader(tmp_path, topic).take(0, 5).append()
    assert reader.history.newest == 1
    before = concatenate(list(reader.history.chunks(100)))
    reader.take_all().append()
    assert sum(map(len, reader.history.chunks(100))) > len(before)
    again = concatenate(list(reader.history.chunks(100, 1)))
    assert (again.users, again.items, again.times.tolist()) == (before.users, before.items, before.times.tolist())


def test_what_a_merge_left_behind_when_it_was_killed_goes_at_the_next_start(tmp_path: Path) -> None:
    topic = filled()
    reader = written(tmp_path, topic)
    Executioner(reader.history._storage, 1, "after")
    with pytest.raises(Killed):
        reader.history.keep_up(0)
    reader.close()
    assert len(rows_in(tmp_path)) > sum(topic.events().values())
    Reader(tmp_path, topic)
    assert offsets(rows_in(tmp_path)) == topic.events()


def test_old_days_are_forgotten_and_the_newest_file_never(tmp_path: Path) -> None:
    reader = written(tmp_path, filled(days=5))
    reader.now = NOON + 5 * DAY
    reader.history.keep_up(2)
    assert {path.parent.name for path in files_of(tmp_path)} == {"day=2026-01-04", "day=2026-01-05", "day=2026-01-06"}
    reader.history.keep_up(1e-9)
    assert len(files_of(tmp_path)) == 1


@pytest.mark.parametrize("years", [40, -20])
def test_a_clock_that_jumped_costs_no_history(tmp_path: Path, years: int) -> None:
    """That of a publisher, then that of the trainer; a wrong time is in the middle and in the newest file."""
    topic = filled(days=3)
    topic.add(0, time=NOON + years * 365 * DAY)
    reader = written(tmp_path, topic)
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
    assert min(row["offset"] for row in rows_in(tmp_path)) == 12


def test_a_damaged_file_is_set_aside_and_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    topic = filled()
    written(tmp_path, topic).close()
    victim = files_of(tmp_path)[2]
    victim.write_bytes(victim.read_bytes()[:100])
    reader = Reader(tmp_path, topic)
    assert "damaged file of the history" in caplog.text
    assert victim.name in caplog.text
    assert offsets(rows_in(tmp_path)) == topic.events()
    assert_in_order(tmp_path)
    assert [path.name for path in tmp_path.rglob("_*")] == [f"_{victim.name}.damaged-closed"]
    reader.close()


@pytest.mark.parametrize("victims", [[0], [1], [0, 1, 3], [5]])
def test_damage_is_repaired_though_the_process_died_before_it_could(tmp_path: Path, victims: list[int]) -> None:
    topic = filled()
    written(tmp_path, topic).close()
    for victim in victims:
        files_of(tmp_path)[victim].write_bytes(b"")
    for _ in range(2):
        open_history(tmp_path).close()
    reader = Reader(tmp_path, topic).take_all().append()
    assert offsets(rows_in(tmp_path)) == topic.events()
    reader.history.keep_up(0)
    reader.close()
    assert open_history(tmp_path).gaps == []


def test_damage_to_the_first_file_of_a_new_partition_is_repaired_once(tmp_path: Path) -> None:
    """The files before it do not have the partition, and lack nothing of it."""
    topic = filled()
    reader = Reader(tmp_path, topic)
    for partition in (0, 0, 0, 1, 1):
        reader.take(partition, 2).append()
    reader.close()
    files_of(tmp_path)[3].write_bytes(b"")
    reader = Reader(tmp_path, topic).take_all().append()
    assert offsets(rows_in(tmp_path)) == topic.events()
    assert len(list(tmp_path.rglob("_*"))) == 1


def columns_of(path: Path) -> list[Any]:
    group = pq.read_metadata(path).row_group(0)
    return [group.column(number) for number in range(group.num_columns)]


def test_damage_inside_a_file_ends_the_process_and_the_next_start_repairs(tmp_path: Path) -> None:
    topic = filled()
    reader = written(tmp_path, topic)
    victim = files_of(tmp_path)[1]
    users = next(column for column in columns_of(victim) if column.path_in_schema == "user_id")
    content = bytearray(victim.read_bytes())
    content[users.dictionary_page_offset + users.total_compressed_size - 1] ^= 255
    victim.write_bytes(content)
    with pytest.raises(HistoryFailed, match=r"is damaged .* reads its events from Kafka again"):
        concatenate(list(reader.history.chunks(1000)))
    reader.close()
    Reader(tmp_path, topic).close()
    assert offsets(rows_in(tmp_path)) == topic.events()


def test_a_file_from_elsewhere_does_not_count(tmp_path: Path) -> None:
    topic = filled()
    written(tmp_path / "a", topic).close()
    written(tmp_path / "b", topic, by=3).close()
    mine, other = files_of(tmp_path / "a")[2], files_of(tmp_path / "b")[2]
    shutil.copy(other, mine)
    Reader(tmp_path / "a", topic).close()
    assert offsets(rows_in(tmp_path / "a")) == topic.events()


def test_a_hole_that_kafka_cannot_fill_is_reported_once(tmp_path: Path) -> None:
    topic = filled()
    written(tmp_path, topic).close()
    files_of(tmp_path)[2].unlink()
    history = open_history(tmp_path)
    (gap,) = history.gaps
    with history.fill_gap(gap, gap.spans, written=NOON, missing=4):
        pass
    history.close()
    history = open_history(tmp_path)
    assert history.gaps == []
    assert sum(file.metadata.missing for file in history.files) == 4
    assert history.rows == sum(topic.events().values()) - 4


def test_a_gap_after_retention_is_part_of_the_next_file(tmp_path: Path) -> None:
    topic = filled(days=1, per_day=9, partitions=1)
    Reader(tmp_path, topic).take(0, 3).append().close()
    topic.firsts[0] = 7
    Reader(tmp_path, topic).take_all().append(missing=4).close()
    reader = Reader(tmp_path, topic)
    assert reader.history.gaps == []
    assert [row["offset"] for row in rows_in(tmp_path)] == [0, 1, 2, 7, 8]
    assert [file.metadata.missing for file in reader.history.files] == [0, 4]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Reader(tmp_path, Topic())
    with pytest.raises(HistoryUnusable, match=r"in use by pid \d+ on \S+: stop that one"):
        EventHistory(HistoryStorage(str(tmp_path)))
    first.close()
    open_history(tmp_path)


def test_without_a_lock_the_second_writer_of_a_number_ends(tmp_path: Path) -> None:
    topic = filled()
    first, second = (Reader("memory://t", topic) for _ in range(2))
    first.take_all().append()
    with pytest.raises(HistoryFailed, match="written by another process"):
        second.take_all().append()


def test_another_stream_is_refused_and_a_higher_epoch_goes_on(tmp_path: Path) -> None:
    topic = filled()
    written(tmp_path, topic).close()
    for other in (Stream("cluster-2", "shop.events", 1), Stream("cluster-1", "other", 1), Stream("c", "o", 0)):
        history = open_history(tmp_path)
        with pytest.raises(HistoryUnusable, match="set NEXTACT_STREAM_EPOCH above 1; else set NEXTACT_HISTORY"):
            history.positions(other)
        history.close()
    anew = filled(days=1)
    raised = Stream("cluster-2", "shop.events", 2)
    reader = Reader(tmp_path, anew, stream=raised).take_all().append()
    assert reader.history.rows == sum(topic.events().values()) + sum(anew.events().values())
    reader.close()
    again = Reader(tmp_path, anew, stream=raised)
    assert again.read == {0: 4, 1: 4}
    assert offsets(rows_in(tmp_path)) == topic.events() + anew.events()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        HistoryUnusable, match=r"cannot be written: .*Set NEXTACT_HISTORY to a folder or address that can be"
    ):
        EventHistory(HistoryStorage(str(tmp_path / "file" / "history")))
    with pytest.raises(HistoryUnusable, match="neither a folder nor an fsspec address"):
        HistoryStorage("nowhere://x")


def test_a_full_disk_ends_the_process_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = filled()
    reader = Reader(tmp_path, topic).take(0).append().take_all()
    kept = rows_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(reader.history._storage, "scratch", lambda _: nullcontext(Path("/dev/full")))
        with pytest.raises(HistoryFailed, match="No space left on device") as failure:
            reader.append()
        assert failure.value.exit_code == 70
        assert rows_in(tmp_path) == kept
    reader.append()
    assert offsets(rows_in(tmp_path)) == topic.events()


def actions_of_topic(topic: Topic, positions_: list[tuple[int, int]]) -> Actions:
    """What the model reads of these records, by way of the events and not of files."""
    decoded = decode_batch([record for p, o in positions_ if (record := topic.records[p][o]) is not None])
    return actions_of(decoded.events, judged(decoded.times, decoded.record_times)[0])


def assert_same(found: Actions, wanted: Actions) -> None:
    for name in Actions.__slots__:
        one, other = getattr(found, name), getattr(wanted, name)
        assert list(one) == list(other), name
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None), name


VARIED: list[dict[str, Any]] = [
    {"type": "search", "query": "Red shoes été", "item_id": None},
    {"type": "search", "query": "", "item_id": "of no account"},
    {"type": "purchase", "price": 12.5, "quantity": -1, "currency": "EUR"},
    {"type": "Product Added", "category": "a", "brand": "b", "session_id": "s", "event_id": "e"},
    {"timestamp": "2026-01-01T00:00:00Z", "price": 0},
    {"timestamp": 5, "category": "", "brand": "é" * 300},
    {"timestamp": NOON + 300 * DAY},
]


def test_actions_are_those_of_the_events(tmp_path: Path) -> None:
    topic = Topic()
    for number, fields in enumerate(VARIED * 3):
        given = {"event_id": f"{number}"} if "event_id" not in fields else {"event_id": f"e{number}"}
        topic.add(number % 2, user=f"u{number % 5}", time=-1 if number % 7 == 5 else NOON + number, **fields | given)
    reader = written(tmp_path, topic, by=4)
    order = [(row["partition"], row["offset"]) for row in rows_in(tmp_path)]
    assert len(order) == 3 * len(VARIED)
    assert_same(concatenate(list(reader.history.chunks(1000))), actions_of_topic(topic, order))


@pytest.mark.parametrize("most", [1, 3, 8, 15, 24, 1000])
def test_the_newest_events_are_taken(tmp_path: Path, most: int) -> None:
    topic = filled()
    reader = written(tmp_path, topic)
    reader.history.keep_up(0)
    order = [(row["partition"], row["offset"]) for row in rows_in(tmp_path)]
    assert_same(concatenate(list(reader.history.chunks(most))), actions_of_topic(topic, order[-most:]))


def test_chunks_are_the_actions_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.history.files.ROWS", 5)
    topic = filled()
    reader = written(tmp_path, topic, by=12)
    sizes = [len(chunk) for chunk in reader.history.chunks(22)]
    assert max(sizes) <= 5
    assert sum(sizes) == 22
    order = [(row["partition"], row["offset"]) for row in rows_in(tmp_path)]
    assert_same(concatenate(list(reader.history.chunks(22))), actions_of_topic(topic, order[-22:]))


def test_an_event_id_that_came_before_counts_once(tmp_path: Path) -> None:
    topic = Topic()
    for user, event_id in [("ada", "1"), ("ada", "1"), ("bob", "1"), ("ada", "2"), ("ada", "1"), ("ada", None)] * 2:
        topic.add(0, user=user, event_id=event_id)
    reader = written(tmp_path, topic, by=5)
    found = concatenate(list(reader.history.chunks(1000)))
    assert found.users == ["ada", "bob", "ada", "ada", "ada"]
    assert found.items == ["item 0", "item 2", "item 3", "item 5", "item 11"]
