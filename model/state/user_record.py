"""A user's state as bytes: the record in the changelog and in the local store, packed and unpacked for whole batches.

Layout, little-endian, version 1: a header (below), the hidden state (H halves), the last event ids (E x 64 bits), then
the n last actions, oldest first, 12 bytes each. A record ends after its n-th action. The checksum is the CRC-32 of
everything behind it.
Shapes: N users, H hidden units, E event ids, L actions of the longest history.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
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

    Raises `RecordCorrupt`, as `unpack` does.
    """
    _check(record)
    head = np.frombuffer(record, _HEAD, 1)[0]
    return int(head["epoch"]), int(head["offset"])


def unpack(records: Sequence[bytes], hidden: int, ids: int) -> NDArray[np.void]:
    """Returns the fields of N records, (N,) of `record_dtype`, with room for the longest history, at least one action.

    Actions beyond `actions_size` are zero. Raises `RecordCorrupt` when a record has another version, a wrong checksum
    or other sizes.
    """
    for record in records:
        _check(record)
    heads = np.frombuffer(b"".join([record[: _HEAD.itemsize] for record in records]), _HEAD)
    sizes = np.stack((heads["hidden_size"], heads["ids_size"]), 1)
    lengths = np.fromiter(map(len, records), np.int64, len(records))
    whole = record_dtype(hidden, ids, 0).itemsize + heads["actions_size"].astype(np.int64) * ACTION.itemsize
    wrong = np.flatnonzero((sizes != (hidden, ids)).any(1) | (lengths != whole))
    if len(wrong):
        raise RecordCorrupt(
            f"a user record has hidden state and id window of {tuple(sizes[wrong[0]].tolist())}, "
            f"this worker wants {(hidden, ids)}"
        )
    dtype = record_dtype(hidden, ids, int(heads["actions_size"].max(initial=1)))
    return np.frombuffer(b"".join([record.ljust(dtype.itemsize, b"\0") for record in records]), dtype)


def _check(record: bytes) -> None:
    if len(record) < _HEAD.itemsize or record[0] != RECORD_VERSION:
        raise RecordCorrupt(
            f"a user record of {len(record)} bytes has version {record[:1].hex() or 'none'}, "
            f"not {RECORD_VERSION}: it was written by another nextact or is damaged"
        )
    if zlib.crc32(memoryview(record)[_CHECKED_FROM:]) != int.from_bytes(record[1:_CHECKED_FROM], "little"):
        raise RecordCorrupt(f"the checksum of a user record of {len(record)} bytes is wrong")
