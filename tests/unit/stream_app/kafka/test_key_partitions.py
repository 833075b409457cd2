"""On which partition a key belongs: aiokafka's partitioner, and hashes from Kafka's own tests, are the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.string_columns import strings
from stream_app.kafka.key_partitions import _murmur2, key_partitions, misplaced_keys


# From Kafka's clients, org.apache.kafka.common.utils.UtilsTest.testMurmur2.
@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hashes_are_those_of_kafka(key: bytes, hashed: int) -> None:
    column = strings([b"before", key])
    assert _murmur2(column.text, 6, 6 + len(key)) == hashed % 2**32


@given(st.lists(st.binary(max_size=20), max_size=30), st.integers(1, 50), st.data())
def test_keys_are_counted_that_lie_elsewhere(keys: list[bytes], count: int, data: st.DataObject) -> None:
    partitioner, every = DefaultPartitioner(), list(range(count))
    right = [partitioner(key, every, every) for key in keys]
    moved = data.draw(st.lists(st.integers(0, count - 1), min_size=len(keys), max_size=len(keys)))
    partitions = [(partition + by) % count for partition, by in zip(right, moved, strict=True)]
    lines = data.draw(st.lists(st.integers(0, 2), min_size=len(keys), max_size=len(keys)))
    found = misplaced_keys(strings(keys), np.array(partitions, np.int64), count, np.array(lines, np.uint16))
    assert found == sum(by != 0 and line == 0 for by, line in zip(moved, lines, strict=True))


@given(st.lists(st.binary(max_size=20), max_size=30), st.integers(1, 50))
def test_keys_are_put_where_the_default_partitioner_puts_them(keys: list[bytes], count: int) -> None:
    partitioner, every = DefaultPartitioner(), list(range(count))
    assert key_partitions(strings(keys), count).tolist() == [partitioner(key, every, every) for key in keys]
