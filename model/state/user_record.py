"""A user's state as bytes: the record in the changelog and in the local store, packed and unpacked for whole batches.

Layout, little-endian, version 1: a header (below), the hidden state (H halves), the last event ids (E x 64 bits), then
the n last actions, oldest first, 12 bytes each. A record ends after its n-th action. The checksum is the CRC-32 of
everything behind it.
Version 2 begins as version 1 does, and has sections (`sections`) behind the last action, or nothing.
A later version must begin so, too: this code reads of its records what it knows, and a newer worker's partitions can go
back to an older worker. Sizes may differ from record to record: a sequence outlives the size of the hidden state, which
is encoded from it.
Shapes: N records, M of them users, H hidden units, E event ids, L actions of the longest history.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import RecordCorrupt
from model.kernels.crc32 import TABLES
from model.state.record_writer import CHECKED_FROM, RecordColumns, write_records
from model.state.sections import check_sections, section_at

FIRST_VERSION: Final = 1  # without sections
RECORD_VERSION: Final = 2

ACTION: Final = np.dtype([("object", "<u8"), ("context", "<u4")])


@cache
def record_dtype(hidden: int, ids: int, length: int) -> np.dtype[np.void]:
    """Returns the full layout for so many hidden units, event ids and actions."""
    return np.dtype(
        [
            ("version", "u1"),
            ("checksum", "<u4"),
            ("hidden_size", "<u2"),
            ("ids_size", "<u2"),
            ("actions_size", "<u2"),
            ("epoch", "<u4"),  # of the stream; offsets of another epoch mean nothing
            ("offset", "<i8"),  # of the last event applied
            ("count", "<i8"),
            ("last_time", "<i8"),
            ("session", "<u8"),
            ("weights", "<u8"),  # id of the version that made the hidden state; 0: there is none
            ("hidden", "<f2", (hidden,)),
            ("event_ids", "<u8", (ids,)),
            ("actions", ACTION, (length,)),
        ]
    )


_HEAD: Final = record_dtype(0, 0, 0)
_SIZES: Final = struct.Struct("<HHH")  # hidden units, event ids, actions: right behind the checksum
_POSITION: Final = struct.Struct("<Iqqq")  # epoch, offset, count, last time: right behind the sizes
_HALF: Final = 2  # bytes of a number of the hidden state
_EVENT_ID: Final = 8  # bytes
_HEAD_BYTES: Final = _HEAD.itemsize
_ACTION_BYTES: Final = ACTION.itemsize
_COPIED: Final = ("epoch", "offset", "count", "last_time", "session")  # whatever the sizes


@dataclass(frozen=True, slots=True)
class UserRecords:
    """N users as columns, (N,) unless said otherwise."""

    epoch: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    last_times: NDArray[np.int64]
    sessions: NDArray[np.uint64]
    weights_id: NDArray[np.uint64]
    hidden: NDArray[np.float16]  # (N, H)
    event_ids: NDArray[np.uint64]  # (N, E)
    item_keys: NDArray[np.uint64]  # (N, L) of the last actions, oldest first and left-aligned
    contexts: NDArray[np.uint32]  # (N, L)
    sizes: NDArray[np.int64]  # how many of the L actions count
    # The sections of all users, one behind the other, and where each user's begin and the last one's end (N + 1,).
    sections: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None
    version: int = RECORD_VERSION  # as which they are written; FIRST_VERSION has no sections


def pack(users: UserRecords) -> list[bytes]:
    """Returns a record for each user."""
    return records_of(*packed(users))


def packed(users: UserRecords) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns the records of N users, one behind the other, and where each begins and the last ends (N + 1,)."""
    if users.sections is None or users.version == FIRST_VERSION:
        sections, section_starts = np.zeros(0, np.uint8), np.zeros(len(users.sizes) + 1, np.int64)
    else:
        sections, section_starts = users.sections
    columns = RecordColumns(
        users.epoch,
        users.offsets,
        users.counts,
        users.last_times,
        users.sessions,
        users.weights_id,
        users.hidden.view(np.uint16),
        users.event_ids,
        users.item_keys,
        users.contexts,
        users.sizes,
        sections,
        section_starts,
        users.version,
    )
    text, starts = write_records(columns, _HEAD_BYTES, TABLES)
    return text, starts


def records_of(text: NDArray[np.uint8], starts: NDArray[np.int64]) -> list[bytes]:
    """Returns each of N byte strings that lie one behind the other, as those that `packed` makes do."""
    data = text.tobytes()
    return [data[start:end] for start, end in pairwise(starts.tolist())]


def record_position(record: bytes) -> tuple[int, int]:
    """Returns stream epoch and offset of the last event applied: of two records of a user, the higher is the newer.

    Raises `RecordCorrupt` for bytes that are not a record.
    """
    _check(record)
    epoch, offset, _, _ = _POSITION.unpack_from(record, CHECKED_FROM + _SIZES.size)
    return epoch, offset


class LastActions(NamedTuple):
    """What one record says of what its user did."""

    total: int  # actions there ever were
    last_time: int  # of the last one, ms since the epoch, or NO_TIME
    actions: NDArray[np.void]  # (n,) of ACTION, oldest first


