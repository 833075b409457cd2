"""A catalogue on disk: one file with the columns and tables as they are in memory, then the details, item by item.

The file begins with a line of JSON that says what it is, where it was read up to, and how long each array is; a
checksum covers the line and the arrays, and each entry of the details has its own. It comes into its place whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128

from model.items.catalogue import COLUMNS, LISTS, ItemCatalogue, Tables
from model.items.string_table import StringTable, frozen
from stream_app.following.content import Origin
from stream_app.following.snapshots import SnapshotRefused, head_at, in_place_of
from stream_app.items.details import DetailsFiles

FORMAT: Final = 2  # 1 had no keys of categories and brands
_TEXTS: Final = "texts"  # the table beside those of the lists
_LONGEST_HEAD: Final = 1 << 20  # bytes
_CHECKSUM: Final = 32  # characters, behind the head

Array = NDArray[Any]


class _Format(msgspec.Struct, frozen=True):
    """The field that says whether this nextact can read the others."""

    format: int


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a snapshot."""

    format: int
    origin: Origin
    offsets: dict[int, int]  # by partition: of the first record that was not read
    written: float  # seconds since the epoch
    rows: int
    strings: dict[str, tuple[int, int]]  # by table: how many strings, and their bytes


def write_snapshot(path: Path, head: Head, catalogue: ItemCatalogue, details: DetailsFiles) -> IO[bytes]:
    """Writes a catalogue to a file in the place of the one before, and has it know the details' new positions.

    `head` is given without sizes. Returns the file, open to be read. Raises `OSError`.
    """
    with in_place_of(path) as file:
        start, sizes = _start_of_details(head, catalogue)
        file.seek(start)
        positions = _write_details(file, catalogue, details)
        file.seek(0)
        _write_arrays(file, sizes, catalogue, positions)
    with catalogue.lock:
        catalogue.column("details")[:] = positions
    return file


def read_head(path: Path) -> Head | None:
    """Returns the head of the snapshot at a path; None: there is none that can be read."""
    return head_at(path, _LONGEST_HEAD, _head)


def read_snapshot(file: IO[bytes], origin: Origin) -> tuple[Head, ItemCatalogue]:
    """Returns what a snapshot says. Raises `SnapshotRefused`, and `OSError`."""
    line = file.readline(_LONGEST_HEAD)
    head = _head(line)
    if head.origin != origin:
        raise SnapshotRefused(f"it is of topic {head.origin.topic} of cluster {head.origin.cluster}")
    if _sizes(head) > os.fstat(file.fileno()).st_size:
        raise SnapshotRefused("it is cut off")
    checksum, wanted = xxh3_128(line), file.read(_CHECKSUM)
    columns = {name: _read(file, np.dtype(kind), head.rows, checksum) for name, kind in COLUMNS.items()}
    raw = {name: _read_strings(file, sizes, checksum) for name, sizes in head.strings.items()}
    if checksum.hexdigest().encode() != wanted:
        raise SnapshotRefused("its checksum is wrong")
    tables = {name: StringTable.of(frozen(text, starts)) for name, (text, starts) in raw.items()}
    return head, ItemCatalogue(columns, Tables(tables.pop(_TEXTS), tables))


def _head(line: bytes) -> Head:
    try:
        if (version := msgspec.json.decode(line, type=_Format).format) == FORMAT:
            return msgspec.json.decode(line, type=Head)
    except (ValueError, RecursionError) as error:
        raise SnapshotRefused(f"it does not begin as a snapshot does: {error}") from None
    raise SnapshotRefused(f"it has format {version}, this nextact reads format {FORMAT}")


def _start_of_details(head: Head, catalogue: ItemCatalogue) -> tuple[int, Head]:
    """Returns where the details begin in the file, and the head with the sizes of what comes before."""
    tables = _tables(catalogue)
    strings = {name: (len(table), len(table.column.text)) for name, table in tables.items()}
    head = msgspec.structs.replace(head, rows=len(catalogue.column("ids")), strings=strings)
    arrays = sum(array.nbytes for array in _arrays(catalogue, catalogue.column("details")))
    return len(_line(head)) + _CHECKSUM + arrays, head


def _write_details(file: Any, catalogue: ItemCatalogue, details: DetailsFiles) -> NDArray[np.int64]:
    """Copies the details of all rows, and returns their positions."""
    found = [np.zeros(0, np.int64)]
    for piece, positions in details.packed(catalogue.column("details"), file.tell()):
        file.write(piece)
        found.append(positions)
    return np.concatenate(found)


def _write_arrays(file: Any, head: Head, catalogue: ItemCatalogue, positions: NDArray[np.int64]) -> None:
    line = _line(head)
    checksum = xxh3_128(line)
    file.write(line)
    file.write(bytes(_CHECKSUM))
    for array in _arrays(catalogue, positions):
        data = np.ascontiguousarray(array).view(np.uint8).data
        checksum.update(data)
        file.write(data)
    file.seek(len(line))
    file.write(checksum.hexdigest().encode())


def _arrays(catalogue: ItemCatalogue, positions: NDArray[np.int64]) -> Iterator[Array]:
    for name in COLUMNS:
        yield positions if name == "details" else catalogue.column(name)
    for table in _tables(catalogue).values():
        yield table.column.text
        yield table.column.starts


def _tables(catalogue: ItemCatalogue) -> Mapping[str, StringTable]:
    return {_TEXTS: catalogue.tables.texts, **catalogue.tables.lists}


def _line(head: Head) -> bytes:
    return msgspec.json.encode(head) + b"\n"


def _read_strings(file: IO[bytes], sizes: tuple[int, int], checksum: Any) -> tuple[Array, Array]:
    count, size = sizes
    text = _read(file, np.dtype(np.uint8), size, checksum)
    return text, _read(file, np.dtype(np.int64), count + 1, checksum)


def _read(file: IO[bytes], kind: np.dtype[Any], count: int, checksum: Any) -> Array:
    array: Array = np.empty(count, kind)
    if file.readinto(array.view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
        raise SnapshotRefused("it is cut off")
    checksum.update(array.view(np.uint8).data)
    return array


def _sizes(head: Head) -> int:
    """Returns the bytes of all arrays."""
    if (
        head.strings.keys() != {_TEXTS, *LISTS}
        or min([head.rows, *(n for pair in head.strings.values() for n in pair)]) < 0
    ):
        raise SnapshotRefused("it does not have the tables of a catalogue")
    of_rows = head.rows * sum(np.dtype(kind).itemsize for kind in COLUMNS.values())
    return of_rows + sum(size + 8 * (count + 1) for count, size in head.strings.values())
