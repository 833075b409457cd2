"""The records of the joins topic, by which sequences come to users beside the events: MessagePack, keyed by a user.

Whoever owns the known user asks for the sequence (`JoinRequest`) where the event that told of the identity came to
them; whoever owns the anonymous user sends it (`JoinedSequence`). An import sends a shop's past (`ImportedPast`).
Fields are added, never changed or taken away; what a reader does not know it passes over.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.queries import MOST_WORDS, QueryWords
from model.state.past_users import PastUsers
from model.state.user_states import EVENT_ID_WINDOW

_USER_COLUMNS: Final = {"counts": "<i8", "last_times": "<i8", "sessions": "<u8"}
_ACTION_COLUMNS: Final = {
    "item_keys": "<u8",
    "contexts": "<u4",
    "times": "<i8",
    "action_sessions": "<u8",
    "numbers": "<u4",
}
ACTION_BYTES: Final = 32  # of an action in a record

Source = tuple[int, int]  # of the event that told of it: its partition, and its position (`model.state.log_cuts`)


class JoinRequest(msgspec.Struct, frozen=True, tag="request", gc=False):
    """Asks for the sequence of the anonymous user whose id is the key."""

    user_id: str  # who they turned out to be
    source: Source
    epoch: int  # of the stream: positions of another one mean nothing


class JoinedSequence(msgspec.Struct, frozen=True, tag="sequence", gc=False):
    """Carries a sequence to the known user whose id is the key."""

    source: Source
    anonymous_id: str  # whose it was
    sequence: bytes  # see `model.state.user_joins`


class ImportedPast(msgspec.Struct, frozen=True, tag="past", gc=False):
    """Carries the last actions of many users of a shop's past, as `PastUsers`, to the worker that has their states.

    A column is the bytes of its numbers, little-endian. All users belong to the partition of the key, which is one of
    them.
    """

    source: int  # which file, 64 bits
    end: int  # how many events of the file it is of
    users: list[str]
    sizes: bytes  # actions of each user
    event_ids: bytes  # EVENT_ID_WINDOW of each user
    columns: dict[str, bytes]
    query_keys: bytes
    query_words: bytes  # MOST_WORDS of each query


JoinRecord = JoinRequest | JoinedSequence | ImportedPast

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(JoinRecord)


def encode_join(record: JoinRecord) -> bytes:
    """Returns the value of a record."""
    return _ENCODER.encode(record)


def decode_join(key: bytes | None, value: bytes | None) -> tuple[str, JoinRecord]:
    """Returns the user in a record's key, and what its value says. Raises `ValueError`."""
    if not key or not value:
        raise ValueError("it has no key or no value")
    try:
        return key.decode(), _DECODER.decode(value)
    except msgspec.DecodeError as error:
        raise ValueError(f"it cannot be read: {error}") from error


def imported_past(past: PastUsers, source: int, end: int) -> ImportedPast:
    """Returns the record of users; `source` and `end` as in `ImportedPast`."""
    columns = {name: _bytes(getattr(past, name), kind) for name, kind in (_USER_COLUMNS | _ACTION_COLUMNS).items()}
    return ImportedPast(
        source=source,
        end=end,
        users=past.users,
        sizes=_bytes(np.diff(past.starts), "<u2"),
        event_ids=_bytes(past.event_ids, "<u8"),
        columns=columns,
        query_keys=_bytes(past.queries.keys, "<u8"),
        query_words=_bytes(past.queries.words, "<u2"),
    )


def past_of(record: ImportedPast) -> PastUsers:
    """Returns the users of a record. Raises `ValueError` for one whose columns do not fit together."""
    users, sizes = len(record.users), np.frombuffer(record.sizes, "<u2")
    actions, queries = int(sizes.sum()), len(record.query_keys) // 8
    if len(set(record.users)) != users or len(sizes) != users:
        raise ValueError(f"its {users} users are not distinct, or have {len(sizes)} sizes")
    return PastUsers(
        users=record.users,
        event_ids=_numbers(record.event_ids, "<u8", users * EVENT_ID_WINDOW).reshape(users, EVENT_ID_WINDOW),
        starts=np.concatenate(([0], np.cumsum(sizes[:users], dtype=np.int64))),
        queries=QueryWords(
            _numbers(record.query_keys, "<u8", queries),
            _numbers(record.query_words, "<u2", queries * MOST_WORDS).reshape(queries, MOST_WORDS),
        ),
        **{name: _numbers(record.columns.get(name, b""), kind, users) for name, kind in _USER_COLUMNS.items()},
        **{name: _numbers(record.columns.get(name, b""), kind, actions) for name, kind in _ACTION_COLUMNS.items()},
    )


def _bytes(column: NDArray[Any], kind: str) -> bytes:
    return column.astype(kind).tobytes()


def _numbers(data: bytes, kind: str, count: int) -> NDArray[Any]:
    """Reads a column into memory of its own."""
    if len(data) != count * np.dtype(kind).itemsize:
        raise ValueError(f"a column has {len(data)} bytes instead of {count} numbers")
    return np.frombuffer(data, kind).copy()
