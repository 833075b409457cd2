"""The statistics begin with what a trainer has stored, also while it holds the files; what is no event's is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.errors import HistoryFailed
from stream_app.history.files import FileDamage, read_actions
from stream_app.settings import load_settings
from stream_app.statistics import stored_past as module
from stream_app.statistics.stored_past import stored_past
from stream_app.statistics.writer import Beginning
from tests.unit.builders.exact_counting import ExactTable, exact_counting
from tests.unit.builders.histories import STREAM, close_all, make_topic, read_in_steps


@pytest.fixture(autouse=True)
def _locks_are_released() -> Iterator[None]:
    yield
    close_all()


def begun(folder: Path, **changes: object) -> Beginning | None:
    settings = load_settings({"history": str(folder), **changes})
    return stored_past(settings, STREAM.cluster, exact_counting)


def counts(beginning: Beginning | None) -> Counter[bytes]:
    assert beginning is not None
    assert isinstance(beginning.counting.table, ExactTable)
    return beginning.counting.table.counts


def test_all_stored_events_are_counted_and_it_goes_on_behind_them(tmp_path: Path) -> None:
    topic = make_topic(days=2)
    read_in_steps(tmp_path, topic)
    beginning = begun(tmp_path)
    assert beginning is not None
    assert beginning.offsets == {0: 8, 1: 8}
    assert counts(beginning).total() == topic.events().total() > 0


def test_a_stream_of_a_higher_epoch_goes_on_at_its_beginning(tmp_path: Path) -> None:
    read_in_steps(tmp_path, make_topic(days=1))
    beginning = begun(tmp_path, stream_epoch=2)
    assert beginning is not None
    assert beginning.offsets == {}
    assert counts(beginning)


def test_nothing_begins_with_another_topics_history_or_none(tmp_path: Path) -> None:
    assert begun(tmp_path / "none") is None
    read_in_steps(tmp_path / "other", make_topic(days=1))
    assert begun(tmp_path / "other", events_topic="mall.events") is None


@pytest.mark.parametrize("error", [FileDamage("it is gone"), HistoryFailed("it is gone")])
def test_a_file_that_is_merged_meanwhile_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    topic = make_topic(days=2)
    read_in_steps(tmp_path, topic)
    read, failures = read_actions, iter([True])

    def vanishing(*arguments: object) -> Iterator[object]:
        yield from read(*arguments)  # type: ignore[arg-type]
        if next(failures, False):
            raise error

    monkeypatch.setattr(module, "read_actions", vanishing)
    assert counts(begun(tmp_path)).total() == topic.events().total()


def test_a_history_that_cannot_be_read_is_said_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_in_steps(tmp_path, make_topic(days=1))

    def failing(*_: object) -> Iterator[object]:
        raise HistoryFailed("no answer")

    monkeypatch.setattr(module, "read_actions", failing)
    assert begun(tmp_path) is None
    assert "attempt 3 of 3): no answer" in caplog.text
