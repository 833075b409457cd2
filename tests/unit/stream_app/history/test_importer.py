"""Imports into the history: every row once, whatever dies when, and whatever grows, is damaged or comes again."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.events import concatenate
from stream_app.errors import HistoryFailed, HistoryUnusable
from stream_app.history import importer as module
from stream_app.history.event_history import EventHistory
from stream_app.history.importer import START, Importer, digest
from stream_app.history.storage import HistoryStorage
from tests.unit.builders.histories import NOON, close_all, open_history
from tests.unit.builders.imports import Source, import_source, imported_in, items_in

PIECE = 10


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "PIECE", PIECE)
    yield
    close_all()


class ProcessKilled(BaseException):
    """The process ends here."""


EVENTS = st.lists(st.tuples(st.integers(NOON, NOON + 9), st.integers(1, 4), st.sampled_from("abc")), max_size=60)
LIVES = st.lists(
    st.tuples(
        st.integers(0, 60),  # how many events the file has by then
        st.none() | st.tuples(st.integers(1, 4), st.booleans()),  # the file at which it is killed, before or after
        st.none() | st.integers(0, 99),  # the file that is damaged then
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS, LIVES, st.integers(1, 9))
def test_kills_damage_and_growth_neither_lose_nor_double_a_row(
    events: list[tuple[int, int, str]], lives: list[Any], batch: int
) -> None:
    source, length = Source(tuple(events)), 0
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for grown, kill, damage in lives:
            length = max(length, grown)
            live(folder, Source(source.events[:length]), batch, kill)
            files = sorted((folder / "_imported").glob("[0-9a-f]*.parquet"))
            if damage is not None and files:
                files[damage % len(files)].write_bytes(b"PAR1")
        pieces = import_source(folder, source)
        assert sum(piece.rows.num_rows for piece in pieces) == len(source.items())
        assert items_in(folder) == sorted(source.items())
        assert not any(piece.new for piece in import_source(folder, source))
        assert not list(folder.rglob("*.tmp"))
        assert not list(folder.rglob("*.damaged"))


def live(folder: Path, source: Source, batch: int, kill: tuple[int, bool] | None) -> None:
    """Imports a source until it is killed."""
    importer = Importer(str(folder))
    publish, left = importer._storage.publish, kill[0] if kill else -1

    def killing(*arguments: Any, **options: Any) -> int:
        nonlocal left
        left -= 1
        if left == 0 and kill and kill[1]:
            arguments[0].with_name(".7.tmp").write_bytes(b"half")
            raise ProcessKilled
        size = publish(*arguments, **options)
        if left == 0:
            raise ProcessKilled
        return size

    vars(importer._storage)["publish"] = killing
    try:
        list(importer.add("past.csv", source.batches(batch), lambda: NOON))
    except ProcessKilled:
        pass
    finally:
        importer.close()


def test_a_source_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    source = Source.of(range(25))
    assert [(piece.new, piece.rows.num_rows) for piece in import_source(tmp_path, source)] == [
        (True, 10), (True, 10), (True, 5)
    ]  # fmt: skip
    again = import_source(tmp_path, source, name="renamed.csv")
    assert [piece.new for piece in again] == [False] * 3
    assert len({piece.source for piece in again}) == 1
    other = import_source(tmp_path, Source.of(range(25), prefix="v"))
    assert all(piece.new for piece in other)
    assert other[0].source != again[0].source


def test_a_file_that_grew_brings_its_new_rows(tmp_path: Path) -> None:
    times = range(43)
    import_source(tmp_path, Source.of(times[:14]))
    grown = import_source(tmp_path, Source.of(times))
    assert [(piece.new, piece.rows.num_rows) for piece in grown] == [
        (False, 10), (False, 4), (True, 10), (True, 10), (True, 9),
    ]  # fmt: skip
    assert [piece.rows["offset"][0].as_py() for piece in grown] == [0, 10, 14, 24, 34]
    assert len({piece.source for piece in grown}) == 1
    assert items_in(tmp_path) == sorted(Source.of(times).items())


def test_a_basket_is_not_cut(tmp_path: Path) -> None:
    pieces = import_source(tmp_path, Source.of(range(8), lines=4))
    assert [piece.rows.num_rows for piece in pieces] == [12, 12, 8]
    assert pieces[1].rows["offset"].to_pylist() == [3] * 4 + [4] * 4 + [5] * 4


def test_erased_and_expired_rows_do_not_come_back(tmp_path: Path) -> None:
    source = Source.of([*range(-300_000, -299_990), *range(15)])
    import_source(tmp_path, source)
    history = open_history(tmp_path)
    assert history.erase({"u1"}, lambda _: None).rows == 6
    history.close()
    history = open_history(tmp_path)
    history.keep_up(1.0)
    history.close()
    left = [row for row in imported_in(tmp_path) if row["user_id"] != "u1" and row["time"].year == 2026]
    assert imported_in(tmp_path) == left
    assert len(left) == 12
    assert not any(piece.new for piece in import_source(tmp_path, source))
    assert imported_in(tmp_path) == left


def test_one_process_imports_at_a_time_and_erasure_waits_for_none(tmp_path: Path) -> None:
    importer = Importer(str(tmp_path))
    with pytest.raises(HistoryUnusable, match="in use by pid"):
        Importer(str(tmp_path))
    history = open_history(tmp_path)
    with pytest.raises(HistoryUnusable, match=r"_imported' is in use by pid"):
        history.erase({"u1"}, lambda _: None)
    importer.close()
    assert history.erase({"u1"}, lambda _: None).rows == 0


def test_the_digest_is_one_of_values_and_not_of_how_they_lie_in_memory() -> None:
    (rows,) = Source.of(range(6), lines=2).batches(6)
    halves = [rows.slice(0, 6), rows.slice(6)]
    assert digest(START, rows.slice(2, 4)) == digest(START, rows.take([2, 3, 4, 5]))
    assert digest(START, halves[0]) != digest(START, halves[1])
    assert digest("1" * 16, rows) != digest(START, rows)
    texts = rows.set_column(rows.schema.get_field_index("brand"), "brand", rows["currency"].fill_null(""))
    assert digest(START, texts) != digest(START, rows), "an empty text is not nothing"


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importer = Importer(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(importer._storage, "scratch", lambda _: nullcontext(Path("/dev/full")))
        with pytest.raises(HistoryFailed, match="No space left on device"):
            list(importer.add("past.csv", Source.of(range(5)).batches(), lambda: NOON))
    importer.close()
    assert [piece.new for piece in import_source(tmp_path, Source.of(range(5)))] == [True]


def test_a_past_is_imported_behind_an_fsspec_address_too() -> None:
    address = f"memory://{uuid4()}"
    source = Source.of(range(25))
    for new in (True, False):
        importer = Importer(address)
        pieces = list(importer.add("past.csv", source.batches(), lambda: NOON))
        importer.close()
        assert [piece.new for piece in pieces] == [new] * 3
    history = EventHistory(HistoryStorage(address))
    history.imported.storage.set_aside(history.imported.files[0].name)
    history.imported.look()
    assert history.rows < 25
    importer = Importer(address)
    assert sum(piece.new for piece in importer.add("past.csv", source.batches(), lambda: NOON)) == 1
    importer.close()
    history.imported.look()
    assert concatenate(list(history.chunks(100))).items == source.items()
    history.close()
