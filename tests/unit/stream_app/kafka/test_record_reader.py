"""The reader of record batches against aiokafka's, and against bytes that are no batch."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import example, given
from hypothesis import strategies as st

from stream_app.contract.records import OutgoingRecord
from stream_app.kafka.compression import CODECS, compress
from stream_app.kafka.record_reader import HEADER, ReadBatch, read_batches, split
from tests.unit.builders.wire_batches import bare_names, changed, plain_batch, with_payload

NAMES = st.text(st.characters(codec="utf-8"), max_size=5)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=3)
RECORDS = st.lists(
    st.builds(
        OutgoingRecord,
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=200) | st.binary(max_size=10).map(lambda data: data * 200),
        HEADERS,
    ),
    min_size=1,
    max_size=10,
)
THREE = [OutgoingRecord(b"u%d" % n, b"value %d" % n, [("trace", b"x")]) for n in range(3)]


def read(data: bytes, **options: Any) -> list[ReadBatch]:
    return list(read_batches(data, **options))


def fields(record: Any) -> tuple[Any, ...]:
    return (record.offset, record.timestamp, record.timestamp_type, record.key, record.value, list(record.headers))


def by_aiokafka(data: bytes) -> list[tuple[Any, ...]]:
    records, found = MemoryRecords(data), []
    while (batch := records.next_batch()) is not None:
        assert batch.validate_crc()
        found += [fields(record) for record in batch]
    return found


def problem(data: bytes, **options: Any) -> str:
    (batch,) = read(data, **options)
    assert batch.problem is not None
    return str(batch.problem)


@given(st.lists(st.tuples(RECORDS, st.sampled_from(list(CODECS.values()))), max_size=3), st.integers(0, 2**40))
def test_the_same_records_as_aiokafka_reads(batches: list[tuple[list[OutgoingRecord], int]], base: int) -> None:
    data = b""
    for records, codec in batches:
        data += plain_batch(records, base=base, codec=codec)
        base += len(records) + 1
    found = read(data)
    assert [fields(record) for batch in found for record in batch.records] == by_aiokafka(data)
    assert not any(batch.problem for batch in found)
    for batch in found:
        assert batch.next_offset == batch.records[-1].offset + 1


@given(RECORDS, st.integers(0, 200), st.integers(0, 255))
@example(THREE, 16, 7)  # the version of the format
@example(THREE, 8, 255)  # the length
@example(THREE, 23, 255)  # the last offset
def test_no_changed_byte_is_read_as_something_else(records: list[OutgoingRecord], position: int, byte: int) -> None:
    """The first 21 bytes are not under the checksum: offset, length, epoch, version, and the checksum itself."""
    whole = plain_batch(records, base=7)
    data = bytearray(whole)
    position %= len(data)
    data[position] = byte
    found = read(bytes(data))
    if position >= 21:
        assert bytes(data) == whole or all(batch.problem for batch in found)


@given(st.binary(max_size=300))
def test_any_bytes_are_batches_or_a_problem(data: bytes) -> None:
    assert all(batch.problem or batch.records is not None for batch in read(data))


@given(st.binary(max_size=80), st.integers(-2, 5), st.integers(-1, 5), st.sampled_from([0, 8, 32]))
def test_any_payload_is_read_or_refused(payload: bytes, records: int, last: int, attributes: int) -> None:
    data = with_payload(plain_batch(THREE), payload, records=records, last_offset_delta=last, attributes=attributes)
    (batch,) = read(data)
    offsets = [record.offset for record in batch.records]
    assert offsets == sorted(set(offsets))
    assert all(offset < batch.next_offset for offset in offsets)


def test_a_last_batch_that_is_cut_off_is_left_out_and_a_first_one_is_a_problem() -> None:
    first, second = plain_batch(THREE), plain_batch(THREE, base=3)
    for cut in range(len(second)):
        (batch,) = read(first + second[:cut])
        assert not batch.problem
    assert "not the whole batch" in problem(second[:-1])
    assert "not the whole batch" in problem(second[:5])


def test_a_length_that_cannot_be_ends_the_fetch() -> None:
    for length in (0, -12, -(2**31), 13, 48):
        wrong = struct.pack(">qi", 3, length) + plain_batch(THREE)[12:]
        good, bad = read(plain_batch(THREE) + wrong + plain_batch(THREE, base=6))
        assert len(good.records) == 3
        assert "its length" in str(bad.problem)
        assert bad.next_offset == 4


@pytest.mark.parametrize("codec", CODECS.values())
def test_header_names_are_any_bytes(codec: int) -> None:
    batch = bare_names(plain_batch(THREE), b"trace", b"tr\xe9\xff\x00")
    packed = bytes(compress(next(name for name in CODECS if CODECS[name] == codec), batch[HEADER.size :]))
    (found,) = read(with_payload(batch, packed, attributes=codec))
    assert not found.problem
    for record in found.records:
        ((name, value),) = record.headers
        assert (name.encode(errors="surrogateescape"), value) == (b"tr\xe9\xff\x00", b"x")


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
def test_what_would_unpack_to_too_much_is_not_unpacked(name: Any) -> None:
    batch = plain_batch([OutgoingRecord(b"u", bytes(100_000))], base=4, codec=CODECS[name])
    (found,) = read(batch, largest=50_000)
    assert found.problem is not None
    assert found.problem.reason == "too_large"
    assert (found.records, found.next_offset) == ([], 5)
    assert f"in {name} unpack to more than 50,000" in str(found.problem)


def test_a_batch_without_records_is_none() -> None:
    """Compaction keeps the last batch of a producer so, whose offset then is known."""
    empty = with_payload(plain_batch(THREE), b"", records=0, attributes=CODECS["zstd"])
    assert read(empty) == [ReadBatch([], 3, None)]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "record 0 of 1 cannot be read"),
        (b"\x02", "claims 1 bytes"),
        (b"\x01", "claims -1 bytes"),
        (b"\xff" * 10, "more than 64 bits"),
        (b"\x80" * 9 + b"\x02", "more than 64 bits"),
        (b"\x0c\0\0\0\x01\x01\0\0", "bytes lie behind the last"),
        (b"\x0c\0\0\x02\x01\x01\0", "claims offset 1"),
        (b"\x0c\0\0\x01\x01\x01\0", "claims offset -1"),
        (b"\x0c\0\0\0\x01\x01\x01", "claims -1 headers"),
        (b"\x0e\0\0\0\x01\x01\x02\x01", "a header has no name"),
        (b"\x0c\0\0\0\x20\x01\0", "a part of it claims 16 bytes"),
        (b"\x0e\0\0\0\x01\x01\0\0", "claims 7 bytes and has 6"),
    ],
)
def test_a_record_that_cannot_be_is_named(payload: bytes, message: str) -> None:
    batch = with_payload(plain_batch(THREE[:1]), payload, attributes=0)
    assert message in problem(batch)


def test_times_beyond_64_bits_are_refused() -> None:
    batch = changed(plain_batch(THREE), first_timestamp=2**63 - 2)
    (found,) = read(batch)
    assert [record.timestamp for record in found.records] == [2**63 - 2, 2**63 - 1]
    assert "its timestamp is" in str(found.problem)


def test_a_topic_may_give_records_its_own_time() -> None:
    (found,) = read(changed(plain_batch(THREE), attributes=8, max_timestamp=77))
    assert [(record.timestamp, record.timestamp_type) for record in found.records] == [(77, 1)] * 3


def test_a_wrong_checksum_and_an_unknown_codec_are_problems() -> None:
    assert "checksum" in problem(changed(plain_batch(THREE), crc=5))
    assert "codec of number 6" in problem(changed(plain_batch(THREE), attributes=6))
    assert "are not zstd" in problem(changed(plain_batch(THREE), attributes=4))


@pytest.mark.parametrize(("magic", "codec"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)])
def test_older_formats_are_read_as_aiokafka_reads_them(magic: int, codec: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for number in range(5):
        builder.append(number, 99, b"key", bytes(500))
    data = bytes(builder.build())
    if codec:
        data = (4).to_bytes(8, "big") + data[8:]  # as brokers write it: a message of messages has the last's offset
    found = read(data)
    assert [fields(record) for batch in found for record in batch.records] == by_aiokafka(data)
    assert not any(batch.problem for batch in found)
    if codec:
        assert read(data, largest=1000)[0].problem is not None
    damaged = bytearray(data)
    damaged[-1] ^= 1
    assert any(batch.problem for batch in read(bytes(damaged)))


def test_batches_are_cut_without_a_copy() -> None:
    data = plain_batch(THREE)
    (batch,) = split(data)
    assert batch.data is data


def legacy(magic: int, codec: int, payload: bytes, *, offset: int = 0) -> bytes:
    """A message of an older format with other messages in its value, and the right checksum."""
    rest = struct.pack(">bb", magic, codec) + bytes(8 * magic) + struct.pack(">ii", -1, len(payload)) + payload
    return struct.pack(">qiI", offset, len(rest) + 4, zlib.crc32(rest)) + rest


def inner(offset: int, length: int | None = None, *, codec: int = 0, value: int = 3) -> bytes:
    rest = struct.pack(">Ibbqii", 0, 1, codec, 0, -1, value) + b"abc"
    return struct.pack(">qi", offset, len(rest) if length is None else length) + rest


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "a message is cut off"),
        ([inner(0, -12)], "claims -12 bytes"),
        ([inner(0, 5)], "claims 5 bytes"),
        ([inner(0, value=4)], "a part of a message claims 4 bytes"),
        ([inner(0, value=-2)], "a part of a message claims -2 bytes"),
        ([inner(0)[:16] + b"\0" + inner(0)[17:]], "a message of version 0"),
        ([inner(0, codec=1)], "codec 1"),
        ([inner(1), inner(0)], "claims offset 2"),
        ([inner(0), inner(0)], "claims offset 1"),
        ([inner(0)[:-1]], "a part of a message claims 3 bytes"),
        ([inner(0), inner(1)[:20]], "a message is cut off"),
    ],
)
def test_messages_in_a_message_that_cannot_be_are_a_problem(messages: list[bytes], message: str) -> None:
    """aiokafka's reader goes round for ever on a length of -12, and hands out parts that are cut off."""
    packed = zlib.compress(b"".join(messages), wbits=31)
    assert message in problem(legacy(1, CODECS["gzip"], packed, offset=1))
    good = zlib.compress(inner(0) + inner(1), wbits=31)
    (found,) = read(legacy(1, CODECS["gzip"], good, offset=1))
    assert [record.offset for record in found.records] == [0, 1]
    assert "nothing that lz4" in problem(legacy(0, CODECS["lz4"], good))
