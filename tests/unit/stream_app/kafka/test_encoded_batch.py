"""Batches of records with headers, as aiokafka reads them, and what its producer asks of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.records import OutgoingRecord
from stream_app.contract.topics import LARGEST_BATCH
from stream_app.kafka.compression import CODECS
from stream_app.kafka.encoded_batch import EncodedBatch, RecordBatch, encode_records, join, joined
from stream_app.kafka.record_reader import read_batches
from stream_app.settings import Compression

HEADER = 61
NAMES = st.text(st.characters(codec="utf-8"), max_size=5)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=90)), max_size=4)
NULLABLE = st.none() | st.binary(max_size=100)
ANY_RECORDS = st.lists(st.builds(OutgoingRecord, NULLABLE, NULLABLE, HEADERS), max_size=30)
COMPRESSIONS: list[Compression] = list(CODECS)


def by_aiokafka(batch: RecordBatch) -> list[OutgoingRecord]:
    decoded = MemoryRecords(EncodedBatch(batch, time=1.0, transactional=False)._build()).next_batch()
    assert decoded is not None
    assert decoded.validate_crc()
    return [OutgoingRecord(record.key, record.value, record.headers) for record in decoded]


@given(ANY_RECORDS, st.integers(HEADER, 2000), st.sampled_from(COMPRESSIONS))
def test_records_with_headers_are_read_as_they_were(
    records: list[OutgoingRecord], largest: int, compression: Compression
) -> None:
    batches = encode_records(records, largest=largest, compression=compression)
    assert [record for batch in batches for record in by_aiokafka(batch)] == records
    whole = encode_records(records, largest=largest)
    assert [batch.records for batch in batches] == [batch.records for batch in whole]
    assert all(batch.records == 1 or len(batch.data) <= largest for batch in whole)
    assert all(len(batch.data) <= len(plain.data) for batch, plain in zip(batches, whole, strict=True))
    for batch, following in pairwise(whole):
        (first, *_) = by_aiokafka(following)
        parts = [first.key, first.value, *(part for name, value in first.headers for part in (name.encode(), value))]
        assert len(batch.data) + sum(len(part or b"") + 2 for part in parts) + 20 > largest


def test_header_names_go_back_as_the_bytes_they_were() -> None:
    name = b"tr\xe9\xff\x00\xf0".decode(errors="surrogateescape")
    (batch,) = encode_records([OutgoingRecord(b"k", None, [(name, b"x"), ("é", None)])])
    (found,) = read_batches(EncodedBatch(batch, time=1.0, transactional=False)._build())
    assert found.records[0].headers == [(name, b"x"), ("é", None)]
    assert b"tr\xe9\xff\x00\xf0" in batch.data.tobytes()


@pytest.mark.parametrize("size", [0, 63, 64, 8191, 8192, 3_000_000])
def test_records_of_any_size(size: int) -> None:
    record = OutgoingRecord(b"k" * min(size, 10_000), bytes(size), [("h" * min(size, 9000), b"x" * min(size, 9000))])
    (batch,) = encode_records([record])
    assert by_aiokafka(batch) == [record]


def test_a_batch_names_its_producer_and_whether_it_is_transactional() -> None:
    (batch,) = encode_records([OutgoingRecord(b"k", b"v")])
    for transactional in (False, True):
        encoded = EncodedBatch(batch, time=12.5, transactional=transactional)
        encoded._set_producer_state(2**40, 7, 2**31 - 1)
        built = encoded._build()
        assert built == encoded._build()
        decoded = MemoryRecords(built).next_batch()
        assert decoded is not None
        assert decoded.validate_crc()
        assert (decoded.producer_id, decoded.producer_epoch, decoded.base_sequence) == (2**40, 7, 2**31 - 1)
        assert decoded.is_transactional == transactional
        assert (decoded.first_timestamp, decoded.max_timestamp, decoded.base_offset) == (12_500, 12_500, 0)
        assert (encoded.record_count(), encoded.size(), encoded.closed()) == (1, len(built), True)


@given(st.lists(st.lists(NULLABLE, min_size=1, max_size=30), min_size=1, max_size=5))
def test_joined_batches_have_the_records_of_all(several: list[list[bytes | None]]) -> None:
    batches = [encode_records([OutgoingRecord(b"k", value, (("h", b""),)) for value in some])[0] for some in several]
    groups = joined(batches)
    assert [batch for group in groups for batch in group] == batches
    for group in groups:
        one = join(group)
        assert one.records == sum(batch.records for batch in group)
        assert by_aiokafka(one) == [record for batch in group for record in by_aiokafka(batch)]
        (found,) = read_batches(EncodedBatch(one, time=1.0, transactional=False)._build())
        assert [record.offset for record in found.records] == list(range(one.records))
    for before, after in pairwise(groups):
        assert sum(batch.records for batch in before) + after[0].records > 64


def test_neither_compressed_nor_large_batches_are_joined() -> None:
    def batch(size: int, compression: Compression = "none") -> RecordBatch:
        return encode_records([OutgoingRecord(b"key", bytes(size))], compression=compression)[0]

    plain, pressed, half = batch(100), batch(100, "gzip"), batch(LARGEST_BATCH // 2)
    assert joined([plain, pressed, pressed, plain, plain]) == [[plain], [pressed], [pressed], [plain, plain]]
    assert joined([half, plain, half]) == [[half, plain], [half]]
