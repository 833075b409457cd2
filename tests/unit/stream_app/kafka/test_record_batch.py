"""Record batches as aiokafka reads them, with its own implementation of the format."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.string_columns import strings
from stream_app.kafka.compression import CODECS
from stream_app.kafka.encoded_batch import EncodedBatch, RecordBatch
from stream_app.kafka.record_batch import KeyedValues, partitioned_batches, record_batches
from stream_app.kafka.record_reader import read_batches
from stream_app.settings import Compression

HEADER = 61
FIRST = np.zeros(1, np.int64)
COMPRESSIONS: list[Compression] = list(CODECS)
RECORDS = st.lists(st.tuples(st.binary(max_size=100), st.binary(max_size=300)), max_size=40)


def content(batch: RecordBatch) -> list[tuple[bytes | None, bytes | None]]:
    records = MemoryRecords(EncodedBatch(batch, time=1.0, transactional=False)._build())
    decoded = records.next_batch()
    assert decoded is not None
    assert decoded.validate_crc()
    assert not records.has_next()
    read = [(record.offset, record.key, record.value, record.timestamp, record.headers) for record in decoded]
    assert [(offset, time, headers) for offset, _, _, time, headers in read] == [
        (n, 1000, []) for n in range(len(read))
    ]
    return [(key, value) for _, key, value, _, _ in read]


@given(RECORDS, st.integers(HEADER, 3000))
def test_what_was_written_is_read(records: list[tuple[bytes, bytes]], largest: int) -> None:
    selected = np.array([n for n in range(len(records)) if n % 3], np.int64)[::-1]
    owners = np.arange(len(records))[::-1] + 1  # the keys stand in another order, behind one that no value has
    keys = strings([b"nobody's", *(key for key, _ in records[::-1])])
    batches = record_batches(keys, owners, strings([value for _, value in records]), selected, largest=largest)
    read = [content(batch) for batch in batches]
    assert [record for batch in read for record in batch] == [records[n] for n in selected]
    assert [batch.records for batch in batches] == list(map(len, read))
    assert all(batch.records == 1 or len(batch.data) <= largest for batch in batches)
    for batch, (first, *_) in zip(batches, read[1:], strict=False):
        assert len(batch.data) + sum(len(text or b"") for text in first) + 20 > largest  # 20: what Kafka adds, at most


@given(
    st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=20), st.binary(max_size=80)), max_size=30),
    st.randoms(use_true_random=False),
    st.integers(HEADER, 500),
)
def test_each_partition_has_its_records_in_the_given_order(
    records: list[tuple[int, bytes, bytes]], random: Random, largest: int
) -> None:
    selected = random.sample(range(len(records)), random.randint(0, len(records)))
    owners = random.sample(range(len(records)), len(records))  # the keys stand in another order than the values
    owned = sorted(zip(owners, records, strict=True))
    columns = KeyedValues(
        keys=strings([key for _, (_, key, _) in owned]),
        partitions=np.array([partition for _, (partition, _, _) in owned], np.int64),
        owners=np.array(owners, np.int64),
        values=strings([value for _, _, value in records]),
        selected=np.array(selected, np.int64),
    )
    order, batches = partitioned_batches(columns, largest=largest)
    assert order.tolist() == sorted(selected, key=lambda n: records[n][0])  # which keeps what is equal in its order
    written = [(partition, *record) for partition, batch in batches for record in content(batch)]
    assert written == [records[n] for n in order]
    assert all(batch.records == 1 or len(batch.data) <= largest for _, batch in batches)
    for (partition, batch), (other, following) in pairwise(batches):
        (key, value), *_ = content(following)
        room = largest - len(batch.data)
        assert other > partition or room < len(key or b"") + len(value or b"") + 20  # 20: what Kafka adds, at most


@pytest.mark.parametrize("size", [0, 63, 64, 8191, 8192, 1 << 20, 3_000_000])
def test_lengths_of_any_size(size: int) -> None:
    key, value = b"k" * min(size, 10_000), bytes(size)
    (batch,) = record_batches(strings([key]), FIRST, strings([value]), FIRST)
    assert content(batch) == [(key, value)]


def test_offset_deltas_of_several_bytes() -> None:
    count = 20_000  # the last deltas take three bytes
    (batch,) = record_batches(strings([b""]), np.zeros(count, np.int64), strings([b"v"] * count), np.arange(count))
    assert len(content(batch)) == count


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("transactional", [False, True])
def test_both_readers_read_compressed_columns(compression: Compression, transactional: bool) -> None:
    values = [b'{"user_id":"u%d","next_actions":[]}' % n for n in range(3000)]
    columns = strings([b"k"]), np.zeros(3000, np.int64), strings(values), np.arange(3000)
    batches = record_batches(*columns, largest=30_000, compression=compression)
    assert [value for batch in batches for _, value in content(batch)] == values
    plain = record_batches(*columns, largest=30_000)
    assert len(plain) == len(batches)
    if compression != "none":
        assert sum(len(batch.data) for batch in batches) < 0.5 * sum(len(batch.data) for batch in plain)
    for batch in batches:
        encoded = EncodedBatch(batch, time=1.0, transactional=transactional)
        built = encoded._build()
        assert encoded.size() == len(built)
        (found,) = read_batches(built)
        assert found.problem is None
        assert len(found.records) == batch.records


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_compression_makes_larger_stays_as_it_was(compression: Compression) -> None:
    (batch,) = record_batches(strings([b"k"]), FIRST, strings([b"v"]), FIRST, compression=compression)
    assert batch.codec == 0
    assert content(batch) == [(b"k", b"v")]
