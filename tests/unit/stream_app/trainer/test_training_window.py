"""What a round learns from is in memory as far as that may grow, and on disk beyond."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from stream_app.errors import NoRoomOnDisk
from stream_app.history.event_history import EventHistory
from stream_app.history.storage import HistoryStorage
from stream_app.settings import Settings
from stream_app.trainer.training_window import training_window
from tests.bench.memory import make_history

ROWS = 40_000


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventHistory]:
    folder = tmp_path_factory.mktemp("history")
    make_history(folder, ROWS, items=50)
    with closing(EventHistory(HistoryStorage(str(folder)))) as history:
        yield history


@pytest.mark.parametrize(("memory", "parts"), [(16, 16), (25, 1)])
def test_a_log_is_in_parts_where_it_needs_more_than_the_memory_it_may_take(
    history: EventHistory, tmp_path: Path, memory: int, parts: int
) -> None:
    settings = Settings(train_memory=memory, data_dir=tmp_path / "data")
    with ExitStack() as files:
        window = training_window(history, settings, files, history.newest)
        assert (len(window.log), window.log.part_count) == (ROWS, parts)
        assert len(window.items) == 50


def test_a_window_has_no_more_than_the_newest_events(history: EventHistory, tmp_path: Path) -> None:
    with ExitStack() as files:
        window = training_window(history, Settings(train_max_events=1000, data_dir=tmp_path), files, history.newest)
        assert len(window.log) == 1000
        assert window.log.newest(1.0) == window.newest.times.max() - 999 * 100


def test_a_full_disk_is_reported_with_its_remedies(history: EventHistory, tmp_path: Path) -> None:
    with ExitStack() as files, files_of_at_most(50_000), pytest.raises(NoRoomOnDisk) as full:
        training_window(history, Settings(train_memory=16, data_dir=tmp_path), files, history.newest)
    for word in (f"{ROWS:,} events", str(tmp_path), "NEXTACT_DATA_DIR", "NEXTACT_TRAIN_MEMORY"):
        assert word in str(full.value)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
