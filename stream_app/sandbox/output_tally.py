"""Counts predictions, dead letters and promotions as a subscriber sees them arrive, and tells the story of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from stream_app.contract.predictions import Prediction, decode_prediction
from stream_app.contract.topics import topics
from stream_app.kafka.clients import new_consumer
from stream_app.sandbox.story.seen_events import Place, seen_event
from stream_app.sandbox.story.story import Story
from stream_app.settings import Settings
from stream_app.versions.promotions import CHAMPION

_MAX_LATENCIES: Final = 100_000  # newest latencies that are remembered


class OutputTally:
    """Counts records of the output topics from their beginning, and the latency of answers to live events."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float], story: Story | None = None) -> None:
        """`clock` gives seconds since the epoch; it is the one that stamps the live events."""
        self._settings = settings
        self._story = story
        self._clock = clock
        self._consumer = new_consumer(
            settings, "subscriber", auto_offset_reset="earliest", isolation_level="read_committed"
        )
        self.predictions = 0
        self.dead_letters = 0
        self.promotions = 0
        self.newest: Prediction | None = None
        self.live_since = float("inf")  # seconds since the epoch; earlier events are history, not live
        self._sent_at: dict[Place, int] = {}  # of events with times of the past, ms
        self._latencies_ms: deque[float] = deque(maxlen=_MAX_LATENCIES)

    async def start(self) -> None:
        """Connects to Kafka, and goes to the beginning of the output topics."""
        settings = self._settings
        await self._consumer.start()
        outputs = [settings.predictions_topic, settings.dead_letters_topic, settings.models_topic]
        if self._story is not None:
            outputs.append(settings.events_topic)
        partitions = [
            TopicPartition(spec.name, partition)
            for spec in topics(settings)
            if spec.name in outputs
            for partition in range(spec.partitions)
        ]
        self._events = [tp for tp in partitions if tp.topic == settings.events_topic]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)

    async def stop(self) -> None:
        """Disconnects from Kafka."""
        await self._consumer.stop()

    async def follow(self) -> None:
        """Counts records until it is cancelled."""
        while True:
            await self.read(timeout=1.0)

    async def reach_end_of_events(self) -> None:
        """Returns when all events were read that are there now; meanwhile `follow` has to run."""
        ends = await self._consumer.end_offsets(self._events)
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def read(self, timeout: float) -> None:
        """Counts the records that have come; waits for `timeout` seconds at most."""
        fetched = await self._consumer.getmany(timeout_ms=round(timeout * 1000))
        for partition, records in fetched.items():
            if partition.topic == self._settings.predictions_topic:
                self._count_predictions([record.value for record in records if record.value is not None])
            elif partition.topic == self._settings.events_topic:
                self._take_events(records)
            elif partition.topic == self._settings.dead_letters_topic:
                self.dead_letters += len(records)
            else:
                self.promotions += sum(record.key == CHAMPION for record in records)

    def _take_events(self, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
        assert self._story is not None
        for record in records:
            place = Place(record.partition, record.offset)
            if (event := seen_event(place, record)) is not None:
                self._story.take_event(event)
                if event.time < 1000 * self.live_since <= record.timestamp:  # a replay: its times are long ago
                    self._sent_at[place] = record.timestamp

    def latency_ms(self, share: float) -> float | None:
        """Returns the latency that `share` of the answers did not exceed; None when there are no answers."""
        if not self._latencies_ms:
            return None
        ordered = sorted(self._latencies_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def _count_predictions(self, values: Sequence[bytes]) -> None:
        now = self._clock()
        self.predictions += len(values)
        for value in values:
            try:
                prediction = decode_prediction(value)
            except msgspec.DecodeError:
                continue  # written by another version of the contract: counted, not timed
            self.newest = prediction
            if self._story is not None:
                self._story.take_prediction(prediction)
            place = Place(prediction.source.partition, prediction.source.offset)
            if prediction.event_timestamp >= self.live_since * 1000:
                self._latencies_ms.append(now * 1000 - prediction.event_timestamp)
            elif (sent_at := self._sent_at.pop(place, None)) is not None:
                self._latencies_ms.append(now * 1000 - sent_at)