def last_actions(record: bytes) -> LastActions:
    """Reads the actions alone of a user who is asked about. Raises `RecordCorrupt` if the bytes are not a record."""
    _check(record)
    _, _, total, last_time = _POSITION.unpack_from(record, CHECKED_FROM + _SIZES.size)
    size = _SIZES.unpack_from(record, CHECKED_FROM)[2]
    actions = np.frombuffer(record, ACTION, size, _end_of_actions(record) - size * _ACTION_BYTES)
    return LastActions(total, last_time, actions)


def section_of(record: bytes, tag: int) -> bytes | None:
    """Returns a section of a record that was checked before, without reading the rest; None: there is none."""
    return None if record[0] != RECORD_VERSION else section_at(record, _end_of_actions(record), tag)


@dataclass(frozen=True, slots=True)
class StoredUsers:
    """The users of one stream epoch in N records, M of them."""

    indices: NDArray[np.int64]  # (M,) of their records, rising
    rows: NDArray[np.void]  # (M,) of `record_dtype`; actions beyond `actions_size` are zero
    sections: list[bytes]  # (M,) as they stand behind the last action; those of a later version only where it has any
    faults: dict[int, str]  # by index of each damaged record: what is wrong with it


def unpack(records: Sequence[bytes], *, epoch: int, hidden: int, ids: int) -> StoredUsers:
    """Reads N records into rows for so many hidden units and event ids, with room for at least one action.

    Records of another stream epoch are left out, whatever their sizes. A record of other sizes keeps its sequence and
    the newest event ids that fit; where its hidden state has another size, it has none (`weights` is 0).
    """
    faults: dict[int, str] = {}
    sound: list[bytes] = []
    for index, record in enumerate(records):
        try:
            _check(record)
            sound.append(record)
        except RecordCorrupt as error:
            faults[index] = str(error)
    heads = np.frombuffer(b"".join([record[: _HEAD.itemsize] for record in sound]), _HEAD)
    indices = np.delete(np.arange(len(records)), list(faults))
    known = heads["epoch"] == epoch
    sound, heads, indices = list(compress(sound, known.tolist())), heads[known], indices[known]
    sizes = np.fromiter(map(len, sound), np.int64, len(sound))
    sections = [b""] * len(sound)
    for index in np.flatnonzero(sizes > _ends_of_actions(heads)).tolist():
        sound[index], sections[index] = _parted(sound[index])
    for index in np.flatnonzero((heads["hidden_size"] != hidden) | (heads["ids_size"] != ids)).tolist():
        sound[index] = _resized(sound[index], hidden, ids)
    dtype = record_dtype(hidden, ids, int(heads["actions_size"].max(initial=1)))
    rows = np.frombuffer(b"".join([record.ljust(dtype.itemsize, b"\0") for record in sound]), dtype)
    return StoredUsers(indices, rows, sections, faults)


def _resized(record: bytes, hidden: int, ids: int) -> bytes:
    """Returns a record without sections with these sizes, and without a checksum."""
    hidden_size, ids_size, actions_size = _SIZES.unpack_from(record, CHECKED_FROM)
    before = np.frombuffer(record, record_dtype(hidden_size, ids_size, actions_size), 1)
    after = np.zeros(1, record_dtype(hidden, ids, actions_size))
    for name in ("version", *_COPIED, "actions_size", "actions"):
        after[name] = before[name]
    fitting = min(ids, ids_size)
    after["event_ids"][:, ids - fitting :] = before["event_ids"][:, ids_size - fitting :]
    if hidden_size == hidden:
        after["weights"], after["hidden"] = before["weights"], before["hidden"]
    return after.tobytes()


def _check(record: bytes) -> None:
    """Raises `RecordCorrupt` for bytes that are not a record."""
    if len(record) < _HEAD.itemsize or record[0] < FIRST_VERSION:
        raise RecordCorrupt(
            f"{len(record)} bytes that begin with {record[:1].hex() or 'nothing'} are not a user record"
        )
    if zlib.crc32(memoryview(record)[CHECKED_FROM:]) != int.from_bytes(record[1:CHECKED_FROM], "little"):
        raise RecordCorrupt(f"the checksum of a user record of {len(record)} bytes is wrong")
    end = _end_of_actions(record)
    if len(record) < end or (len(record) > end and record[0] == FIRST_VERSION):
        raise RecordCorrupt(f"a user record has {len(record)} bytes, by its sizes {end}")
    if record[0] == RECORD_VERSION:
        check_sections(record, end)


def _end_of_actions(record: bytes) -> int:
    """Returns where the last action of a record ends, by its sizes."""
    hidden, ids, actions = _SIZES.unpack_from(record, CHECKED_FROM)
    end: int = _HEAD_BYTES + _HALF * hidden + _EVENT_ID * ids + _ACTION_BYTES * actions
    return end


def _ends_of_actions(heads: NDArray[np.void]) -> NDArray[np.int64]:
    """Does what `_end_of_actions` does, for many heads."""
    hidden, ids, actions = (heads[name].astype(np.int64) for name in ("hidden_size", "ids_size", "actions_size"))
    return _HEAD_BYTES + _HALF * hidden + _EVENT_ID * ids + _ACTION_BYTES * actions


def _parted(record: bytes) -> tuple[bytes, bytes]:
    """Returns a sound record up to its last action, and its sections.

    What a later version has there may be something else, and is left out.
    """
    end = _end_of_actions(record)
    if record[0] > RECORD_VERSION:
        try:
            check_sections(record, end)
        except RecordCorrupt:
            return record[:end], b""
    return record[:end], record[end:]
