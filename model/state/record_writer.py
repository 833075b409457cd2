"""Writes users' records, a batch of them in one compiled call; `user_record` says what the layout is.

Shapes: N users, H hidden units, E event ids, L actions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled
from model.kernels.crc32 import checksum

CHECKED_FROM: Final = 5  # bytes: the version and the checksum itself come before
_HALF: Final = 2  # bytes of a number of the hidden state
_EVENT_ID: Final = 8  # bytes
_ACTION_BYTES: Final = 12


class RecordColumns(NamedTuple):
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
    sections: NDArray[np.uint8]
    section_starts: NDArray[np.int64]  # (N + 1,)
    version: int


@compiled
def write_number(out: NDArray[np.uint8], at: int, value: int, size: int) -> int:
    """Writes a number of so many bytes, the least first; returns where it ends."""
    rest, to = np.uint64(value), np.uint64(at)  # unsigned, as numba looks whether a signed index counts from the end
    for byte in range(np.uint64(size)):
        out[to + byte] = rest >> np.uint64(8) * byte & np.uint64(0xFF)
    return at + size


@compiled
def _write_head(out: NDArray[np.uint8], at: int, users: RecordColumns, user: int) -> int:
    """Writes what a record has in front of the hidden state, without the checksum; returns where it ends."""
    out[at] = users.version
    at = write_number(out, at + CHECKED_FROM, users.hidden.shape[1], 2)
    at = write_number(out, at, users.event_ids.shape[1], 2)
    at = write_number(out, at, users.sizes[user], 2)
    at = write_number(out, at, users.epoch, 4)
    at = write_number(out, at, users.offsets[user], 8)
    at = write_number(out, at, users.counts[user], 8)
    at = write_number(out, at, users.last_times[user], 8)
    at = write_number(out, at, users.sessions[user], 8)
    return write_number(out, at, users.weights_id[user], 8)  # type: ignore[no-any-return]


@compiled
def write_records(
    users: RecordColumns, head_bytes: int, tables: NDArray[np.uint32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Writes N records with heads of so many bytes; see `user_record.packed`. `tables` are those of `crc32`."""
    n, hidden, ids = len(users.sizes), users.hidden.shape[1], users.event_ids.shape[1]
    fixed = head_bytes + _HALF * hidden + _EVENT_ID * ids
    size = n * fixed + users.sizes.sum() * _ACTION_BYTES + len(users.sections)
    out, starts = np.empty(size, np.uint8), np.zeros(n + 1, np.int64)
    for user in range(n):
        start = starts[user]
        at = _write_head(out, start, users, user)
        for unit in range(hidden):
            at = write_number(out, at, users.hidden[user, unit], _HALF)
        for index in range(ids):
            at = write_number(out, at, users.event_ids[user, index], _EVENT_ID)
        for action in range(users.sizes[user]):
            at = write_number(out, at, users.item_keys[user, action], 8)
            at = write_number(out, at, users.contexts[user, action], 4)
        for byte in range(users.section_starts[user], users.section_starts[user + 1]):
            out[at] = users.sections[byte]
            at += 1
        write_number(out, start + 1, checksum(out[start + CHECKED_FROM : at], tables), 4)
        starts[user + 1] = at
    return out, starts
