"""A user's state as bytes: the record in the changelog and in the local store, packed and unpacked for whole batches.

Layout, little-endian, version 1: a header (below), the hidden state (H halves), the last event ids (E x 64 bits), then
the n last actions, oldest first, 12 bytes each. A record ends after its n-th action. The checksum is the CRC-32 of
everything behind it.
A later version must begin as version 1 does and add behind the last action what it has more: so this code reads of its
records what it knows, and a newer worker's partitions can go back to an older worker. Sizes may differ from record to
record: a sequence outlives the size of the hidden state, which is encoded from it.
Shapes: N records, M of them users, H hidden units, E event ids, L actions of the longest history.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.errors import RecordCorrupt
from model.kernels.crc32 import checksums

RECORD_VERSION: Final = 1
_CHECKED_FROM: Final = 5  # bytes: the version and the checksum itself come before

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
_HALF: Final = 2  # bytes of a number of the hidden state
_EVENT_ID: Final = 8  # bytes
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


def pack(users: UserRecords) -> list[bytes]:
    """Returns a record for each user."""
    n, length = users.item_keys.shape
    dtype = record_dtype(users.hidden.shape[1], users.event_ids.shape[1], length)
    rows = np.zeros(n, dtype)
    rows["version"] = RECORD_VERSION
    rows["hidden_size"] = users.hidden.shape[1]
    rows["ids_size"] = users.event_ids.shape[1]
    rows["actions_size"] = users.sizes
    rows["epoch"] = users.epoch
    rows["offset"] = users.offsets
    rows["count"] = users.counts
    rows["last_time"] = users.last_times
    rows["session"] = users.sessions
    rows["weights"] = users.weights_id
    rows["hidden"] = users.hidden
    rows["event_ids"] = users.event_ids
    rows["actions"]["object"] = users.item_keys
    rows["actions"]["context"] = users.contexts
    whole = dtype.itemsize
    ends = whole - (length - users.sizes) * ACTION.itemsize
    rows["checksum"] = checksums(rows.view(np.uint8).reshape(n, whole), _CHECKED_FROM, ends)
    data = rows.tobytes()
    return [data[i * whole : i * whole + end] for i, end in enumerate(ends.tolist())]


def record_position(record: bytes) -> tuple[int, int]:
    """Returns stream epoch and offset of the last event applied: of two records of a user, the higher is the newer.

    Raises `RecordCorrupt` for bytes that are not a record.
    """
    _check(record)
    head = np.frombuffer(record, _HEAD, 1)[0]
    return int(head["epoch"]), int(head["offset"])


@dataclass(frozen=True, slots=True)
class StoredUsers:
    """The users of one stream epoch in N records, M of them."""

    indices: NDArray[np.int64]  # (M,) of their records, rising
    rows: NDArray[np.void]  # (M,) of `record_dtype`; actions beyond `actions_size` are zero
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
    usual = (heads["version"] == RECORD_VERSION) & (heads["hidden_size"] == hidden) & (heads["ids_size"] == ids)
    for index in np.flatnonzero(~usual).tolist():
        sound[index] = _resized(sound[index], hidden, ids)
    dtype = record_dtype(hidden, ids, int(heads["actions_size"].max(initial=1)))
    rows = np.frombuffer(b"".join([record.ljust(dtype.itemsize, b"\0") for record in sound]), dtype)
    return StoredUsers(indices, rows, faults)


def _resized(record: bytes, hidden: int, ids: int) -> bytes:
    """Returns a record of any version and sizes in the layout of version 1 with these sizes, without a checksum."""
    hidden_size, ids_size, actions_size = _SIZES.unpack_from(record, _CHECKED_FROM)
    before = np.frombuffer(record, record_dtype(hidden_size, ids_size, actions_size), 1)
    after = np.zeros(1, record_dtype(hidden, ids, actions_size))
    for name in (*_COPIED, "actions_size", "actions"):
        after[name] = before[name]
    fitting = min(ids, ids_size)
    after["event_ids"][:, ids - fitting :] = before["event_ids"][:, ids_size - fitting :]
    if hidden_size == hidden:
        after["weights"], after["hidden"] = before["weights"], before["hidden"]
    return after.tobytes()


def _check(record: bytes) -> None:
    """Raises `RecordCorrupt` for bytes that are not a record."""
    if len(record) < _HEAD.itemsize or record[0] < RECORD_VERSION:
        raise RecordCorrupt(
            f"{len(record)} bytes that begin with {record[:1].hex() or 'nothing'} are not a user record"
        )
    if zlib.crc32(memoryview(record)[_CHECKED_FROM:]) != int.from_bytes(record[1:_CHECKED_FROM], "little"):
        raise RecordCorrupt(f"the checksum of a user record of {len(record)} bytes is wrong")
    hidden, ids, actions = _SIZES.unpack_from(record, _CHECKED_FROM)
    size = _HEAD.itemsize + _HALF * hidden + _EVENT_ID * ids + ACTION.itemsize * actions
    if len(record) < size or (len(record) > size and record[0] == RECORD_VERSION):
        raise RecordCorrupt(f"a user record has {len(record)} bytes, by its sizes {size}")
