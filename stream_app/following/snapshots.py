"""When a snapshot of a topic may be used, and how one comes into its place whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

from stream_app.following.content import Offsets

Head = TypeVar("Head")

UNFINISHED: Final = ".unfinished-"  # before the process id, of a file that is being written
_ABANDONED_S: Final = 3600.0  # age of an unfinished snapshot that nobody finishes


class SnapshotRefused(Exception):
    """A snapshot cannot be used; the message says why."""


@contextmanager
def in_place_of(path: Path) -> Iterator[IO[bytes]]:
    """Gives a file to write that then takes the place of another; it stays open. Raises `OSError`."""
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}")
    file = unfinished.open("w+b")
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        file.close()
        unfinished.unlink(missing_ok=True)
        raise


def head_at(path: Path, longest: int, decode: Callable[[bytes], Head]) -> Head | None:
    """Returns what the first line of a snapshot says, which has at most so many bytes; None: there is none that can be
    read. `decode` raises `SnapshotRefused`."""
    try:
        with path.open("rb") as file:
            return decode(file.readline(longest))
    except (OSError, SnapshotRefused):
        return None


def sweep(folder: Path, now: float) -> None:
    """Removes what a process has left behind that was killed while it wrote; `now` in seconds since the epoch."""
    for path in folder.glob(f"{UNFINISHED}*"):
        if now - path.stat().st_mtime > _ABANDONED_S:
            path.unlink(missing_ok=True)


def check_age(offsets: Offsets, ends: Offsets, written: float, oldest: float) -> None:
    """Raises `SnapshotRefused` for a snapshot of another log, or one that may not know of what is gone.

    It goes up to `offsets`, the topic to `ends`; `written` and `oldest` in seconds since the epoch.
    """
    for partition, offset in offsets.items():
        if offset > ends.get(partition, 0):
            raise SnapshotRefused(f"partition {partition} ends at {ends.get(partition, 0)}, it at offset {offset}")
    if written < oldest:
        raise SnapshotRefused("it is older than Kafka keeps the records that take items away (delete.retention.ms)")


def covers(offsets: Offsets, others: Offsets) -> bool:
    """Returns whether all these offsets are as far as others."""
    return all(offsets.get(partition, -1) >= offset for partition, offset in others.items())
