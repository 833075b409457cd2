"""The statistics on disk: a line of JSON that says what it is, records with their lengths, and a checksum."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, TypeAlias

import msgspec
from xxhash import xxh3_128

from stream_app.following.content import Origin
from stream_app.following.snapshots import SnapshotRefused, head_at, in_place_of

FORMAT: Final = 1
_LONGEST_HEAD: Final = 1 << 16  # bytes
_LENGTHS: Final = struct.Struct("<ii")  # of key and value; a key of length -1 is the end
_CHECKSUM: Final = 32  # characters, at the end

Pairs: TypeAlias = Iterator[tuple[bytes, bytes]]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a snapshot."""

    format: int
    origin: Origin
    offsets: dict[int, int]  # by partition: of the first record that may be missing
    written: float  # seconds since the epoch


def write_snapshot(path: Path, head: Head, pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """Writes records in the place of the snapshot before. Raises `OSError`, and what `pairs` raises."""
    checksum = xxh3_128()
    with in_place_of(path) as file:
        for piece in _pieces(head, pairs):
            checksum.update(piece)
            file.write(piece)
        file.write(checksum.hexdigest().encode())
    file.close()


def read_head(path: Path) -> Head | None:
    """Returns the head of the snapshot at a path; None: there is none that can be read."""
    return head_at(path, _LONGEST_HEAD, _head)


def read_snapshot(file: IO[bytes], origin: Origin) -> tuple[Head, Pairs]:
    """Returns what a snapshot says, once its checksum is looked at. Raises `SnapshotRefused`, and `OSError`."""
    line = file.readline(_LONGEST_HEAD)
    head = _head(line)
    if head.origin != origin:
        raise SnapshotRefused(f"it is of topic {head.origin.topic} of cluster {head.origin.cluster}")
    _check_sum(file)
    file.seek(len(line))
    return head, _pairs(file)


def _pieces(head: Head, pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    yield msgspec.json.encode(head) + b"\n"
    for key, value in pairs:
        yield _LENGTHS.pack(len(key), len(value)) + key + value
    yield _LENGTHS.pack(-1, 0)


def _head(line: bytes) -> Head:
    try:
        head = msgspec.json.decode(line, type=Head)
    except (ValueError, RecursionError) as error:
        raise SnapshotRefused(f"it does not begin as a snapshot does: {error}") from None
    if head.format != FORMAT:
        raise SnapshotRefused(f"it has format {head.format}, this nextact reads format {FORMAT}")
    return head


def _check_sum(file: IO[bytes]) -> None:
    end = file.seek(0, 2) - _CHECKSUM
    file.seek(0)
    checksum, left = xxh3_128(), end
    while left > 0 and (piece := file.read(min(left, 1 << 20))):
        checksum.update(piece)
        left -= len(piece)
    if file.read() != checksum.hexdigest().encode():
        raise SnapshotRefused("its checksum is wrong")


def _pairs(file: IO[bytes]) -> Pairs:
    while True:
        key, value = _LENGTHS.unpack(file.read(_LENGTHS.size))
        if key < 0:
            return
        yield file.read(key), file.read(value)
