"""Records are read while their partitions are open, and only then."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from stream_app.errors import DataPathError
from stream_app.query.refusals import Refusal
from stream_app.query.stored_users import StoredUsers
from tests.unit.builders.basics import Shelf
from tests.unit.builders.questions import no_fail


def test_users_of_several_partitions_are_found_and_others_are_not() -> None:
    shelf = Shelf({(0, "u"): b"1", (1, "u"): b"2", (1, "v"): b"3"})
    users = StoredUsers(shelf, lambda: None, no_fail)
    with pytest.raises(Refusal, match="on their way"):
        users.find([(0, "u")])
    users.resume([0, 1])
    assert users.find([(0, "u"), (1, "v"), (1, "w")]) == {(0, "u"): b"1", (1, "v"): b"3"}
    with pytest.raises(Refusal, match="on their way"):
        users.find([(0, "u"), (2, "u")])
    users.pause()
    with pytest.raises(Refusal, match="on their way"):
        users.find([(0, "u")])


def test_nobody_is_found_before_users_are_recovered() -> None:
    why: str | None = "recovering"
    users = StoredUsers(Shelf({(0, "u"): b"1"}), lambda: why, no_fail)
    users.resume([0])
    with pytest.raises(Refusal, match="on their way"):
        users.find([(0, "u")])
    why = None
    assert users.find([(0, "u")]) == {(0, "u"): b"1"}


def test_a_partition_is_given_away_when_nothing_is_read_of_it_any_more() -> None:
    reading, go_on, events = Event(), Event(), list[str]()

    def read(_: int, __: Sequence[str]) -> dict[str, bytes]:
        reading.set()
        assert go_on.wait(10)
        events.append("read")
        return {}

    def pause() -> None:
        users.pause()
        events.append("paused")

    users = StoredUsers(read, lambda: None, no_fail)
    users.resume([0])
    with ThreadPoolExecutor(2) as threads:
        found = threads.submit(users.find, [(0, "u")])
        assert reading.wait(10)
        paused = threads.submit(pause)
        go_on.set()
        paused.result(10)
        assert found.result(10) == {}
    assert events == ["read", "paused"]


def test_a_store_that_turns_out_to_be_damaged_ends_the_process() -> None:
    def read(_: int, __: Sequence[str]) -> dict[str, bytes]:
        raise DataPathError("damaged")

    failed: list[BaseException] = []
    users = StoredUsers(read, lambda: None, failed.append)
    users.resume([0])
    with pytest.raises(DataPathError):
        users.find([(0, "u")])
    assert [str(error) for error in failed] == ["damaged"]
