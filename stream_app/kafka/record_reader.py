"""Reads Kafka's record batches from bytes, by the book and forgivingly: no I/O, no consumer, no state.

The format is version 2 (Kafka's documentation, "Record Batch"), or an older one ("Old Message Format"). A header's name
is bytes on the wire: those that are not UTF-8 come as lone surrogates (`errors="surrogateescape"`), so that the same
bytes can be written again. What cannot be read is said with the offsets it stands for, and never unpacked beyond a
limit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from aiokafka.record.util import calc_crc32c

from stream_app.contract.records import UnreadableReason
from stream_app.kafka.compression import (
    CODEC_MASK,
    CODECS,
    Buffer,
    DamagedData,
    UnknownCodec,
    UnpacksTooLarge,
    codec_name,
    decompress,
)

LARGEST_UNPACKED: Final = 128 * 1024 * 1024  # bytes of a batch's records; no batch of a publisher is near it

_FRONT: Final = struct.Struct(">qi")  # of a batch: base offset, length of what follows
_MAGIC_AT: Final = 16  # where every format has its version
_LEAST_LEGACY: Final = 14  # bytes behind the front of the smallest message of version 0
# Offset, length of what follows, CRC-32, version, attributes, and in version 1 the time.
_LEGACY: Final = (struct.Struct(">qiIbb"), struct.Struct(">qiIbbq"))
_LENGTH: Final = struct.Struct(">i")

HEADER: Final = struct.Struct(">qiibIhiqqqhii")  # the fields of BatchHeader
_LEAST: Final = HEADER.size - _FRONT.size  # bytes behind the front of a batch of version 2 without records
_CRC_FROM: Final = 21  # the first byte that the checksum covers: the attributes
_APPEND_TIME: Final = 1 << 3  # bits of the attributes
_TRANSACTIONAL: Final = 1 << 4
_INT64: Final = range(-(2**63), 2**63)


class UnreadableData(Exception):
    """A batch cannot be read; the message says why."""

    def __init__(self, message: str, reason: UnreadableReason = "unreadable") -> None:
        super().__init__(message)
        self.reason: UnreadableReason = reason


class RawBatch(NamedTuple):
    """The bytes of one batch, front included."""

    data: bytes
    base_offset: int  # of the first record; in the older formats of a message, or of the last one in it
    problem: str = ""  # why the bytes are not a whole batch; nothing can be said of those behind them

    @property
    def magic(self) -> int:
        """The version of the format."""
        return self.data[_MAGIC_AT]


class BatchHeader(NamedTuple):
    """The header of a batch of version 2, field by field as it lies there."""

    base_offset: int
    length: int  # of the rest, in bytes
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int  # milliseconds since the epoch; so is the next
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def codec(self) -> int:
        """Kafka's number of the codec."""
        return self.attributes & CODEC_MASK

    @property
    def is_transactional(self) -> bool:
        """Whether this is part of a transaction."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def next_offset(self) -> int:
        """The offset behind the batch; one behind the first where the header cannot be right."""
        return self.base_offset + max(self.last_offset_delta, 0) + 1


class ReadRecord(NamedTuple):
    """A record, with the attributes that aiokafka's have."""

    offset: int
    timestamp: int | None  # milliseconds since the epoch; None in version 0, as the next
    timestamp_type: int | None  # 1: the time of the append
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: int | None = None


class ReadBatch(NamedTuple):
    """What could be read of a batch, and why not the rest."""

    records: list[ReadRecord]
    next_offset: int
    problem: UnreadableData | None


def read_batches(data: bytes, largest: int = LARGEST_UNPACKED) -> Iterator[ReadBatch]:
    """Reads all batches of a fetch, control batches included; a last one that is cut off is left out.

    `largest`: bytes to which a batch may unpack.
    """
    for batch in split(data):
        records: list[ReadRecord] = []
        problem = None
        try:
            records.extend(read_records(batch, largest))
        except UnreadableData as error:
            problem = error
        yield ReadBatch(records, next_offset(batch), problem)


