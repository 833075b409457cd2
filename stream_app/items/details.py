"""What stays on disk of items: page, picture and attributes, each entry with its length and a checksum.

A process has two files: the snapshot that it began with or wrote last, and a nameless one with what has come since. It
keeps both open, so that nobody can take them away: other processes may write snapshots into the same folder.
Shapes: N entries.
"""

from __future__ import annotations

import logging
import mmap
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh32_intdigest

_FRONT: Final = struct.Struct("<II")  # before each entry: its bytes, and their XXH32
_AT_ONCE: Final = 50_000  # entries that are copied at once

logger: Final = logging.getLogger(__name__)


class DetailsFiles:
    """The entries by position: 0 is no entry, above 0 is in the snapshot, below 0 in the nameless file."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when the first entry comes."""
        self._folder = folder
        self._snapshot: IO[bytes] | None = None
        self._recent: IO[bytes] | None = None
        self._failed = False

    def begin(self, snapshot: IO[bytes]) -> None:
        """Goes on with a snapshot, to which all positions refer from now on; it is closed by `close`."""
        self.close()
        self._snapshot = snapshot

    def close(self) -> None:
        """Closes the files."""
        for file in (self._snapshot, self._recent):
            if file is not None:
                file.close()
        self._snapshot = self._recent = None

    def add(self, entries: Sequence[bytes]) -> NDArray[np.int64]:
        """Writes entries and returns their positions (N,). Where there is no room for them they are left out."""
        positions = np.zeros(len(entries), np.int64)
        if not any(entries):
            return positions
        try:
            if self._recent is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._recent = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - kept open
            at, packed = self._recent.seek(0, 2), list[bytes]()
            for n, entry in enumerate(entries):
                if entry:
                    positions[n] = ~at
                    packed += (_FRONT.pack(len(entry), xxh32_intdigest(entry)), entry)
                    at += _FRONT.size + len(entry)
            self._recent.write(b"".join(packed))
            self._recent.flush()
        except OSError as error:
            self._say_once(error)
            return np.zeros(len(entries), np.int64)
        return positions

    def get(self, position: int) -> bytes:
        """Returns an entry; empty where there is none, or it is damaged."""
        file = self._snapshot if position > 0 else self._recent
        if position == 0 or file is None:
            return b""
        file.seek(position if position > 0 else ~position)
        front = file.read(_FRONT.size)
        if len(front) < _FRONT.size:
            return b""
        size, checksum = _FRONT.unpack(front)
        entry = file.read(size)
        return entry if len(entry) == size and xxh32_intdigest(entry) == checksum else b""

    def packed(self, positions: NDArray[np.int64], start: int) -> Iterator[tuple[bytes, NDArray[np.int64]]]:
        """Yields entries (N,) as they lie in the files, one behind the other, in pieces, each with its new positions.

        `start`: where the first one will lie.
        """
        with _MappedFile(self._snapshot) as snapshot, _MappedFile(self._recent) as recent:
            for first in range(0, len(positions), _AT_ONCE):
                entries = [
                    _entry(snapshot, position) if position > 0 else _entry(recent, ~position) if position else b""
                    for position in positions[first : first + _AT_ONCE].tolist()
                ]
                sizes = np.fromiter(map(len, entries), np.int64, len(entries))
                yield b"".join(entries), np.where(sizes, start + np.cumsum(sizes) - sizes, 0)
                start += int(sizes.sum())

    def _say_once(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            logger.warning("pages, pictures and attributes of items are left out, %s: %s", self._folder, error.strerror)


def _entry(data: mmap.mmap | bytes, at: int) -> bytes:
    """Returns an entry as it lies in a file."""
    return data[at : at + _FRONT.size + int.from_bytes(data[at : at + 4], "little")]


class _MappedFile:
    """A file as bytes in memory, for as long as they are looked at."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self._map: mmap.mmap | None = None

    def __enter__(self) -> mmap.mmap | bytes:
        if self._file is None or not self._file.seek(0, 2):
            return b""
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def __exit__(self, *_: object) -> None:
        if self._map is not None:
            self._map.close()
