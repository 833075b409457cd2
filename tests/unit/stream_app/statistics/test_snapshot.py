"""Snapshots of the statistics: what was written comes back, what is damaged or another topic's does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.following.content import Origin
from stream_app.following.snapshots import SnapshotRefused
from stream_app.statistics.snapshot import FORMAT, Head, read_head, read_snapshot, write_snapshot

ORIGIN = Origin("cluster", "shop.statistics")
HEAD = Head(format=FORMAT, origin=ORIGIN, offsets={0: 7}, written=1.5)
PAIRS = [(b"a", b"1" * 1000), (b"\xff\n", b""), (b"{", b"\n")]


def written(folder: Path, head: Head = HEAD) -> Path:
    write_snapshot(folder / "snapshot", head, PAIRS)
    return folder / "snapshot"


def read(path: Path, origin: Origin = ORIGIN) -> tuple[Head, list[tuple[bytes, bytes]]]:
    with path.open("rb") as file:
        head, pairs = read_snapshot(file, origin)
        return head, list(pairs)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read(path) == (HEAD, PAIRS)
    assert read_head(path) == HEAD
    assert read_head(tmp_path / "none") is None


def test_another_topics_or_formats_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(SnapshotRefused, match="of cluster"):
        read(path, Origin("other", ORIGIN.topic))
    path = written(tmp_path, Head(format=FORMAT + 1, origin=ORIGIN, offsets={}, written=0))
    with pytest.raises(SnapshotRefused, match="format 2"):
        read(path)


def test_no_damaged_byte_is_believed(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(SnapshotRefused):
            read(path)
        path.write_bytes(whole[:at])
        with pytest.raises(SnapshotRefused):
            read(path)
