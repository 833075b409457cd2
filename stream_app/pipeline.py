"""Fetches from bytes to bytes: decode, fold, encode. No I/O.

The fetches of several partitions go through the fold as one batch: its fixed cost is paid once. `advance` runs in the
device thread, `decode` and `encode` in another, so that the batches before and after are coded while one is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from model.event_time import FLAGS, LATE, OK, judged
from model.events import Actions, actions_of
from model.fold import Advanced, Fold
from model.live_rules import BASELINE
from model.record import UserRecords, pack
from stream_app.answer_json import AnswerEncoder
from stream_app.dead_letter_limits import DeadLetterLimits
from stream_app.dead_letters import dead_letter
from stream_app.delivery import BatchResult, Outgoing
from stream_app.metrics import Ranker, WorkerMetrics
from stream_app.settings import Settings
from stream_app.wire import (
    Decoded,
    Followed,
    PredictionIds,
    Source,
    decode_batch,
    join_prediction,
)

Records = Sequence["ConsumerRecord[bytes, bytes]"]


@dataclass(frozen=True, slots=True)
class Received:
    """A batch before the fold."""

    records: Records
    decoded: Decoded
    sources: Records  # of the decoded events
    actions: Actions
    offsets: NDArray[np.int64]
    verdicts: NDArray[np.uint8]  # on the event times, but for LATE


@dataclass(frozen=True, slots=True)
class Computed:
    """A batch after the fold: all that encoding needs, and nothing that the next batch changes."""

    received: Received
    advanced: Advanced
    states: UserRecords  # of the touched users
    verdicts: NDArray[np.uint8]  # on the event times of the new events
    batch: int  # its number


class Pipeline:
    """The fold between two encodings."""

    def __init__(self, fold: Fold, settings: Settings, metrics: WorkerMetrics, clock: Callable[[], float]) -> None:
        """`clock` in seconds, monotonic."""
        self._fold = fold
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._ids: dict[int, PredictionIds] = {}
        self._limits = DeadLetterLimits(settings)
        self._answers = AnswerEncoder(recommendations=settings.recommendations, actions=settings.next_actions)

    def decode(self, records: Records, generation: int) -> Received:
        """The events among the records, which come from any partitions, those of one partition in order.

        `generation`: of the consumer group. Raises `TooManyDeadLetters`.
        """
        self._metrics.batch_events.observe(len(records))
        with self._timed("decode"):
            decoded = decode_batch(records)
            self._limits.count(records, decoded.rejected, generation)
            sources = [records[place] for place in decoded.places]
            times, verdicts = judged(decoded.times, decoded.record_times)
            return Received(
                records=records,
                decoded=decoded,
                sources=sources,
                actions=actions_of(decoded.events, times),
                offsets=np.array([source.offset for source in sources], np.int64),
                verdicts=verdicts,
            )

    def advance(self, received: Received) -> Computed:
        """Applies the events; memory has them when this returns, nothing else does."""
        with self._timed("fold"):
            partitions = [source.partition for source in received.sources]
            slots = self._fold.slots_of(partitions, received.actions.users)
            advanced = self._fold.advance(slots, received.actions, received.offsets)
            states = self._fold.states.snapshot(advanced.touched)
        given = received.verdicts[advanced.places]
        verdicts = np.where((given == OK) & advanced.late, np.uint8(LATE), given)
        self._count(received.decoded, advanced, verdicts)
        return Computed(received, advanced, states, verdicts, self._fold.states.batch)

    def settle(self, before: int) -> None:
        """All effects of the batches before this number are durable: their users may leave memory."""
        self._fold.states.settled = before

    def encode(self, computed: Computed) -> list[BatchResult]:
        """All effects of a batch, one result per partition."""
        with self._timed("encode"):
            return self._encode(computed)

    def _encode(self, computed: Computed) -> list[BatchResult]:
        received, advanced = computed.received, computed.advanced
        ranker: Ranker = "rules" if advanced.answers.version == BASELINE else "model"
        results = {record.partition: BatchResult(record.partition, ranker) for record in received.records}
        for rejected in received.decoded.rejected:
            record = received.records[rejected.place]
            results[record.partition].dead_letters.append(dead_letter(record, rejected))
            results[record.partition].reasons.append(rejected.reason)
        owners: dict[int, ConsumerRecord[bytes, bytes]] = {}
        tails = self._answers.encode(advanced.answers)
        followed = self._followed(received, advanced, computed.verdicts)
        for (source, head), slot, tail in zip(followed, advanced.slots.tolist(), tails, strict=True):
            result = results[source.partition]
            result.predictions.append(Outgoing(source.key, join_prediction(head, tail)))
            result.record_times.append(source.timestamp)
            owners[slot] = source
        for slot, value in zip(advanced.touched.tolist(), pack(computed.states), strict=True):
            results[owners[slot].partition].changelog.append(Outgoing(owners[slot].key, value))
        return list(results.values())

    def _followed(
        self, received: Received, advanced: Advanced, verdicts: NDArray[np.uint8]
    ) -> Iterator[tuple[ConsumerRecord[bytes, bytes], Followed]]:
        """The record of every new event, and what its prediction says of it."""
        decoded, version = received.decoded, advanced.answers.version
        columns = (advanced.places.tolist(), advanced.history_lengths.tolist(), verdicts.tolist())
        for place, length, verdict in zip(*columns, strict=True):
            event, source = decoded.events[place], received.sources[place]
            yield (
                source,
                Followed(
                    prediction_id=self._prediction_ids(source.partition)[source.offset],
                    user_id=event.user_id,
                    event_id=event.event_id,
                    event_type=event.type,
                    event_timestamp=decoded.times[place],
                    source=Source(source.partition, source.offset),
                    model_version=version,
                    history_length=length,
                    event_time_flag=FLAGS[verdict],
                ),
            )

    def _prediction_ids(self, partition: int) -> PredictionIds:
        if partition not in self._ids:
            settings = self._settings
            self._ids[partition] = PredictionIds(settings.stream_epoch, settings.events_topic, partition)
        return self._ids[partition]

    def _count(self, decoded: Decoded, advanced: Advanced, verdicts: NDArray[np.uint8]) -> None:
        metrics = self._metrics
        metrics.events.inc(len(advanced.places))
        metrics.replays.inc(len(decoded.events) - len(advanced.places))
        metrics.duplicates.inc(advanced.duplicates)
        for flag, count in zip(FLAGS, np.bincount(verdicts, minlength=len(FLAGS)).tolist(), strict=True):
            metrics.event_time.labels(flag or "ok").inc(count)
        metrics.score("model", advanced.model_places)
        metrics.score("rules", advanced.rules_places)
        metrics.evicted.inc(len(self._fold.states.evicted))
        metrics.returned.inc(self._fold.states.returned)
        metrics.users.set(len(self._fold.states))
        metrics.state_bytes.set(self._fold.nbytes)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = self._clock()
        yield
        self._metrics.stage.labels(stage).observe(self._clock() - start)
