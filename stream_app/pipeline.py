"""One fetch of one partition, from bytes to bytes: decode, fold, encode. Runs in the device thread; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from aiokafka import ConsumerRecord

from model.answers import Answers, next_actions
from model.events import EVENT_TYPES, actions_of
from model.fold import Advanced, Fold
from stream_app.dead_letters import dead_letter
from stream_app.delivery import BatchResult, Outgoing
from stream_app.metrics import WorkerMetrics
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


class Pipeline:
    """The fold between two encodings."""

    def __init__(self, fold: Fold, settings: Settings, metrics: WorkerMetrics, clock: Callable[[], float]) -> None:
        """`clock` in seconds, monotonic."""
        self._fold = fold
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._ids: dict[int, PredictionIds] = {}

    def process(self, partition: int, records: Records) -> BatchResult:
        """All effects of the records; memory has them when this returns, nothing else does."""
        self._metrics.batch_events.observe(len(records))
        with self._timed("decode"):
            decoded = decode_batch(records)
            actions = actions_of(decoded.events, decoded.times)
            offsets = np.array([records[place].offset for place in decoded.places], np.int64)
        with self._timed("fold"):
            advanced = self._fold.advance(partition, actions, offsets)
        with self._timed("encode"):
            result = self._encode(partition, records, decoded, advanced)
        self._count(decoded, advanced)
        return result

    def _encode(self, partition: int, records: Records, decoded: Decoded, advanced: Advanced) -> BatchResult:
        users = {
            slot: decoded.events[place].user_id
            for slot, place in zip(advanced.slots.tolist(), advanced.places.tolist(), strict=True)
        }
        changelog = self._fold.states.records(advanced.touched)
        keys = [users[slot].encode() for slot in advanced.touched.tolist()]
        return BatchResult(
            partition=partition,
            ranker="model" if self._fold.serving else "rules",
            predictions=list(self._predictions(partition, records, decoded, advanced)),
            dead_letters=[dead_letter(records[bad.place], bad) for bad in decoded.rejected],
            reasons=[bad.reason for bad in decoded.rejected],
            changelog=[Outgoing(key, value) for key, value in zip(keys, changelog, strict=True)],
            record_times=np.array([records[decoded.places[place]].timestamp for place in advanced.places], np.int64),
        )

    def _predictions(
        self, partition: int, records: Records, decoded: Decoded, advanced: Advanced
    ) -> Iterator[Outgoing]:
        ids = self._prediction_ids(partition)
        encoded = _AnswerColumns(advanced.answers, self._settings)
        lengths = advanced.history_lengths.tolist()
        for row, place in enumerate(advanced.places.tolist()):
            event, record = decoded.events[place], records[decoded.places[place]]
            prediction = Prediction(
                prediction_id=ids[record.offset],
                user_id=event.user_id,
                event_id=event.event_id,
                event_type=event.type,
                event_timestamp=decoded.times[place],
                source=Source(partition, record.offset),
                model_version=advanced.answers.version,
                history_length=lengths[row],
                next_type=encoded.next_type(row),
                next_actions=encoded.next_actions(row),
                recommendations=encoded.recommendations(row),
                purchase_probability=encoded.purchase[row],
            )
            yield Outgoing(record.key, encode_prediction(prediction))

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
