"""A file comes into its place whole or not at all; the rules of age are tested with the catalogue's snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.following.snapshots import covers, in_place_of


def test_a_file_that_is_not_finished_takes_nobodys_place(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    with in_place_of(path) as file:
        file.write(b"one")
        assert not path.exists()
    file.close()
    with pytest.raises(OSError, match="full"):
        fail_to_write(path)
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def fail_to_write(path: Path) -> None:
    with in_place_of(path) as file:
        file.write(b"two")
        raise OSError("full")


def test_offsets_cover_others_that_are_not_further() -> None:
    assert covers({0: 3, 1: 4}, {0: 3, 1: 2})
    assert not covers({0: 3}, {0: 4})
    assert not covers({0: 3}, {1: 0})
