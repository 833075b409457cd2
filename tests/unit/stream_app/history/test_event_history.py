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

from model.data.events import concatenate
from stream_app.errors import HistoryFailed, HistoryUnusable
from stream_app.history.event_history import EventHistory
from stream_app.history.files import Stream
from tests.unit.builders.histories import (
    DAY,
    HOUR,
    NOON,
    Reader,
    Topic,
    actions_at,
    assert_same_actions,
    close_all,
    files_of,
    make_topic,
    offsets,
    open_history,
    positions_in,
    read_in_steps,
    rows_in,
    shown_in,
)

PARTITIONS = 3
CHANGES = ("publish", "remove")  # the methods that change a storage


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


class ProcessKilled(BaseException):
    """The process ends here."""


class Executioner:
    """Ends a history's process at the n-th change of its files: before it, half way, or after it."""

    def __init__(self, history: EventHistory, nth: int, moment: str) -> None:
        storage, shown = history.events.storage, history.shown.storage
        self._left, self._moment = nth, moment
        for one in (storage, shown):
            for name in CHANGES:
                setattr(one, name, self._armed(getattr(one, name)))

    def _armed(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            now = self._left == 0
            if now and self._moment == "before":
                raise ProcessKilled
            if now and self._moment == "half" and change.__name__ == "publish":
                _leave_scratch(arguments[0])
                raise ProcessKilled
            result = change(*arguments, **options)
            if now:
                raise ProcessKilled
            return result

        return run


def _leave_scratch(scratch: Path) -> None:
    """Leaves what is being written, cut off: nobody tidies up after `kill -9`."""
    scratch.with_name(f".{7:020d}.tmp").write_bytes(scratch.read_bytes()[:-9])


@st.composite
def topics(draw: st.DrawFn) -> Topic:
    """Events over some days, bad records and markers among them; clocks of publishers jump now and then."""
    topic = Topic()
    for partition in range(PARTITIONS):
        for number in range(draw(st.integers(0, 25))):
            kind = draw(st.sampled_from(["event"] * 5 + ["bad", "marker", "shown", "shown"]))
            jump = draw(st.sampled_from([0] * 9 + [300 * DAY, -300 * DAY, -NOON - 1]))
            topic.add(partition, kind=kind, time=NOON + 5 * HOUR * number + jump, user=f"u{number % 4}")
        topic.records.setdefault(partition, [])
    return topic


DAMAGE = ["cut", "garbage", "empty", "gone"]
LIVES = st.lists(
    st.tuples(
        # What is read: the partition, how many records, and whether a file is written then.
        st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.integers(0, 9), st.booleans()), max_size=8),
        st.booleans(),  # whether files are merged in the end
        st.integers(1, 8),  # the change of the storage at which it is killed
        st.sampled_from(["before", "half", "after"]),
        st.none() | st.tuples(st.sampled_from([".", "_shown"]), st.integers(0, 99), st.sampled_from(DAMAGE)),
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
                table, which, how = damage
                spoil(folder / table, which, how)
        reader = Reader(folder, topic).take_all().append()
        reader.history.keep_up(0)
        reader.close()
        assert offsets(rows_in(folder)) == topic.events()
        assert offsets(shown_in(folder)) == topic.shown()
        assert_in_order(folder)
        assert_in_order(folder / "_shown")
        assert not list(folder.rglob(".*.tmp"))


def live(folder: Path, topic: Topic, reads: list[Any], *, merge: bool, nth: int, moment: str) -> None:
    """Runs a process from its start to its kill, or to a clean end if it makes fewer changes."""
    reader = Reader(folder, topic)
    try:
        Executioner(reader.history, nth, moment)
        for partition, count, append in reads:
            reader.take(partition, count)
            if append:
                reader.append()
        if merge:
            reader.history.keep_up(0)
    except ProcessKilled:
        pass
    finally:
        reader.close()


def unnoticed(folder: Path, files: int) -> tuple[int, ...]:
    """Nobody can know that the oldest file is gone, nor the newest of what was shown, where none may have followed."""
    return (0, files - 1) if folder.name == "_shown" else (0,)


def spoil(folder: Path, which: int, how: str) -> None:
    """Damages a file, if there is one."""
    files = files_of(folder)
    if not files or (how == "gone" and which % len(files) in unnoticed(folder, len(files))):
        return
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
    """Checks that the files, by number, have every partition in the order of its offsets."""
    seen: defaultdict[int, list[int]] = defaultdict(list)
    for partition, offset in positions_in(folder):
        seen[partition].append(offset)
    assert all(of_partition == sorted(of_partition) for of_partition in seen.values())


def test_events_up_to_a_file_are_the_same_whatever_comes_after_it(tmp_path: Path) -> None:
    topic = make_topic(days=3, per_day=4)
    reader = Reader(tmp_path, topic).take(0, 5).append()
    assert reader.history.newest == 1
    before = concatenate(list(reader.history.chunks(100)))
    reader.take_all().append()
    assert sum(map(len, reader.history.chunks(100))) > len(before)
    again = concatenate(list(reader.history.chunks(100, 1)))
    assert (again.users, again.items, again.times.tolist()) == (before.users, before.items, before.times.tolist())


def test_files_that_a_killed_merge_left_behind_are_removed_at_the_next_start(tmp_path: Path) -> None:
    topic = make_topic()
    reader = read_in_steps(tmp_path, topic)
    Executioner(reader.history, 1, "after")
    with pytest.raises(ProcessKilled):
        reader.history.keep_up(0)
    reader.close()
    assert len(rows_in(tmp_path)) > sum(topic.events().values())
    Reader(tmp_path, topic)
    assert offsets(rows_in(tmp_path)) == topic.events()


def test_a_damaged_file_is_set_aside_and_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    topic = make_topic()
    read_in_steps(tmp_path, topic).close()
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
    topic = make_topic()
    read_in_steps(tmp_path, topic).close()
    for victim in victims:
        files_of(tmp_path)[victim].write_bytes(b"")
    for _ in range(2):
        open_history(tmp_path).close()
    reader = Reader(tmp_path, topic).take_all().append()
    assert offsets(rows_in(tmp_path)) == topic.events()
    reader.history.keep_up(0)
    reader.close()
    assert open_history(tmp_path).events.gaps == []


def test_damage_to_the_first_file_of_a_new_partition_is_repaired_once(tmp_path: Path) -> None:
    """The files before it do not have the partition, and lack nothing of it."""
    topic = make_topic()
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
    topic = make_topic()
    reader = read_in_steps(tmp_path, topic)
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


def test_a_file_of_another_history_does_not_count(tmp_path: Path) -> None:
    topic = make_topic()
    read_in_steps(tmp_path / "a", topic).close()
    read_in_steps(tmp_path / "b", topic, step=3).close()
    shutil.copy(files_of(tmp_path / "b")[2], files_of(tmp_path / "a")[2])
    Reader(tmp_path / "a", topic).close()
    assert offsets(rows_in(tmp_path / "a")) == topic.events()


def test_a_gap_that_kafka_cannot_fill_is_reported_once(tmp_path: Path) -> None:
    topic = make_topic()
    read_in_steps(tmp_path, topic).close()
    files_of(tmp_path)[2].unlink()
    history = open_history(tmp_path)
    (gap,) = history.events.gaps
    with history.events.fill_gap(gap, gap.spans, written=NOON, missing=4):
        pass
    history.close()
    history = open_history(tmp_path)
    assert history.events.gaps == []
    assert sum(file.metadata.missing for file in history.files) == 4
    assert history.rows == sum(topic.events().values()) - 4


def test_what_retention_removed_belongs_to_the_span_of_the_next_file(tmp_path: Path) -> None:
    topic = make_topic(days=1, per_day=9, partitions=1)
    Reader(tmp_path, topic).take(0, 3).append().close()
    topic.firsts[0] = 7
    Reader(tmp_path, topic).take_all().append(missing=4).close()
    reader = Reader(tmp_path, topic)
    assert reader.history.events.gaps == []
    assert positions_in(tmp_path) == [(0, 0), (0, 1), (0, 2), (0, 7), (0, 8)]
    assert [file.metadata.missing for file in reader.history.files] == [0, 4]


def test_another_stream_is_refused_and_a_higher_epoch_goes_on(tmp_path: Path) -> None:
    topic = make_topic()
    read_in_steps(tmp_path, topic).close()
    for other in (Stream("cluster-2", "shop.events", 1), Stream("cluster-1", "other", 1), Stream("c", "o", 0)):
        history = open_history(tmp_path)
        with pytest.raises(HistoryUnusable, match="set NEXTACT_STREAM_EPOCH above 1; else set NEXTACT_HISTORY"):
            history.positions(other)
        history.close()
    new_topic = make_topic(days=1)
    raised = Stream("cluster-2", "shop.events", 2)
    reader = Reader(tmp_path, new_topic, stream=raised).take_all().append()
    assert reader.history.rows == sum(topic.events().values()) + sum(new_topic.events().values())
    reader.close()
    again = Reader(tmp_path, new_topic, stream=raised)
    assert again.read == {0: 4, 1: 4}
    assert offsets(rows_in(tmp_path)) == topic.events() + new_topic.events()


def test_the_last_rows_are_those_of_the_newest_stream(tmp_path: Path) -> None:
    reader = read_in_steps(tmp_path, make_topic(days=2))
    assert reader.history.last_rows() == {0: (7, NOON + DAY + 3), 1: (7, NOON + DAY + 3)}
    reader.close()
    raised = Stream("cluster-2", "shop.events", 2)
    reader = Reader(tmp_path, make_topic(days=1, partitions=1), stream=raised).take(0, 2).append()
    assert reader.history.last_rows() == {0: (1, NOON + 1)}


def test_a_full_disk_ends_the_process_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = make_topic()
    reader = Reader(tmp_path, topic).take(0).append().take_all()
    before = rows_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(reader.history._storage, "scratch", lambda _: nullcontext(Path("/dev/full")))
        with pytest.raises(HistoryFailed, match="No space left on device") as failure:
            reader.append()
        assert failure.value.exit_code == 70
        assert rows_in(tmp_path) == before
    reader.append()
    assert offsets(rows_in(tmp_path)) == topic.events()


@pytest.mark.parametrize("most", [1, 3, 8, 15, 24, 1000])
def test_the_newest_events_are_read(tmp_path: Path, most: int) -> None:
    topic = make_topic()
    reader = read_in_steps(tmp_path, topic)
    reader.history.keep_up(0)
    chunks = list(reader.history.chunks(most))
    assert_same_actions(concatenate(chunks), actions_at(topic, positions_in(tmp_path)[-most:]))


def test_chunks_have_as_many_rows_as_a_row_group_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.history.files.ROWS", 5)
    topic = make_topic()
    reader = read_in_steps(tmp_path, topic, step=12)
    sizes = [len(chunk) for chunk in reader.history.chunks(22)]
    assert max(sizes) <= 5
    assert sum(sizes) == 22
    chunks = list(reader.history.chunks(22))
    assert_same_actions(concatenate(chunks), actions_at(topic, positions_in(tmp_path)[-22:]))


def test_a_repeated_event_id_counts_once(tmp_path: Path) -> None:
    topic = Topic()
    for user, event_id in [("ada", "1"), ("ada", "1"), ("bob", "1"), ("ada", "2"), ("ada", "1"), ("ada", None)] * 2:
        topic.add(0, user=user, event_id=event_id)
    reader = read_in_steps(tmp_path, topic, step=5)
    actions = concatenate(list(reader.history.chunks(1000)))
    assert actions.users == ["ada", "bob", "ada", "ada", "ada"]
    assert actions.items == ["item 0", "item 2", "item 3", "item 5", "item 11"]