def split(data: bytes) -> Iterator[RawBatch]:
    """Cuts what a broker sent into batches. A last one that is cut off is normal, and left out; a first one is not."""
    at, size = 0, len(data)
    while at + _FRONT.size <= size:
        base_offset, length = _FRONT.unpack_from(data, at)
        end = at + _FRONT.size + length
        if length < _LEAST_LEGACY or (data[at + _MAGIC_AT : at + _MAGIC_AT + 1] >= b"\x02" and length < _LEAST):
            yield RawBatch(data[at:], base_offset, f"its length is {length} bytes, less than its header")
            return
        if end > size:
            break
        yield RawBatch(data[at:end], base_offset)
        at = end
    if at == 0 and size:
        base_offset = _FRONT.unpack_from(data)[0] if size >= _FRONT.size else 0
        yield RawBatch(data, base_offset, f"the {size} bytes that the broker sent are not the whole batch")


def next_offset(batch: RawBatch) -> int:
    """Returns the offset behind a batch."""
    if batch.problem or batch.magic < 2:
        return batch.base_offset + 1
    return header_of(batch).next_offset


def header_of(batch: RawBatch) -> BatchHeader:
    """Returns the header of a whole batch of version 2."""
    return BatchHeader(*HEADER.unpack_from(batch.data))


def read_records(batch: RawBatch, largest: int = LARGEST_UNPACKED) -> Iterator[ReadRecord]:
    """Yields the records of a batch of any version. Raises `UnreadableData`."""
    if batch.problem:
        raise UnreadableData(batch.problem)
    if batch.magic < 2:
        yield from _legacy_records(batch, largest)
        return
    header = header_of(batch)
    check_crc(batch, header)
    yield from records_of(header, unpacked(batch, header, largest))


def check_crc(batch: RawBatch, header: BatchHeader) -> None:
    """Raises `UnreadableData` when the bytes of a batch are not those that were written."""
    crc = calc_crc32c(memoryview(batch.data)[_CRC_FROM:])
    if crc != header.crc:
        raise UnreadableData(f"its checksum is {crc:08x}, and should be {header.crc:08x}")


def unpacked(batch: RawBatch, header: BatchHeader, largest: int) -> Buffer:
    """Returns the bytes of a batch's records, unpacked. Raises `UnreadableData`."""
    if not header.records and len(batch.data) == HEADER.size:
        return b""  # compaction keeps the last batch of a producer, without its records
    return _unpack(header.codec, memoryview(batch.data)[HEADER.size :], largest)


def _unpack(codec: int, data: Buffer, largest: int) -> Buffer:
    try:
        return decompress(codec, data, largest)
    except UnpacksTooLarge:
        raise UnreadableData(
            f"{len(data):,} bytes in {codec_name(codec)} unpack to more than {largest:,}", "too_large"
        ) from None
    except DamagedData as error:
        raise UnreadableData(f"{len(data):,} bytes are not {codec_name(codec)}: {error}") from None
    except UnknownCodec as error:
        raise UnreadableData(str(error)) from None


def records_of(header: BatchHeader, payload: Buffer) -> Iterator[ReadRecord]:
    """Yields the records in the unpacked payload of a batch. Raises `UnreadableData` where one cannot be read."""
    data = memoryview(payload)
    at, before = 0, header.base_offset - 1
    for number in range(header.records):
        try:
            record, at = _record(header, data, at)
        except (IndexError, UnreadableData) as error:
            raise UnreadableData(f"its record {number} of {header.records} cannot be read: {_said(error)}") from None
        if not before < record.offset < header.next_offset:
            raise UnreadableData(f"its record {number} of {header.records} claims offset {record.offset}")
        before = record.offset
        yield record
    if at != len(data):
        raise UnreadableData(f"{len(data) - at} bytes lie behind the last of its {header.records} records")


