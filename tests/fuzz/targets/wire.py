"""What record batches are made of: the bytes of a fetch from the bytes of a fuzzer, and seeds.

A fuzzer never guesses a checksum and seldom hits what compresses to something new. So an input begins with a byte of
options, and may have its lengths and checksums put right, and what its batches claim to be compressed, compressed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from stream_app.contract.records import OutgoingRecord
from stream_app.kafka.compression import CODECS, compress
from stream_app.kafka.encoded_batch import EncodedBatch, encode_records
from tests.unit.builders.wire_batches import changed, plain_batch, with_payload

REPAIR: Final = 1  # bits of the options: lengths and checksums are put right
PACK: Final = 2  # … and the payload of a batch is compressed with the codec that its attributes name
COMMITTED: Final = 4  # only committed records are read, and the transactions of producers 7 and 8 are aborted
SMALL: Final = 8  # a batch may unpack to SMALL_LIMIT bytes, and not to LIMIT
SMALL_LIMIT: Final = 300
LIMIT: Final = 1 << 16

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_FRONT: Final = struct.Struct(">qi")
_MAGIC_AT: Final = 16
_LEGACY_CRC_FROM: Final = 16
_LEAST_LEGACY: Final = 26  # bytes of the smallest message of version 0
_CODEC: Final = 7  # bits of the attributes
_NAMES: Final = {number: name for name, number in CODECS.items()}
_TRANSACTIONAL, _CONTROL = 16, 32  # bits of the attributes


class Fetch(NamedTuple):
    """What a broker is to have sent, and how it is to be read."""

    data: bytes
    options: int

    @property
    def largest(self) -> int:
        """How many bytes a batch may unpack to."""
        return SMALL_LIMIT if self.options & SMALL else LIMIT


def fetch_of(data: bytes) -> Fetch:
    """Returns the fetch that an input stands for."""
    options, rest = (data[0], data[1:]) if data else (0, b"")
    return Fetch(b"".join(_repaired(rest, bool(options & PACK))) if options & REPAIR else rest, options)


def _repaired(data: bytes, pack: bool) -> Iterator[bytes]:
    """Yields batches with the right length and checksum, and what is too short to be one."""
    at = 0
    while len(data) - at >= _LEAST_LEGACY:
        length = _FRONT.unpack_from(data, at)[1]
        end = at + _FRONT.size + length
        whole = data[at : end if at + _LEAST_LEGACY <= end <= len(data) else len(data)]
        at += len(whole)
        yield _repaired_batch(whole, pack) if whole[_MAGIC_AT] >= 2 else _repaired_message(whole)
    yield data[at:]


def _repaired_batch(batch: bytes, pack: bool) -> bytes:
    if len(batch) < _HEADER.size:
        return batch
    payload = batch[_HEADER.size :]
    codec = _NAMES.get(_HEADER.unpack_from(batch)[5] & _CODEC)
    if pack and codec is not None:
        payload = bytes(compress(codec, payload))
    return with_payload(batch, payload)


def _repaired_message(message: bytes) -> bytes:
    """Puts right a message of version 0 or 1: its length, and the CRC-32 of what is behind that."""
    rest = message[_LEGACY_CRC_FROM:]
    return message[:8] + struct.pack(">iI", len(rest) + 4, zlib.crc32(rest)) + rest


THREE: Final = [OutgoingRecord(b"u%d" % n, b"value %d" % n, [("trace", b"x"), ("none", None)]) for n in range(3)]
ODD: Final = [
    OutgoingRecord(None, None),
    OutgoingRecord(b"", b"", [("", b"")]),
    OutgoingRecord(b"k", bytes(200), [("tr\udce9ce", b"\xff")]),
]


def seeds() -> list[bytes]:
    """Returns inputs: every codec by both writers, every older format, transactions, markers, nothing, and cuts."""
    plain = b"".join(plain_batch(THREE, base=base) for base in (0, 3))
    ours = changed(_encoded(ODD), base_offset=5)
    found = [
        b"",
        _input(0, b""),
        _input(0, plain),
        _input(0, plain[:-7]),
        _input(0, plain[:40]),
        _input(REPAIR, plain),
        _input(REPAIR | COMMITTED, _transactions()),
        _input(REPAIR, changed(with_payload(plain_batch(THREE), b""), records=0)),
        _input(REPAIR, _many()),
        _input(REPAIR | SMALL, ours),
    ]
    for name, codec in CODECS.items():
        found += [
            _input(0, plain_batch(THREE, codec=codec)),
            _input(REPAIR, _encoded(ODD, name)),
            _input(REPAIR | PACK, changed(ours, attributes=codec)),
            _input(REPAIR | PACK | SMALL, changed(_encoded([OutgoingRecord(b"u", bytes(400))]), attributes=codec)),
        ]
    for magic, codec in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)]:
        legacy = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
        for number in range(3):
            legacy.append(number, 99, b"key", b"value" * 9)
        data = bytes(legacy.build())
        if codec:
            data = struct.pack(">q", 2) + data[8:]  # a message of messages has the offset of the last
        found.append(_input(REPAIR, data))
    return found


def _input(options: int, data: bytes) -> bytes:
    return bytes([options]) + data


def _encoded(records: list[OutgoingRecord], compression: Any = "none") -> bytes:
    (batch,) = encode_records(records, compression=compression)
    return EncodedBatch(batch, time=1.5, transactional=False)._build()


def _many() -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 1, 9, 1, 5, 1 << 20)
    for number in range(100):
        builder.append(number, 1000 * number, b"key", None, [])
    return bytes(builder.build())


def _transactions() -> bytes:
    """An aborted transaction with its marker, a committed one, and records outside of any."""

    def part(base: int, producer: int) -> bytes:
        return changed(plain_batch(THREE, base=base), attributes=_TRANSACTIONAL, producer_id=producer)

    def marker(offset: int, kind: bytes, producer: int) -> bytes:
        batch = plain_batch([OutgoingRecord(kind, bytes(6))], base=offset)
        return changed(batch, attributes=_TRANSACTIONAL | _CONTROL, producer_id=producer)

    abort, commit = b"\0\0\0\0", b"\0\0\0\1"
    return b"".join([part(0, 7), part(3, 9), marker(6, abort, 7), marker(7, commit, 9), plain_batch(THREE, base=8)])


TOKENS: Final = [
    b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01",
    bytes.fromhex("04224d18604082"),
    bytes.fromhex("28b52ffd"),
    bytes.fromhex("1f8b08"),
    b"\x80" * 9 + b"\x01",
    b"\xff" * 9 + b"\x01",
    b"\x7f" + b"\xff" * 7,
    b"\x80" + b"\0" * 7,
    struct.pack(">h", _TRANSACTIONAL | _CONTROL),
]
