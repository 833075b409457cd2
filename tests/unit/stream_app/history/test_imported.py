"""Imported events as the trainer reads them: in the order of time, before its own, and the newest of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import concatenate
from stream_app.errors import HistoryFailed
from stream_app.history import importer as module
from stream_app.history.imported import ImportedEvents, Piece, in_order_of_time
from stream_app.history.listing import imports_table, list_imports
from tests.unit.builders.histories import DAY, NOON, Reader, Topic, close_all, open_history
from tests.unit.builders.imports import Source, import_source, imported_in


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "PIECE", 10)
    yield
    close_all()


def items_read(folder: Path, most: int = 1000) -> list[str]:
    return concatenate(list(open_history(folder).chunks(most))).items


@given(st.lists(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), max_size=4), max_size=4))
def test_sources_are_merged_in_the_order_of_time(sources: list[list[list[int]]]) -> None:
    """Rows of one time and source stay together, in their order: they may be the lines of one event."""
    rows, batches = list[tuple[int, int, int]](), list[list[pa.RecordBatch]]()
    for number, source in enumerate(sources):
        times = sorted(time for part in source for time in part)
        rows += [(time, number, position) for position, time in enumerate(times)]
        positions, parts = 0, []
        for part in source:
            chunk = times[positions : positions + len(part)]
            columns = {
                "time": pa.array(chunk, pa.timestamp("ms", tz="UTC")),
                "source": pa.array([number] * len(chunk)),
                "position": pa.array(range(positions, positions + len(chunk))),
            }
            parts.append(pa.RecordBatch.from_pydict(columns))
            positions += len(part)
        batches.append(parts)
    merged = [row for batch in in_order_of_time(map(iter, batches)) for row in batch.to_pylist()]
    found = [(int(row["time"].timestamp() * 1000), row["source"], row["position"]) for row in merged]
    assert found == sorted(rows)


def test_what_was_imported_comes_first_in_the_order_of_time(tmp_path: Path) -> None:
    late, early = Source.of([-40, -90, -50, *range(-300, -285)], lines=2, prefix="l"), Source.of(range(-900, -888))
    import_source(tmp_path, late)
    import_source(tmp_path, early)
    topic = Topic()
    topic.add(0)
    Reader(tmp_path, topic).take_all().append().close()
    assert items_read(tmp_path) == [*early.items(), *late.items(), "item 0"]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 12, 25])
def test_the_newest_are_read(tmp_path: Path, most: int) -> None:
    past = Source.of([*range(-30, -20), *range(-60, -50)])  # two files, the later one older
    import_source(tmp_path, past)
    topic = Topic()
    for _ in range(2):
        topic.add(0)
    Reader(tmp_path, topic).take_all().append().close()
    assert items_read(tmp_path, most) == [*past.items(), "item 0", "item 1"][-most:]


def test_imported_events_from_where_the_stream_begins_on_are_not_learned_twice(tmp_path: Path) -> None:
    past = Source.of(range(-5, 5))
    import_source(tmp_path, past)
    topic = Topic()
    topic.add(0, time=NOON - 20 * 365 * DAY)  # a wrong clock does not hide the past
    for second in range(5):
        topic.add(0, time=NOON + 1000 * second)
    Reader(tmp_path, topic).take_all().append().close()
    found = items_read(tmp_path)
    assert found == [*past.items()[:7], *(f"item {n}" for n in range(6))]


def test_an_event_that_comes_from_the_stream_too_counts_once(tmp_path: Path) -> None:
    past = Source.of(range(-5, 0))
    import_source(tmp_path, past)
    topic = Topic()
    topic.add(0, user="u0", event_id="u0-4")
    topic.add(0, user="u0", event_id="another")
    Reader(tmp_path, topic).take_all().append().close()
    assert items_read(tmp_path) == [*past.items(), "item 1"]


def test_old_rows_go_with_the_days_of_the_history(tmp_path: Path) -> None:
    import_source(tmp_path, Source.of([*range(-400_000, -399_990), *range(-9, 0)]))
    history = open_history(tmp_path)
    history.keep_up(0)
    assert history.rows == 19
    history.keep_up(4)
    assert history.rows == 9, "days count from the newest imported event where there is no other"
    topic = Topic()
    topic.add(0, time=NOON + 10 * DAY)
    history.close()
    reader = Reader(tmp_path, topic)
    reader.take_all().append().history.keep_up(4)
    assert reader.history.rows == 1
    assert imported_in(tmp_path) == []


def test_files_that_are_added_meanwhile_are_found(tmp_path: Path) -> None:
    history = open_history(tmp_path)
    assert history.rows == 0
    import_source(tmp_path, Source.of(range(5)))
    assert history.rows == 0
    history.imported.look()
    assert history.rows == 5
    assert len(concatenate(list(history.chunks(10)))) == 5


def test_a_damaged_file_is_set_aside_and_comes_back_by_another_import(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    past = Source.of(range(25))
    import_source(tmp_path, past)
    victim = sorted((tmp_path / "_imported").glob("[0-9a-f]*.parquet"), key=lambda path: path.stat().st_size)[0]
    content = victim.read_bytes()
    victim.write_bytes(content[:-9])
    assert open_history(tmp_path).rows == 20
    assert "damaged file of an import" in caplog.text
    assert "import its source again" in caplog.text
    assert sum(piece.new for piece in import_source(tmp_path, past)) == 1
    assert not list(tmp_path.rglob("*.damaged"))
    close_all()
    assert sorted(items_read(tmp_path)) == sorted(past.items())


def test_damage_that_is_found_while_reading_ends_the_process(tmp_path: Path) -> None:
    import_source(tmp_path, Source.of(range(5)))
    history = open_history(tmp_path)
    (victim,) = (tmp_path / "_imported").glob("[0-9a-f]*.parquet")
    content = bytearray(victim.read_bytes())
    columns = pq.read_metadata(victim).row_group(0)
    users = next(c for c in map(columns.column, range(columns.num_columns)) if c.path_in_schema == "user_id")
    content[users.dictionary_page_offset + users.total_compressed_size - 1] ^= 255
    victim.write_bytes(content)
    with pytest.raises(HistoryFailed, match="import its source again"):
        list(history.chunks(10))
    close_all()
    assert open_history(tmp_path).rows == 0


def test_sources_are_listed(tmp_path: Path) -> None:
    assert list_imports(str(tmp_path)) == []
    import_source(tmp_path, Source.of(range(12)), "first.csv")
    import_source(tmp_path, Source.of(range(-9, 26)), "second.csv")
    import_source(tmp_path, Source.of(range(14)), "renamed.csv")
    second, first = list_imports(str(tmp_path))
    assert (first.imported, first.files, first.rows) == ("first.csv", 3, 14)
    assert (second.imported, second.files, second.rows) == ("second.csv", 4, 35)
    assert (first.oldest, first.newest) == ("2026-01-02T12:00:00.000+00:00", "2026-01-02T12:00:13.000+00:00")
    lines = list(imports_table([second, first]))
    assert [line.split()[0] for line in lines] == ["imported"] * 2
    assert lines[0].endswith("second.csv")


def test_a_name_says_which_piece_it_is() -> None:
    piece = Piece("0" * 16, "1f" * 8, 12)
    assert Piece.of(piece.name) == piece


def test_nothing_is_made_where_nothing_was_imported(tmp_path: Path) -> None:
    history = open_history(tmp_path)
    assert isinstance(history.imported, ImportedEvents)
    history.keep_up(1)
    assert not (tmp_path / "_imported").exists()
