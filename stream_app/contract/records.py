"""Records as they come from Kafka and go to it, without a Kafka client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from aiokafka import ConsumerRecord


class Record(Protocol):
    """The fields that decoding needs of a consumed Kafka record."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class OutgoingRecord(NamedTuple):
    """A record to send to Kafka."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()  # in names, lone surrogates stand for bytes that are not UTF-8


UnreadableReason = Literal["unreadable", "too_large"]


@dataclass
class UnreadableBatch(ConsumerRecord[bytes, bytes]):  # type: ignore[misc]
    """Stands for a batch, or the rest of one, that nobody can read: without key and value, at its last offset."""

    first_offset: int = -1
    reason: UnreadableReason = "unreadable"
    message: str = ""

    @property
    def records(self) -> int:
        """How many offsets it stands for."""
        return int(self.offset) + 1 - self.first_offset
