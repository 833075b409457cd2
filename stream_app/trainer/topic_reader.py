"""The trainer's view of the events topic: its own consumer, no group, all partitions, from any offset on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from stream_app.contract.records import Record
from stream_app.history.files import Span
from stream_app.kafka.clients import new_consumer
from stream_app.settings import Settings

_MOST: Final = 20_000  # records per read

RecordsByPartition = Mapping[int, Sequence[Record]]  # in order of their offsets


class TopicReader:
    """Reads committed events in order per partition."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = new_consumer(
            settings,
            "trainer",
            auto_offset_reset="none",  # offsets that Kafka no longer has are counted, not passed over
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._partitions = [
            TopicPartition(settings.events_topic, partition) for partition in range(settings.partitions)
        ]

    async def start(self) -> None:
        """Connects; `seek` says what to read."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnects."""
        await self._consumer.stop()

    async def bounds(self) -> dict[int, Span]:
        """Returns the offsets that Kafka has of each partition: from the oldest to the one before the next."""
        firsts = await self._consumer.beginning_offsets(self._partitions)
        ends = await self._consumer.end_offsets(self._partitions)
        return {tp.partition: Span(firsts[tp], ends[tp]) for tp in self._partitions}

    def seek(self, positions: Mapping[int, int]) -> None:
        """Reads these partitions from these offsets on, and no others."""
        # Nothing is awaited between the two: for the consumer a partition without a position is an error.
        self._consumer.assign([self._partitions[partition] for partition in positions])
        for partition, offset in positions.items():
            self._consumer.seek(self._partitions[partition], offset)

    async def positions(self) -> dict[int, int]:
        """Returns where each partition goes on: behind what was read and the transaction markers after it."""
        return {tp.partition: await self._consumer.position(tp) for tp in self._consumer.assignment()}

    async def read(self, timeout: float) -> RecordsByPartition | None:
        """Returns what has come within `timeout` seconds; None when Kafka no longer has the offset of a position."""
        try:
            fetched = await self._consumer.getmany(timeout_ms=round(timeout * 1000), max_records=_MOST)
        except OffsetOutOfRangeError:
            return None
        return {tp.partition: records for tp, records in fetched.items()}

    async def read_spans(self, spans: Mapping[int, Span]) -> AsyncIterator[tuple[int, Sequence[Record]]]:
        """Yields the records of spans that Kafka has, one partition after the other; call `seek` afterwards."""
        for partition, span in spans.items():
            position = span.first
            self.seek({partition: position})
            while position < span.next:
                fetched = await self.read(timeout=0.5)
                if fetched is None:  # Kafka has removed them meanwhile
                    self.seek({partition: (await self.bounds())[partition].first})
                    continue
                position = (await self.positions())[partition]
                yield partition, [record for record in fetched.get(partition, ()) if record.offset < span.next]
