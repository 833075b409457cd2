"""The trainer's view of the events topic: its own consumer, no group, all partitions, the newest events in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from model.event_time import judged
from model.events import Actions, actions_of, concatenate
from stream_app.settings import Settings
from stream_app.wire import Record, decode_batch


class EventsTopic:
    """Reads events in order per partition; keeps at most `train_max_events` of them, the newest."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.brokers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._partitions: list[TopicPartition] = []
        self._chunks: deque[Actions] = deque()
        self._kept = 0
        self.events = 0  # valid ones read since the start
        self.rejected = 0

    async def start(self) -> None:
        """Connects and begins at the oldest event."""
        await self._consumer.start()
        topic, count = self._settings.events_topic, self._settings.partitions
        self._partitions = [TopicPartition(topic, partition) for partition in range(count)]
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_beginning(*self._partitions)

    async def stop(self) -> None:
        """Disconnects."""
        await self._consumer.stop()

    async def read_to_end(self) -> None:
        """Reads all that was published before the call."""
        ends = await self._consumer.end_offsets(self._partitions)
        for partition, end in ends.items():
            while await self._consumer.position(partition) < end:
                await self.read(timeout=0.5)

    async def read(self, timeout: float) -> None:
        """Reads what has come; waits for `timeout` seconds at most."""
        fetched = await self._consumer.getmany(timeout_ms=round(timeout * 1000), max_records=20_000)
        for records in fetched.values():
            self._add(records)

    def actions(self) -> Actions:
        """The kept events, in order per user; a repeated event id counts once."""
        return _without_repeats(concatenate(list(self._chunks)))

    def _add(self, records: Sequence[Record]) -> None:
        decoded = decode_batch(records)
        self.events += len(decoded.events)
        self.rejected += len(decoded.rejected)
        times, _ = judged(decoded.times, decoded.record_times)
        self._chunks.append(actions_of(decoded.events, times))
        self._kept += len(decoded.events)
        while self._kept - len(self._chunks[0]) >= self._settings.train_max_events:
            self._kept -= len(self._chunks.popleft())


def _without_repeats(actions: Actions) -> Actions:
    """Without the events whose user sent the same event id before."""
    given = np.flatnonzero(actions.event_ids)
    seen: set[tuple[str, int]] = set()
    repeated = np.zeros(len(actions), np.bool_)
    for place, event_id in zip(given.tolist(), actions.event_ids[given].tolist(), strict=True):
        key = (actions.users[place], event_id)
        repeated[place] = key in seen
        seen.add(key)
    return actions.take(np.flatnonzero(~repeated))
