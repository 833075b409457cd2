"""Dead letters: records that are no events, with their key, bytes and headers kept and the reason in new headers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final, NamedTuple, TypeAlias

from aiokafka import ConsumerRecord

from stream_app.contract.events import Rejection
from stream_app.contract.records import Outgoing

HEADER_PREFIX: Final = "nextact.error."
REPLAY_HEADER: Final = "nextact.replay"  # the number of replays; .partition and .offset: of the dead letter
Header: TypeAlias = tuple[str, bytes]


def dead_letter(record: ConsumerRecord[bytes, bytes], rejected: Rejection) -> Outgoing:
    """The record to publish for a rejected one."""
    facts: dict[str, Any] = {
        "reason": rejected.reason,
        "message": rejected.message,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "version": version("nextact"),
    }
    headers = [(HEADER_PREFIX + name, str(fact).encode()) for name, fact in facts.items()]
    return Outgoing(record.key, record.value, (*record.headers, *headers))


class DeadLetter(NamedTuple):
    """A record of the dead letters topic, taken apart; texts are "" and numbers -1 where its headers say nothing."""

    partition: int  # of the dead letter itself, as are offset and timestamp
    offset: int
    timestamp: int  # milliseconds since the epoch
    reason: str
    message: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_timestamp: int
    replays: int  # how often the record had been published again before it was rejected
    key: bytes | None
    value: bytes | None
    headers: list[Header]  # those of the publisher


def read_dead_letter(record: ConsumerRecord[bytes, bytes]) -> DeadLetter:
    """The inverse of `dead_letter`; of a header that comes several times the last one counts."""
    found = {name: value for name, value in record.headers if value is not None}
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        reason=_text(found.get(HEADER_PREFIX + "reason")),
        message=_text(found.get(HEADER_PREFIX + "message")),
        source_topic=_text(found.get(HEADER_PREFIX + "topic")),
        source_partition=_number(found.get(HEADER_PREFIX + "partition"), -1),
        source_offset=_number(found.get(HEADER_PREFIX + "offset"), -1),
        source_timestamp=_number(found.get(HEADER_PREFIX + "timestamp"), -1),
        replays=_number(found.get(REPLAY_HEADER), 0),
        key=record.key,
        value=record.value,
        headers=[header for header in record.headers if not header[0].startswith((HEADER_PREFIX, REPLAY_HEADER))],
    )


def replayed(letter: DeadLetter) -> Outgoing:
    """The record as its publisher sent it, with headers that say how often and whence it was published again."""
    facts = {"": letter.replays + 1, ".partition": letter.partition, ".offset": letter.offset}
    headers = [(REPLAY_HEADER + name, str(fact).encode()) for name, fact in facts.items()]
    return Outgoing(letter.key, letter.value, (*letter.headers, *headers))


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _number(value: bytes | None, default: int) -> int:
    text = _text(value)
    return int(text) if text.isdecimal() else default
