"""Fetches from bytes to bytes: decode, fold, encode. No I/O.

The fetches of several partitions go through the fold as one batch: its fixed cost is paid once. `advance` runs in the
device thread, `decode` and `encode` in another, so that the batches before and after are coded while one is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from model.answers import Answers, next_actions
from model.events import EVENT_TYPES, Actions, actions_of
from model.fold import Advanced, Fold
from model.live_rules import BASELINE
from model.record import UserRecords, pack
from stream_app.dead_letters import dead_letter
from stream_app.delivery import BatchResult, Outgoing
from stream_app.metrics import Ranker, WorkerMetrics
from stream_app.settings import Settings
from stream_app.wire import (
    Decoded,
    NextAction,
    Prediction,
    PredictionIds,
    Recommendation,
    Source,
    decode_batch,
    encode_prediction,
)

Records = Sequence["ConsumerRecord[bytes, bytes]"]
_DIGITS = 6  # of published probabilities


@dataclass(frozen=True, slots=True)
class Received:
    """A batch before the fold."""

    records: Records
    decoded: Decoded
    sources: Records  # of the decoded events
    actions: Actions
    offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Computed:
    """A batch after the fold: all that encoding needs, and nothing that the next batch changes."""

    received: Received
    advanced: Advanced
    states: UserRecords  # of the touched users
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

    def decode(self, records: Records) -> Received:
        """The events among the records, which come from any partitions, those of one partition in order."""
        self._metrics.batch_events.observe(len(records))
        with self._timed("decode"):
            decoded = decode_batch(records)
            sources = [records[place] for place in decoded.places]
            return Received(
                records=records,
                decoded=decoded,
                sources=sources,
                actions=actions_of(decoded.events, decoded.times),
                offsets=np.array([source.offset for source in sources], np.int64),
            )

    def advance(self, received: Received) -> Computed:
        """Applies the events; memory has them when this returns, nothing else does."""
        with self._timed("fold"):
            partitions = [source.partition for source in received.sources]
            slots = self._fold.slots_of(partitions, received.actions.users)
            advanced = self._fold.advance(slots, received.actions, received.offsets)
            states = self._fold.states.snapshot(advanced.touched)
        self._count(received.decoded, advanced)
        return Computed(received, advanced, states, self._fold.states.batch)

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
        for source, slot, prediction in self._predictions(received.decoded, received.sources, advanced):
            result = results[source.partition]
            result.predictions.append(Outgoing(source.key, encode_prediction(prediction)))
            result.record_times.append(source.timestamp)
            owners[slot] = source
        for slot, value in zip(advanced.touched.tolist(), pack(computed.states), strict=True):
            results[owners[slot].partition].changelog.append(Outgoing(owners[slot].key, value))
        return list(results.values())

    def _predictions(
        self, decoded: Decoded, sources: Records, advanced: Advanced
    ) -> Iterator[tuple[ConsumerRecord[bytes, bytes], int, Prediction]]:
        """The record, the slot of its user, and the prediction, for every new event."""
        encoded = _AnswerColumns(advanced.answers, self._settings)
        lengths, slots = advanced.history_lengths.tolist(), advanced.slots.tolist()
        for row, place in enumerate(advanced.places.tolist()):
            event, source = decoded.events[place], sources[place]
            prediction = Prediction(
                prediction_id=self._prediction_ids(source.partition)[source.offset],
                user_id=event.user_id,
                event_id=event.event_id,
                event_type=event.type,
                event_timestamp=decoded.times[place],
                source=Source(source.partition, source.offset),
                model_version=advanced.answers.version,
                history_length=lengths[row],
                next_type=encoded.next_type(row),
                next_actions=encoded.next_actions(row),
                recommendations=encoded.recommendations(row),
                purchase_probability=encoded.purchase[row],
            )
            yield source, slots[row], prediction

    def _prediction_ids(self, partition: int) -> PredictionIds:
        if partition not in self._ids:
            settings = self._settings
            self._ids[partition] = PredictionIds(settings.stream_epoch, settings.events_topic, partition)
        return self._ids[partition]

    def _count(self, decoded: Decoded, advanced: Advanced) -> None:
        metrics = self._metrics
        metrics.events.inc(len(advanced.places))
        metrics.replays.inc(len(decoded.events) - len(advanced.places))
        metrics.duplicates.inc(advanced.duplicates)
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


class _AnswerColumns:
    """Answers as Python lists, converted once per batch."""

    def __init__(self, answers: Answers, settings: Settings) -> None:
        self._names = answers.names
        shown = settings.recommendations
        self._items = answers.items[:, :shown].tolist()
        self._scores = _rounded(answers.probabilities[:, :shown])
        self._next_types = _rounded(answers.next_type)
        types, places, probabilities = next_actions(answers, settings.next_actions)
        self._action_types = types.tolist()
        items = np.take_along_axis(answers.items, np.maximum(places, 0), 1)
        self._action_items = np.where(places < 0, -1, items).tolist()
        self._action_probabilities = _rounded(probabilities)
        self.purchase: list[float] = _rounded(answers.purchase)

    def next_type(self, row: int) -> dict[str, float]:
        return dict(zip(EVENT_TYPES, self._next_types[row], strict=True))

    def next_actions(self, row: int) -> list[NextAction]:
        names = self._names
        columns = (self._action_types[row], self._action_items[row], self._action_probabilities[row])
        return [
            NextAction(EVENT_TYPES[kind], probability, None if item < 0 else names[item])
            for kind, item, probability in zip(*columns, strict=True)
            if probability > 0
        ]

    def recommendations(self, row: int) -> list[Recommendation]:
        names = self._names
        return [
            Recommendation(names[item], score)
            for item, score in zip(self._items[row], self._scores[row], strict=True)
            if item >= 0
        ]


def _rounded(values: Any) -> Any:
    return np.round(values.astype(np.float64), _DIGITS).tolist()
