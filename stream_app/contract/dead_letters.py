"""Dead letters: records that are not events, with their key, value and headers, and the reason in new headers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final, NamedTuple, TypeAlias

from aiokafka import ConsumerRecord

from stream_app.contract.events import Rejection
from stream_app.contract.records import OutgoingRecord

HEADER_PREFIX: Final = "nextact.error."
REPLAY_HEADER: Final = "nextact.replay"  # number of replays; with .partition and .offset: those of the dead letter
_LONGEST_NUMBER: Final = 19  # digits of the largest integer of 64 bits
Header: TypeAlias = tuple[str, bytes]


def dead_letter(record: ConsumerRecord[bytes, bytes], rejection: Rejection) -> OutgoingRecord:
    """Returns the record to publish for a rejected one."""
    values: dict[str, Any] = {
        "reason": rejection.reason,
        "message": rejection.message,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "version": version("nextact"),
    }
    headers = [(HEADER_PREFIX + name, str(value).encode()) for name, value in values.items()]
    return OutgoingRecord(record.key, record.value, (*record.headers, *headers))


class DeadLetter(NamedTuple):
    """A decoded record of the dead letters topic; a header that is missing gives "" for a text and -1 for a number."""

    partition: int  # of the dead letter itself, not of its source; so are offset and timestamp
    offset: int
    timestamp: int  # milliseconds since the epoch
    reason: str
    message: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_timestamp: int
    replays: int  # how often the record had been replayed before it was rejected
    key: bytes | None
    value: bytes | None
    headers: list[Header]  # the publisher's, without nextact's own


def read_dead_letter(record: ConsumerRecord[bytes, bytes]) -> DeadLetter:
    """Decodes a dead letter, the inverse of `dead_letter`; of a repeated header the last one counts."""
    headers = {name: value for name, value in record.headers if value is not None}
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        reason=_text(headers.get(HEADER_PREFIX + "reason")),
        message=_text(headers.get(HEADER_PREFIX + "message")),
        source_topic=_text(headers.get(HEADER_PREFIX + "topic")),
        source_partition=_number(headers.get(HEADER_PREFIX + "partition"), -1),
        source_offset=_number(headers.get(HEADER_PREFIX + "offset"), -1),
        source_timestamp=_number(headers.get(HEADER_PREFIX + "timestamp"), -1),
        replays=_number(headers.get(REPLAY_HEADER), 0),
        key=record.key,
        value=record.value,
        headers=[header for header in record.headers if not header[0].startswith((HEADER_PREFIX, REPLAY_HEADER))],
    )


def replay_record(letter: DeadLetter) -> OutgoingRecord:
    """Returns the record as its publisher sent it, with headers for the number of replays and the dead letter."""
    values = {"": letter.replays + 1, ".partition": letter.partition, ".offset": letter.offset}
    headers = [(REPLAY_HEADER + name, str(value).encode()) for name, value in values.items()]
    return OutgoingRecord(letter.key, letter.value, (*letter.headers, *headers))


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _number(value: bytes | None, default: int) -> int:
    text = _text(value)
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else default
