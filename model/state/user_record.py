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
from itertools import compress, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import RecordCorrupt
from model.kernels.compiled import compiled
from model.kernels.crc32 import TABLES, checksum

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


class _Columns(NamedTuple):
    """`UserRecords` as the compiled loop takes them."""

    epoch: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    last_times: NDArray[np.int64]
    sessions: NDArray[np.uint64]
    weights_id: NDArray[np.uint64]
    hidden: NDArray[np.uint16]  # (N, H), the bits of the halves
    event_ids: NDArray[np.uint64]  # (N, E)
    item_keys: NDArray[np.uint64]  # (N, L)
    contexts: NDArray[np.uint32]  # (N, L)
    sizes: NDArray[np.int64]


def pack(users: UserRecords) -> list[bytes]:
    """Returns a record for each user."""
    return records_of(*packed(users))


def packed(users: UserRecords) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns the records of N users, one behind the other, and where each begins and the last ends (N + 1,)."""
    columns = _Columns(
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
    )
    text, starts = _pack(columns, TABLES)
    return text, starts


def records_of(text: NDArray[np.uint8], starts: NDArray[np.int64]) -> list[bytes]:
    """Returns each of the records that `packed` made."""
    data = text.tobytes()
    return [data[start:end] for start, end in pairwise(starts.tolist())]


@compiled
def _number(out: NDArray[np.uint8], at: int, value: int, size: int) -> int:
    """Writes a number of so many bytes, the least first; returns where it ends."""
    rest, to = np.uint64(value), np.uint64(at)  # unsigned, as numba looks whether a signed index counts from the end
    for byte in range(np.uint64(size)):
        out[to + byte] = rest >> np.uint64(8) * byte & np.uint64(0xFF)
    return at + size


@compiled
def _write_head(out: NDArray[np.uint8], at: int, users: _Columns, user: int) -> int:
    """Writes what a record has in front of the hidden state, without the checksum; returns where it ends."""
    out[at] = RECORD_VERSION
    at = _number(out, at + _CHECKED_FROM, users.hidden.shape[1], 2)
    at = _number(out, at, users.event_ids.shape[1], 2)
    at = _number(out, at, users.sizes[user], 2)
    at = _number(out, at, users.epoch, 4)
    at = _number(out, at, users.offsets[user], 8)
    at = _number(out, at, users.counts[user], 8)
    at = _number(out, at, users.last_times[user], 8)
    at = _number(out, at, users.sessions[user], 8)
    return _number(out, at, users.weights_id[user], 8)  # type: ignore[no-any-return]


@compiled
def _pack(users: _Columns, tables: NDArray[np.uint32]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Writes N records; see `packed`."""
    n, hidden, ids = len(users.sizes), users.hidden.shape[1], users.event_ids.shape[1]
    fixed = _HEAD_BYTES + _HALF * hidden + _EVENT_ID * ids
    out, starts = np.empty(n * fixed + users.sizes.sum() * _ACTION_BYTES, np.uint8), np.zeros(n + 1, np.int64)
    for user in range(n):
        start = starts[user]
        at = _write_head(out, start, users, user)
        for unit in range(hidden):
            at = _number(out, at, users.hidden[user, unit], _HALF)
        for index in range(ids):
            at = _number(out, at, users.event_ids[user, index], _EVENT_ID)
        for action in range(users.sizes[user]):
            at = _number(out, at, users.item_keys[user, action], 8)
            at = _number(out, at, users.contexts[user, action], 4)
        _number(out, start + 1, checksum(out[start + _CHECKED_FROM : at], tables), 4)
        starts[user + 1] = at
    return out, starts


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
