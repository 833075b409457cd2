"""The records of the joins topic, by which workers pass an anonymous user's sequence on: MessagePack, keyed by a user.

Whoever owns the known user asks for the sequence (`JoinRequest`) where the event that told of the identity came to
them; whoever owns the anonymous user sends it (`JoinedSequence`). Fields are added, never changed or taken away; what a
reader does not know it passes over.
"""

from __future__ import annotations

from typing import Final

import msgspec

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


JoinRecord = JoinRequest | JoinedSequence

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(JoinRequest | JoinedSequence)


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
