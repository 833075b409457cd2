"""Parts of the writer that need no broker: what it writes in which order, and where it goes on."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiokafka.partitioner import murmur2
from aiokafka.record.memory_records import MemoryRecords
from prometheus_client import CollectorRegistry

from stream_app.kafka.encoded_batch import EncodedBatch
from stream_app.kafka.log_range import LogRange
from stream_app.settings import load_settings
from stream_app.statistics.counting import CountedRecords
from stream_app.statistics.metrics import WriterMetrics
from stream_app.statistics.position import FORMAT, KEY, Position, position_record
from stream_app.statistics.writer import StatisticsWriter, _start, _whole
from tests.unit.builders.exact_counting import exact_counting

SAID = position_record(Position(format=FORMAT, topic="e", epoch=1, offsets={}, written=0, until=0))


def encoded(partitions: int) -> dict[int, list[tuple[bytes, bytes | None]]]:
    writer = StatisticsWriter(load_settings(), exact_counting(), WriterMetrics(CollectorRegistry()), lambda: 0.0)
    writer._partitions = partitions
    found: dict[int, list[tuple[bytes, bytes | None]]] = {}
    for number, batch in writer._encode(CountedRecords([b"a", b"b"], [b"1", b"2"], [b"a", b"c"]), SAID):
        data = MemoryRecords(EncodedBatch(batch, time=0, transactional=True)._build())
        found.setdefault(number, []).extend((record.key, record.value) for record in data.next_batch())
    return found


def test_what_came_back_is_not_taken_away_by_the_record_before_it() -> None:
    assert encoded(1) == {0: [(b"a", None), (b"c", None), (b"a", b"1"), (b"b", b"2"), (KEY, SAID.value)]}


def test_a_key_is_on_the_partition_where_every_publisher_would_put_it() -> None:
    for number, records in encoded(3).items():
        assert {(murmur2(key) & 0x7FFFFFFF) % 3 for key, _ in records if key != KEY} <= {number}


def test_it_goes_on_where_it_ended_or_where_the_log_does(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [_start(0, LogRange(5, 9), counted) for counted in (None, 5, 7, 9)] == [5, 5, 7, 9]
        assert not caplog.records
        assert [_start(0, LogRange(5, 9), counted) for counted in (2, 12)] == [5, 9]
    said = [record.getMessage() for record in caplog.records]
    assert ["3 records were deleted" in said[0], "3 records are gone: the log was cut" in said[1]] == [True, True]


def test_a_transaction_ends_although_the_writer_is_to() -> None:
    async def run() -> None:
        done = asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0.02)
            done.set()

        task = asyncio.create_task(_whole(work()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(run())
