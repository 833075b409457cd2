"""Record batches as aiokafka's producer takes them instead of its own builder, and their plain writer.

The format is version 2 (Kafka's documentation, "Record Batch"). Batches are compressed where they are written, outside
of the event loop. `record_batch` writes large ones from columns.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from aiokafka.record.util import calc_crc32c
from numpy.typing import NDArray

from stream_app.contract.records import OutgoingRecord
from stream_app.contract.topics import LARGEST_BATCH
from stream_app.kafka.compression import CODECS, compress
from stream_app.settings import Compression

Bytes: TypeAlias = NDArray[np.uint8]

_FRONT: Final = struct.Struct(">qiibI")  # base offset, length of what follows, leader epoch, magic, CRC-32C of the rest
# Attributes, last offset delta, first and last timestamp, producer id and epoch, first sequence number, records.
_CHECKED: Final = struct.Struct(">hiqqqhii")
HEADER_BYTES: Final = _FRONT.size + _CHECKED.size
_LENGTH_FROM: Final = 12  # bytes in front of what the length counts: base offset and length
_MAGIC: Final = 2  # version of the format
_TRANSACTIONAL: Final = 1 << 4  # bit of the attributes
_NULL: Final = b"\x01"  # the length -1: there is nothing, not even no bytes
_SMALL_VARINTS: Final = [bytes([2 * value]) for value in range(64)]


class RecordBatch(NamedTuple):
    """A batch of records whose header is not written yet."""

    data: Bytes  # begins with HEADER_BYTES for the header
    records: int
    codec: int = 0  # Kafka's number; 0: not compressed


def encode_records(
    records: Sequence[OutgoingRecord], *, largest: int = LARGEST_BATCH, compression: Compression = "none"
) -> list[RecordBatch]:
    """Makes batches of up to `largest` bytes, before compression, from records with any headers, in their order.

    A record that is larger by itself gets a batch of its own. A lone surrogate in a header's name stands for a byte, as
    Kafka takes any.
    """
    return [compressed(batch, compression) for batch in _encode(records, largest)]


def compressed(batch: RecordBatch, compression: Compression) -> RecordBatch:
    """Returns a batch compressed, unless that makes it larger."""
    if compression == "none":
        return batch
    packed = compress(compression, batch.data[HEADER_BYTES:])
    if len(packed) >= len(batch.data) - HEADER_BYTES:
        return batch
    data = np.empty(HEADER_BYTES + len(packed), np.uint8)
    data[HEADER_BYTES:] = np.frombuffer(packed, np.uint8)
    return RecordBatch(data, batch.records, CODECS[compression])


def joined(batches: Sequence[RecordBatch]) -> list[list[RecordBatch]]:
    """Groups batches that can be sent as one, in their order, by `join`."""
    groups: list[list[RecordBatch]] = []
    records = size = 0
    for batch in batches:
        records, size = records + batch.records, size + len(batch.data)
        if (
            groups
            and batch.codec == groups[-1][0].codec == 0
            and records <= len(_SMALL_VARINTS)
            and size <= LARGEST_BATCH
        ):
            groups[-1].append(batch)
        else:
            groups.append([batch])
            records, size = batch.records, len(batch.data)
    return groups


def join(batches: Sequence[RecordBatch]) -> RecordBatch:
    """Makes one batch of a group of `joined`; the numbers of its records have one byte, as before."""
    if len(batches) == 1:
        return batches[0]
    data = bytearray(HEADER_BYTES) + b"".join(batch.data[HEADER_BYTES:].tobytes() for batch in batches)
    at, records = HEADER_BYTES, sum(batch.records for batch in batches)
    for number in range(records):
        length, at = _read_varint(data, at)
        data[at + 2] = 2 * number  # behind attributes and time, a byte each
        at += length
    return RecordBatch(np.frombuffer(data, np.uint8), records)


def _read_varint(data: bytearray, at: int) -> tuple[int, int]:
    """Reads a number from 0 on, zigzag-encoded; returns it and where it ends."""
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1, at
        shift += 7


def _encode(records: Sequence[OutgoingRecord], largest: int) -> Iterator[RecordBatch]:
    parts, size, count = [bytes(HEADER_BYTES)], HEADER_BYTES, 0
    for record in records:
        data = _record_bytes(record, count)
        if count and size + len(data) > largest:
            yield RecordBatch(np.frombuffer(bytearray().join(parts), np.uint8), count)
            parts, size, count = [bytes(HEADER_BYTES)], HEADER_BYTES, 0
            data = _record_bytes(record, count)
        parts.append(data)
        size, count = size + len(data), count + 1
    if count:
        yield RecordBatch(np.frombuffer(bytearray().join(parts), np.uint8), count)


def _record_bytes(record: OutgoingRecord, number: int) -> bytes:
    """Encodes a record as number `number` of its batch, from 0."""
    parts = [b"\x00\x00", _varint_of(number), *_nullable(record.key), *_nullable(record.value)]
    parts.append(_varint_of(len(record.headers)))
    for name, value in record.headers:
        raw = name.encode(errors="surrogateescape")
        parts += (_varint_of(len(raw)), raw, *_nullable(value))
    body = b"".join(parts)
    return _varint_of(len(body)) + body


def _nullable(data: bytes | None) -> tuple[bytes, bytes]:
    return (_NULL, b"") if data is None else (_varint_of(len(data)), data)


def _varint_of(value: int) -> bytes:
    """Returns a number from 0 on, zigzag-encoded, seven bits a byte."""
    if value < len(_SMALL_VARINTS):
        return _SMALL_VARINTS[value]
    rest, out = 2 * value, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


class EncodedBatch:
    """A batch for aiokafka's producer, with the methods of aiokafka's `BatchBuilder` that the producer calls."""

    def __init__(self, batch: RecordBatch, *, time: float, transactional: bool) -> None:
        """`time`: of all records, in seconds since the epoch."""
        self.batch = batch
        self._milliseconds = int(1000 * time)
        self._transactional = transactional
        self._producer = (-1, -1, -1)  # id, epoch, first sequence number

    def append(self, **_: Any) -> None:
        """Takes no further record, which it says by returning None."""

    def close(self) -> None:
        """Does nothing: the batch is closed from the beginning."""

    def closed(self) -> bool:
        """Returns True: no record can be added."""
        return True

    def record_count(self) -> int:
        """Returns the number of records."""
        return self.batch.records

    def size(self) -> int:
        """Returns the size in bytes."""
        return len(self.batch.data)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        """Returns the whole batch; aiokafka asks again when it has to send again."""
        return bytes(self.buffer())

    def buffer(self) -> memoryview:
        """Returns the whole batch, without a copy."""
        data: Any = self.batch.data
        attributes = self.batch.codec | _TRANSACTIONAL * self._transactional
        last, time = self.batch.records - 1, self._milliseconds
        _CHECKED.pack_into(data, _FRONT.size, attributes, last, time, time, *self._producer, self.batch.records)
        checksum = calc_crc32c(memoryview(data)[_FRONT.size :])
        _FRONT.pack_into(data, 0, 0, len(data) - _LENGTH_FROM, -1, _MAGIC, checksum)
        return memoryview(data)
