"""Dead letters: a rejected record goes there and back and out again the same, and any record there can be read.

An input: a byte of options, two bytes of what the topic takes beyond the least, then parts, each behind a byte with its
length (255: it is null): the key, the value, and name and content of each header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Final

from aiokafka import ConsumerRecord

from stream_app.contract.dead_letters import (
    HEADER_PREFIX,
    REPLAY_HEADER,
    DeadLetter,
    dead_letter,
    read_dead_letter,
    replay_record,
)
from stream_app.contract.decoded import Rejection
from stream_app.contract.records import OutgoingRecord
from stream_app.dead_letters.listing import as_json, line
from stream_app.kafka.encoded_batch import EncodedBatch, encode_records
from stream_app.kafka.record_reader import read_batches
from tests.fuzz.targets.records import record_of

_NULL: Final = 255  # in the place of a length
_LARGE: Final = 1  # bit of the options: the value is repeated
_LEAST: Final = 4096  # bytes that a topic takes at least
_WIDTH: Final = 80  # characters of a line
_REJECTION: Final = Rejection(0, "not_json", "nobody \ud800 can read it")
_OWN: Final = (HEADER_PREFIX, REPLAY_HEADER)


def check(data: bytes) -> None:
    """Reads a record as a dead letter, and makes a dead letter of it."""
    options, more, parts = data[:1], int.from_bytes(data[1:3], "big"), list(_parts(data[3:]))
    key, value, *rest = [*parts, None, None][: max(2, len(parts))]
    if options and options[0] & _LARGE and value is not None:
        value *= 50
    named = zip(rest[::2], rest[1::2], strict=False)
    headers = tuple(((name or b"").decode(errors="surrogateescape"), content) for name, content in named)
    record = record_of(OutgoingRecord(key, value, headers))
    _check_reading(record)
    _check_round_trip(record, _LEAST + more)


def _parts(data: bytes) -> Iterator[bytes | None]:
    while data:
        length, data = data[0], data[1:]
        if length == _NULL:
            yield None
        else:
            yield data[:length]
            data = data[length:]


def _check_reading(record: ConsumerRecord[bytes, bytes]) -> None:
    """Whatever lies on the topic can be read, shown and replayed."""
    letter = read_dead_letter(record)
    assert line(letter, _WIDTH).isprintable()
    assert len(line(letter, _WIDTH)) <= _WIDTH
    shown = as_json(letter)
    assert "\n" not in shown
    assert json.loads(shown)["reason"] == letter.reason
    assert (letter.key, letter.value) == (record.key, record.value)
    assert list(letter.headers) == [header for header in record.headers if not header[0].startswith(_OWN)]
    assert all(-(10**19) < number < 10**19 for number in (letter.replays, letter.source_offset, letter.value_bytes))
    _check_replay(letter)


def _check_replay(letter: DeadLetter) -> None:
    again = _sent(replay_record(letter))
    assert (again.key, again.value) == (letter.key, letter.value)
    assert list(again.headers)[: len(letter.headers)] == letter.headers
    rejected = read_dead_letter(_sent(dead_letter(again, _REJECTION)))
    assert rejected.replays == letter.replays + 1 or rejected.replays == 0 < 10**18 < letter.replays
    assert rejected.headers == letter.headers


def _check_round_trip(record: ConsumerRecord[bytes, bytes], largest: int) -> None:
    """What a worker writes fits, says what was cut, and is read as what it was."""
    outgoing = dead_letter(record, _REJECTION, largest)
    (batch,) = encode_records([outgoing])
    assert len(batch.data) <= largest
    letter = read_dead_letter(_sent(outgoing))
    assert (letter.reason, letter.source_topic, letter.source_offset) == ("not_json", record.topic, record.offset)
    assert "nobody" in letter.message
    for name, kept, whole in (("key", letter.key, record.key), ("value", letter.value, record.value)):
        if _forged(record, name):
            continue  # who copies a dead letter to the events topic keeps what it says
        if name in letter.cut:
            assert whole is not None
            assert kept == whole[: len(kept or b"")]
            digest = dict(outgoing.headers)[f"{HEADER_PREFIX}{name}_sha256"]
            assert digest == hashlib.sha256(whole).hexdigest().encode()
        else:
            assert kept == whole
    if "headers" not in letter.cut:
        assert letter.headers == [header for header in record.headers if not header[0].startswith(_OWN)]


def _forged(record: ConsumerRecord[bytes, bytes], name: str) -> bool:
    return any(header.startswith(HEADER_PREFIX + name) for header, _ in record.headers)


def _sent(record: OutgoingRecord) -> ConsumerRecord[bytes, bytes]:
    """Returns a record as it comes out of Kafka."""
    (batch,) = encode_records([record])
    ((read,),) = [found.records for found in read_batches(EncodedBatch(batch, time=1, transactional=False)._build())]
    return record_of(OutgoingRecord(read.key, read.value, tuple(read.headers)))


def seeds() -> list[bytes]:
    """Returns records with all that may be cut, null or odd, dead letters, and replayed ones."""
    value = b'{"user_id":3}'
    letter = dead_letter(record_of(OutgoingRecord(b"u", value)), _REJECTION)
    replayed = dead_letter(_sent(replay_record(read_dead_letter(record_of(letter)))), _REJECTION)
    records = [
        OutgoingRecord(None, None),
        OutgoingRecord(b"u", value),
        OutgoingRecord(b"u", value, [("trace", b"x"), ("", None), ("tr\udce9ce", b"")]),
        OutgoingRecord(b"k" * 250, b"v" * 250, [("name" * 60, b"h" * 250)] * 3),
        OutgoingRecord(b"u", value, [(HEADER_PREFIX + "value_bytes", b"9" * 19), (REPLAY_HEADER, b"\xd9\xa3")]),
        OutgoingRecord(b"u", value, [(REPLAY_HEADER, b"9" * 19), (HEADER_PREFIX + "first_offset", b"-3")]),
        letter,
        replayed,
    ]
    return [b"", *(_input(record, options) for record in records for options in (0, _LARGE))]


def _input(record: OutgoingRecord, options: int) -> bytes:
    parts = [record.key, record.value]
    for name, content in record.headers:
        parts += (name.encode(errors="surrogateescape"), content)
    framed = [bytes([_NULL]) if part is None else bytes([len(part)]) + part for part in parts]
    return bytes([options, 0, 9]) + b"".join(framed)


TOKENS: Final[Sequence[bytes]] = [
    *(
        (HEADER_PREFIX + name).encode()
        for name in ("reason", "message", "offset", "first_offset", "key_bytes", "headers_left_out", "value_bytes")
    ),
    REPLAY_HEADER.encode(),
    b"9999999999999999999",
    "\u0663\u00b2".encode(),
    b"\x1b[2J\n",
]
