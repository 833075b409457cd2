"""Details of items on disk: what was added is found again, before and after it went into a snapshot."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_app.items.details import DetailsFiles


def in_a_file(details: DetailsFiles, positions: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    """Writes entries as a snapshot does, and goes on with it."""
    file, found = path.open("w+b"), [np.zeros(0, np.int64)]
    file.write(b"head")
    for piece, moved in details.packed(positions, 4):
        file.write(piece)
        found.append(moved)
    file.flush()
    details.begin(file)
    return np.concatenate(found)


def test_entries_are_found_again(tmp_path: Path) -> None:
    details = DetailsFiles(tmp_path)
    first = details.add([b"a" * 300, b"", b"b"])
    assert [details.get(position) for position in first.tolist()] == [b"a" * 300, b"", b"b"]
    moved = in_a_file(details, first, tmp_path / "one")
    assert [details.get(position) for position in moved.tolist()] == [b"a" * 300, b"", b"b"]
    second = details.add([b"c"])
    assert second[0] < 0 < moved[0]
    assert moved[1] == 0
    both = np.array([second[0], moved[2], moved[0]])
    again = in_a_file(details, both, tmp_path / "two")
    assert [details.get(position) for position in again.tolist()] == [b"c", b"b", b"a" * 300]
    details.close()


def test_many_entries_are_copied_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.items.details._AT_ONCE", 3)
    details = DetailsFiles(tmp_path)
    entries = [bytes([n]) * n for n in range(10)]
    moved = in_a_file(details, details.add(entries), tmp_path / "one")
    assert [details.get(position) for position in moved.tolist()] == entries
    details.close()


def test_a_damaged_entry_is_none(tmp_path: Path) -> None:
    details = DetailsFiles(tmp_path)
    moved = in_a_file(details, details.add([b"abc"]), tmp_path / "one")
    with (tmp_path / "one").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert details.get(int(moved[0])) == b""
    assert details.get(10_000) == b""
    details.close()


def test_without_room_entries_are_left_out_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    details = DetailsFiles(tmp_path / "file" / "folder")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert details.add([b"a", b"b"]).tolist() == [0, 0]
    assert len(caplog.records) == 1
    assert details.add([b""]).tolist() == [0]
    details.close()
