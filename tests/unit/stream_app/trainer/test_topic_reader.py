"""What the reader of the events topic makes of a log that retention shortens; a broker's own is an integration test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from stream_app.contract.records import Record
from stream_app.history.files import Span
from stream_app.settings import Settings
from stream_app.trainer.topic_reader import TopicReader
from tests.unit.builders.basics import make_record

BATCH = 4  # records per read


@dataclass
class LogInMemory:
    """A consumer of logs in memory: records from the first offset on, at every offset one."""

    spans: dict[int, Span]
    positions: dict[TopicPartition, int] = field(default_factory=dict)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.positions = dict.fromkeys(partitions, -1)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition in self.positions
        self.positions[partition] = offset

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.spans[tp.partition].first for tp in partitions}

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.spans[tp.partition].next for tp in partitions}

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        fetched: dict[TopicPartition, list[Record]] = {}
        for tp, position in self.positions.items():
            span = self.spans[tp.partition]
            if position < span.first:
                raise OffsetOutOfRangeError({tp: position})
            offsets = range(position, min(position + BATCH, span.next))
            if offsets:
                fetched[tp] = [make_record(b"{}", offset=offset, partition=tp.partition) for offset in offsets]
                self.positions[tp] = offsets.stop
        return fetched


def reading(spans: dict[int, Span], body: Callable[[TopicReader, LogInMemory], Awaitable[None]]) -> None:
    """Calls `body` with a reader of two partitions and the logs that it reads."""

    async def run() -> None:
        reader: Any
        reader, log = TopicReader(Settings(partitions=2)), LogInMemory(spans)
        await reader.stop()
        vars(reader)["_consumer"] = log
        await body(reader, log)

    asyncio.run(run())


def test_it_reads_the_partitions_that_were_sought_and_no_others() -> None:
    async def body(reader: TopicReader, log: LogInMemory) -> None:
        assert await reader.bounds() == {0: Span(2, 9), 1: Span(0, 3)}
        reader.seek({0: 5})
        fetched = await reader.read(timeout=0.1)
        assert fetched is not None
        assert {partition: [record.offset for record in records] for partition, records in fetched.items()} == {
            0: [5, 6, 7, 8]
        }
        assert await reader.positions() == {0: 9}
        reader.seek({1: 0})
        assert await reader.positions() == {1: 0}

    reading({0: Span(2, 9), 1: Span(0, 3)}, body)


def test_a_position_that_kafka_no_longer_has_is_not_passed_over() -> None:
    async def body(reader: TopicReader, log: LogInMemory) -> None:
        reader.seek({0: 1})
        assert await reader.read(timeout=0.1) is None
        reader.seek({0: 9})
        assert await reader.read(timeout=0.1) == {}, "there is nothing new"

    reading({0: Span(2, 9), 1: Span(0, 3)}, body)


def test_spans_are_read_to_their_ends_less_what_retention_takes_meanwhile() -> None:
    async def body(reader: TopicReader, log: LogInMemory) -> None:
        offsets: dict[int, list[int]] = {0: [], 1: []}
        async for partition, records in reader.read_spans({0: Span(3, 14), 1: Span(0, 2)}):
            offsets[partition] += [record.offset for record in records]
            log.spans[0] = Span(10, 20)
        assert offsets == {0: [3, 4, 5, 6, 10, 11, 12, 13], 1: [0, 1]}

    reading({0: Span(2, 20), 1: Span(0, 3)}, body)
