"""The storage of a history: locks, files that appear whole or not at all, and damaged ones set aside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from stream_app.errors import HistoryFailed, HistoryUnusable
from stream_app.history.event_history import EventHistory
from stream_app.history.files import name_of
from stream_app.history.storage import ASIDE, DONE, LOCK, HistoryStorage, number_of, original_name
from stream_app.history.tables import IMPORTED
from tests.unit.builders.histories import Reader, Topic, close_all, make_topic, open_history

FIRST, SECOND = name_of(1, "2026-01-02"), name_of(2, "2026-01-01")


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HistoryStorage]:
    """An empty storage in a folder, and one behind an fsspec address."""
    claimed = HistoryStorage(str(tmp_path / "history") if request.param == "local" else f"memory://{uuid4()}")
    claimed.claim()
    yield claimed
    claimed.release()


def put(storage: HistoryStorage, name: str, content: bytes, *, replace: bool = False) -> int:
    """Publishes a file; returns its size."""
    with storage.scratch(name) as scratch:
        scratch.write_bytes(content)
        return storage.publish(scratch, name, replace=replace)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Reader(tmp_path, Topic())
    with pytest.raises(HistoryUnusable, match=r"in use by pid \d+ on \S+: stop that one"):
        EventHistory(HistoryStorage(str(tmp_path)))
    first.close()
    open_history(tmp_path)


def test_without_a_lock_the_second_writer_of_a_number_ends() -> None:
    address = f"memory://{uuid4()}"
    topic = make_topic()
    first, second = (Reader(address, topic) for _ in range(2))
    first.take_all().append()
    with pytest.raises(HistoryFailed, match="written by another process"):
        second.take_all().append()


def test_an_address_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryUnusable, match=r"cannot be written: .*Set NEXTACT_HISTORY to a folder or address"):
        HistoryStorage(str(tmp_path / "file" / "history")).claim()
    with pytest.raises(HistoryUnusable, match="'nowhere://x' is neither a folder nor an fsspec address"):
        HistoryStorage("nowhere://x")


def test_files_are_listed_by_number_whatever_their_days(storage: HistoryStorage) -> None:
    assert storage.sizes() == {}
    assert put(storage, SECOND, b"four") == 4
    assert put(storage, FIRST, b"sixsix") == 6
    assert list(storage.sizes().items()) == [(FIRST, 6), (SECOND, 4)]
    assert [number_of(name) for name in storage.sizes()] == [1, 2]


def test_a_name_is_given_once_unless_the_file_is_to_be_replaced(storage: HistoryStorage) -> None:
    put(storage, FIRST, b"first")
    with pytest.raises(HistoryFailed, match="a history has one trainer"):
        put(storage, FIRST, b"the second")
    assert storage.sizes() == {FIRST: 5}
    put(storage, FIRST, b"the second", replace=True)
    assert storage.sizes() == {FIRST: 10}


def test_a_file_that_is_not_published_is_not_there(storage: HistoryStorage) -> None:
    with storage.scratch(FIRST) as scratch:
        scratch.write_bytes(b"half")
    assert storage.sizes() == {}
    assert not scratch.exists()


def test_removing_a_file_twice_is_not_an_error(storage: HistoryStorage) -> None:
    put(storage, FIRST, b"x")
    for _ in range(2):
        storage.remove(FIRST)
    assert storage.sizes() == {}


def test_damaged_files_are_set_aside_until_their_events_were_read_again(storage: HistoryStorage) -> None:
    for name in (FIRST, SECOND):
        put(storage, name, b"x")
    aside = storage.set_aside(SECOND)
    assert list(storage.sizes()) == [FIRST]
    assert storage.set_aside_names() == [aside] == [f"day=2026-01-01/_{2:020d}.parquet.damaged"]
    assert storage.open_damage() == [2]
    storage.close_damage()
    assert storage.open_damage() == []
    assert storage.set_aside_names() == [f"{aside}-closed"]


def test_half_written_files_are_removed_and_nothing_else_is(tmp_path: Path) -> None:
    storage = HistoryStorage(str(tmp_path))
    storage.claim()
    put(storage, FIRST, b"x")
    storage.release()
    for name in (f".{7:020d}.tmp", "notes.txt"):
        (tmp_path / name).write_bytes(b"half")
    storage.remove_scratch()
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, "notes.txt", "day=2026-01-02"}
    assert storage.sizes() == {FIRST: 1}


def test_tables_have_folders_of_their_own(tmp_path: Path) -> None:
    storage = HistoryStorage(str(tmp_path))
    imported = storage.beside(IMPORTED)
    assert not imported.exists()
    assert imported.sizes() == {}
    name = f"{'0' * 16}-{'a' * 16}-12.parquet"
    put(imported, name, b"x")
    put(storage, FIRST, b"xy")
    assert imported.exists()
    assert (storage.sizes(), imported.sizes()) == ({FIRST: 2}, {name: 1})
    assert imported.set_aside(name) == f"_{name}{ASIDE}"
    assert (storage.set_aside_names(), imported.set_aside_names()) == ([], [f"_{name}{ASIDE}"])
    assert original_name(f"_{name}{ASIDE}") == name
    assert original_name(f"day=2026-01-02/_1.parquet{ASIDE}{DONE}") == "day=2026-01-02/1.parquet"
    assert original_name(name) == ""
    imported.remove_aside(name)
    assert imported.set_aside_names() == []