def _record(header: BatchHeader, data: memoryview, at: int) -> tuple[ReadRecord, int]:
    """Returns the record that begins at `at`, and where it ends."""
    length, start = _varint(data, at)
    if length < 0 or start + length > len(data):
        raise UnreadableData(f"it claims {length} bytes")
    data = data[: start + length]
    time_delta, at = _varint(data, start + 1)  # behind the attributes, which are not used
    offset_delta, at = _varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    count, at = _varint(data, at)
    if count < 0:
        raise UnreadableData(f"it claims {count} headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = _bytes(data, at)
        if name is None:
            raise UnreadableData("a header has no name")
        content, at = _bytes(data, at)
        headers.append((name.decode(errors="surrogateescape"), content))
    if at != start + length:
        raise UnreadableData(f"it claims {length} bytes and has {at - start}")
    append_time = bool(header.attributes & _APPEND_TIME)
    timestamp = header.max_timestamp if append_time else header.first_timestamp + time_delta
    if timestamp not in _INT64:
        raise UnreadableData(f"its timestamp is {timestamp}")
    return ReadRecord(header.base_offset + offset_delta, timestamp, int(append_time), key, value, headers), at


def _bytes(data: memoryview, at: int) -> tuple[bytes | None, int]:
    """Reads bytes behind their length, which is negative where there are none, and where they end."""
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise UnreadableData(f"a part of it claims {length} bytes")
    return bytes(data[at : at + length]), at + length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Reads a number, zigzag-encoded, seven bits a byte, and where it ends. Raises `IndexError` behind the end."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift > 70 or value >= 2**64:
            raise UnreadableData("a number has more than 64 bits")
    return (value >> 1) ^ -(value & 1), at


class _Message(NamedTuple):
    """A message of version 0 or 1, which may be a record or have messages packed in its value."""

    offset: int
    crc: int
    attributes: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None

    def record(self, offset: int, timestamp: int | None, timestamp_type: int | None) -> ReadRecord:
        """Returns the message as a record at an offset and a time that may be those of the message around it."""
        return ReadRecord(offset, timestamp, timestamp_type, self.key, self.value, [], self.crc)


def _legacy_records(batch: RawBatch, largest: int) -> Iterator[ReadRecord]:
    """Yields the records of a batch of version 0 or 1: a message, or those packed into it."""
    if (crc := zlib.crc32(memoryview(batch.data)[_MAGIC_AT:])) != _LEGACY[0].unpack_from(batch.data)[2]:
        raise UnreadableData(f"its checksum is {crc:08x}, and should be another")
    whole, _ = _message(memoryview(batch.data), 0, batch.magic)
    append_time = bool(whole.attributes & _APPEND_TIME) if batch.magic else None
    timestamp_type = None if append_time is None else int(append_time)
    codec = whole.attributes & CODEC_MASK
    if not codec:
        yield whole.record(whole.offset, whole.timestamp, timestamp_type)
        return
    messages = _packed_messages(whole, batch.magic, largest)
    # In version 1 they count from 0, and the message around them has the offset of the last one.
    shift = whole.offset - messages[-1].offset if batch.magic else 0
    before = -1
    for message in messages:
        offset = message.offset + shift
        if not before < offset <= whole.offset or message.attributes & CODEC_MASK:
            raise UnreadableData(f"a message in it claims offset {offset} and codec {message.attributes & CODEC_MASK}")
        before = offset
        yield message.record(offset, whole.timestamp if append_time else message.timestamp, timestamp_type)


def _packed_messages(whole: _Message, magic: int, largest: int) -> list[_Message]:
    """Unpacks the value of a message, which holds others; there is at least one."""
    codec = whole.attributes & CODEC_MASK
    if whole.value is None or (magic, codec) == (0, CODECS["lz4"]):  # its frames were wrong then (KAFKA-3160)
        raise UnreadableData(f"a message of version {magic} has nothing that {codec_name(codec)} could unpack")
    data, at = memoryview(_unpack(codec, whole.value, largest)), 0
    messages: list[_Message] = []
    while at < len(data) or not messages:
        message, at = _message(data, at, magic)
        messages.append(message)
    return messages


def _message(data: memoryview, at: int, magic: int) -> tuple[_Message, int]:
    """Returns the message that begins at `at`, and where it ends."""
    form = _LEGACY[magic]
    if at + form.size + 2 * _LENGTH.size > len(data):
        raise UnreadableData("a message is cut off")
    offset, length, crc, version, attributes, *timestamp = form.unpack_from(data, at)
    end = at + _FRONT.size + length
    key, position = _legacy_bytes(data, at + form.size)
    value, position = _legacy_bytes(data, position)
    if version != magic or position != end:
        raise UnreadableData(f"a message of version {version} claims {length} bytes and has {position - at}")
    return _Message(offset, crc, attributes, timestamp[0] if timestamp else None, key, value), end


def _legacy_bytes(data: memoryview, at: int) -> tuple[bytes | None, int]:
    """Reads bytes behind their length, -1 for none, and where they end."""
    if at + _LENGTH.size > len(data):
        raise UnreadableData("a message is cut off")
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    if length == -1:
        return None, at
    if not 0 <= length <= len(data) - at:
        raise UnreadableData(f"a part of a message claims {length} bytes")
    return bytes(data[at : at + length]), at + length


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, UnreadableData) else repr(error)
