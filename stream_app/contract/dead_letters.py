"""Dead letters: records that are not events, with their key, value and headers, and the reason in new headers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final, NamedTuple, TypeAlias

from aiokafka import ConsumerRecord

from stream_app.contract.decoded import Rejection
from stream_app.contract.records import OutgoingRecord, UnreadableBatch
from stream_app.contract.topics import LARGEST_DEAD_LETTER

HEADER_PREFIX: Final = "nextact.error."
REPLAY_HEADER: Final = "nextact.replay"  # number of replays; with .partition and .offset: those of the dead letter
VERSION: Final = version("nextact")  # of this program; asking for it reads a file
Header: TypeAlias = tuple[str, bytes | None]

_LONGEST_NUMBER: Final = 19  # digits of the largest integer of 64 bits
_PER_RECORD: Final = 192  # most bytes of a batch around one record: headers, lengths, deltas
_PER_HEADER: Final = 10  # most bytes of the two lengths of a header
_CUT_HEADERS: Final = 512  # most bytes of the headers that say what was cut
_CUT_PARTS: Final = {"key": "key_bytes", "headers": "headers_left_out", "value": "value_bytes"}  # the header of each


def dead_letter(
    record: ConsumerRecord[bytes, bytes], rejection: Rejection, largest: int = LARGEST_DEAD_LETTER
) -> OutgoingRecord:
    """Returns the record to publish for a rejected one: as it came, but cut where the topic would not take it.

    `largest`: bytes of a batch of one record. What was cut is said in headers: how many bytes there were, and their
    SHA-256. The value goes first, then the publisher's headers (all of them), then the key.
    """
    values: dict[str, Any] = {
        "reason": rejection.reason,
        "message": rejection.message,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "version": VERSION,
    }
    if isinstance(record, UnreadableBatch):
        values["first_offset"] = record.first_offset
    own = _headers(values)
    room = largest - _PER_RECORD - _size_of(own)
    letter = OutgoingRecord(record.key, record.value, (*record.headers, *own))
    if len(record.key or b"") + len(record.value or b"") + _size_of(record.headers) <= room:
        return letter
    return _cut(record, own, room - _CUT_HEADERS)


def _cut(record: ConsumerRecord[bytes, bytes], own: list[Header], room: int) -> OutgoingRecord:
    """Keeps what fits into `room` bytes: the key first, then the publisher's headers, then the value."""
    cut: dict[str, Any] = {}
    key = _cut_to(record.key, room, "key", cut)
    room -= len(key or b"")
    headers, size = list(record.headers), _size_of(record.headers)
    if headers and size > room:
        headers, size = [], 0
        cut["headers_left_out"] = len(record.headers)
    value = _cut_to(record.value, room - size, "value", cut)
    return OutgoingRecord(key, value, (*headers, *own, *_headers(cut)))


def _cut_to(data: bytes | None, size: int, name: str, cut: dict[str, Any]) -> bytes | None:
    """Returns the first `size` bytes at most, and notes under `name` what there was if that is not all."""
    if data is None or len(data) <= size:
        return data
    cut[f"{name}_bytes"] = len(data)
    cut[f"{name}_sha256"] = hashlib.sha256(data).hexdigest()
    return data[: max(size, 0)]


def _headers(values: Mapping[str, Any]) -> list[Header]:
    return [(HEADER_PREFIX + name, str(value).encode(errors="replace")) for name, value in values.items()]


def _size_of(headers: Iterable[tuple[str, bytes | None]]) -> int:
    """Returns the most bytes that headers take."""
    return sum([_PER_HEADER + _longest(name) + len(value or b"") for name, value in headers])


def _longest(name: str) -> int:
    """Returns the most bytes of a name, whose characters take up to four each."""
    return len(name) if name.isascii() else 4 * len(name)


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
    source_first_offset: int = -1  # of a batch that could not be read; -1: it was one record
    cut: tuple[str, ...] = ()  # what was too large to be kept whole: "key", "headers", "value"
    value_bytes: int = -1  # of the value before it was cut; -1: it is whole


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
        source_first_offset=_number(headers.get(HEADER_PREFIX + "first_offset"), -1),
        cut=tuple(part for part, name in _CUT_PARTS.items() if HEADER_PREFIX + name in headers),
        value_bytes=_number(headers.get(HEADER_PREFIX + "value_bytes"), -1),
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
