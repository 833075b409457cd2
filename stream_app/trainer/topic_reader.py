"""The trainer's view of the events topic: its own consumer, no group, all partitions, from any offset on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from stream_app.contract.records import Record
from stream_app.history.files import Span
from stream_app.settings import Settings

_MOST: Final = 20_000  # records of a read

Fetched = Mapping[int, Sequence[Record]]  # by partition, in order


class TopicReader:
    """Reads committed events in order per partition."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.brokers,
            auto_offset_reset="none",  # offsets that Kafka no longer has are counted, not passed over
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._partitions = [
            TopicPartition(settings.events_topic, partition) for partition in range(settings.partitions)
        ]

    async def start(self) -> None:
        """Connects; `go_to` says what to read."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnects."""
        await self._consumer.stop()

    async def bounds(self) -> dict[int, Span]:
        """The oldest offset of each partition that Kafka has, and the next one that it will give."""
        firsts = await self._consumer.beginning_offsets(self._partitions)
        ends = await self._consumer.end_offsets(self._partitions)
        return {tp.partition: Span(firsts[tp], ends[tp]) for tp in self._partitions}

    def go_to(self, positions: Mapping[int, int]) -> None:
        """Reads these partitions from these offsets on, and no others."""
        # Both without a pause: to the consumer a partition with no position is an error.
        self._consumer.assign([self._partitions[partition] for partition in positions])
        for partition, offset in positions.items():
            self._consumer.seek(self._partitions[partition], offset)

    async def positions(self) -> dict[int, int]:
        """Where each partition goes on: behind all that was read, and behind markers of transactions after it."""
        return {tp.partition: await self._consumer.position(tp) for tp in self._consumer.assignment()}

    async def read(self, timeout: float) -> Fetched | None:
        """What has come, after `timeout` seconds at most; None where a position is at an offset that Kafka has not."""
        try:
            fetched = await self._consumer.getmany(timeout_ms=round(timeout * 1000), max_records=_MOST)
        except OffsetOutOfRangeError:
            return None
        return {tp.partition: records for tp, records in fetched.items()}

    async def within(self, spans: Mapping[int, Span]) -> AsyncIterator[tuple[int, Sequence[Record]]]:
        """The records of spans that Kafka has, a partition after the other; `go_to` is due afterwards."""
        for partition, span in spans.items():
            position = span.first
            self.go_to({partition: position})
            while position < span.next:
                fetched = await self.read(timeout=0.5)
                if fetched is None:  # removed since they were asked for
                    self.go_to({partition: (await self.bounds())[partition].first})
                    continue
                position = (await self.positions())[partition]
                yield partition, [record for record in fetched.get(partition, ()) if record.offset < span.next]
