"""Fetches from bytes to bytes: decode, step, answer, encode. No I/O.

The fetches of several partitions go through the fold as one batch: its fixed cost is paid once. With a backlog `step`
runs in the device thread, `answer` in the ranking thread, `decode` and `encode` in another, so that several batches are
on their way at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from model.data.event_time import FLAGS, LATE, OK, judged
from model.data.events import Actions, actions_of
from model.serving.answers import Answers
from model.serving.engine import Fold, Stepped
from model.serving.live_rules import BASELINE
from model.state.user_record import UserRecords, pack
from stream_app.contract.dead_letters import dead_letter
from stream_app.contract.events import DecodedBatch, decode_batch
from stream_app.contract.prediction_json import PredictionEncoder, SourceEvents
from stream_app.contract.string_columns import Strings, concatenate, strings
from stream_app.kafka.record_batch import record_batches
from stream_app.settings import Settings
from stream_app.worker.dead_letter_limits import DeadLetterLimits
from stream_app.worker.delivery import BatchResult
from stream_app.worker.metrics import Ranker, WorkerMetrics

Records = Sequence["ConsumerRecord[bytes, bytes]"]


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """A batch before the fold."""

    records: Records
    decoded: DecodedBatch
    sources: Records  # of the decoded events, and what each of these records has
    keys: Strings
    record_times: NDArray[np.int64]  # milliseconds since the epoch
    actions: Actions
    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    verdicts: NDArray[np.uint8]  # on the event times, but for LATE


@dataclass(frozen=True, slots=True)
class VersionShare:
    """The events that one version answers: the whole batch, but for a canary."""

    stepped: Stepped
    states: UserRecords  # of the touched users
    verdicts: NDArray[np.uint8]  # on the event times of the new events


@dataclass(frozen=True, slots=True)
class SteppedBatch:
    """A batch that the users' states have taken in: nothing here changes with the next batch."""

    received: ReceivedBatch
    parts: Sequence[VersionShare]
    batch: int  # its number


@dataclass(frozen=True, slots=True)
class AnsweredBatch:
    """A batch with its answers: all that encoding needs."""

    stepped: SteppedBatch
    answers: Sequence[Answers]  # to each part


class Pipeline:
    """The fold between two encodings."""

    def __init__(self, fold: Fold, settings: Settings, metrics: WorkerMetrics, clock: Callable[[], float]) -> None:
        """`clock` in seconds, monotonic."""
        self._fold = fold
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._limits = DeadLetterLimits(settings)
        self._predictions = PredictionEncoder(
            epoch=settings.stream_epoch,
            topic=settings.events_topic,
            recommendations=settings.recommendations,
            actions=settings.next_actions,
        )

    def decode(self, records: Records, generation: int) -> ReceivedBatch:
        """The events among the records, which come from any partitions, those of one partition in order.

        `generation`: of the consumer group. Raises `TooManyDeadLetters`.
        """
        self._metrics.batch_events.observe(len(records))
        with self._timed("decode"):
            decoded = decode_batch(records)
            self._limits.count(records, decoded.rejected, generation)
            sources = [records[place] for place in decoded.positions]
            times, verdicts = judged(decoded.times, decoded.record_times)
            return ReceivedBatch(
                records=records,
                decoded=decoded,
                sources=sources,
                keys=strings([source.key for source in sources]),
                record_times=np.array(decoded.record_times, np.int64),
                actions=actions_of(decoded.events, times),
                partitions=np.array([source.partition for source in sources], np.int64),
                offsets=np.array([source.offset for source in sources], np.int64),
                verdicts=verdicts,
            )

    def step(self, received: ReceivedBatch) -> SteppedBatch:
        """Applies the events; memory has them when this returns, nothing else does."""
        with self._timed("step"):
            slots = self._fold.slots_of(received.partitions.tolist(), received.actions.users)
            stepped = self._fold.step_all(slots, received.actions, received.offsets)
            parts = [self._part(received, one) for one in stepped]
        self._count(received.decoded, parts)
        return SteppedBatch(received, parts, self._fold.states.batch)

    def _part(self, received: ReceivedBatch, stepped: Stepped) -> VersionShare:
        given = received.verdicts[stepped.places]
        verdicts = np.where((given == OK) & stepped.late, np.uint8(LATE), given)
        return VersionShare(stepped, self._fold.states.snapshot(stepped.touched), verdicts)

    def answer(self, batch: SteppedBatch) -> AnsweredBatch:
        """The answers to a batch, batch after batch as they were stepped."""
        with self._timed("answer"):
            answered = [self._fold.answer(part.stepped) for part in batch.parts]
        for answers, scored in answered:
            self._metrics.score("model", scored.places)
            self._metrics.versions.add(answers, scored)
        self._metrics.state_bytes.set(self._fold.nbytes)  # here, as the kept answers change in this thread only
        return AnsweredBatch(batch, [answers for answers, _ in answered])

    def settle(self, before: int) -> None:
        """All effects of the batches before this number are durable: their users may leave memory."""
        self._fold.states.settled = before

    def encode(self, computed: AnsweredBatch) -> list[BatchResult]:
        """All effects of a batch, one result per partition."""
        with self._timed("encode"):
            return self._encode(computed)

    def _encode(self, computed: AnsweredBatch) -> list[BatchResult]:
        received, parts = computed.stepped.received, computed.stepped.parts
        by_rules = any(answers.version == BASELINE for answers in computed.answers)
        ranker: Ranker = "rules" if by_rules else "model"
        partitions = dict.fromkeys([record.partition for record in received.records])
        results = {partition: BatchResult(partition, ranker) for partition in partitions}
        for rejected in received.decoded.rejected:
            record = received.records[rejected.position]
            results[record.partition].dead_letters.append(dead_letter(record, rejected))
            results[record.partition].reasons.append(rejected.reason)
        if parts:
            self._add_predictions(received, parts, computed.answers, results)
        for part in parts:
            self._add_states(received, part, results)
        return list(results.values())

    def _add_predictions(
        self,
        received: ReceivedBatch,
        parts: Sequence[VersionShare],
        answers: Sequence[Answers],
        results: dict[int, BatchResult],
    ) -> None:
        """The prediction of every new event."""
        places = np.concatenate([part.stepped.places for part in parts])
        order = np.argsort(places)
        pairs = zip(parts, answers, strict=True)
        values = concatenate([self._predictions.encode(_followed(received, part), answer) for part, answer in pairs])
        for partition, chosen in _by_partition(received.partitions[places], order):
            result = replace(results[partition], record_times=received.record_times[places[chosen]])
            result.predictions.extend(record_batches(received.keys, places, values, chosen))
            results[partition] = result

    def _add_states(self, received: ReceivedBatch, part: VersionShare, results: dict[int, BatchResult]) -> None:
        """What a version's events made of their users, each under the key of his last event."""
        stepped = part.stepped
        last = np.zeros(len(stepped.touched), np.int64)
        last[np.searchsorted(stepped.touched, stepped.slots)] = stepped.places  # of a user's places the last stays
        values = pack(part.states)
        column = strings(values)
        for partition, chosen in _by_partition(received.partitions[last], np.arange(len(last))):
            result = results[partition]
            result.changelog.extend(record_batches(received.keys, last, column, chosen))
            pairs = zip(last[chosen].tolist(), chosen.tolist(), strict=True)
            result.states.extend([(received.sources[place].key, values[n]) for place, n in pairs])

    def _count(self, decoded: DecodedBatch, parts: Sequence[VersionShare]) -> None:
        metrics = self._metrics
        metrics.replays.inc(len(decoded.events) - sum(len(part.stepped.places) for part in parts))
        for stepped, verdicts in ((part.stepped, part.verdicts) for part in parts):
            metrics.events.inc(len(stepped.places))
            metrics.duplicates.inc(stepped.duplicates)
            for flag, count in zip(FLAGS, np.bincount(verdicts, minlength=len(FLAGS)).tolist(), strict=True):
                metrics.event_time.labels(flag or "ok").inc(count)
            metrics.score("rules", stepped.rules_places)
        metrics.evicted.inc(len(self._fold.states.evicted))
        metrics.returned.inc(self._fold.states.returned)
        metrics.users.set(len(self._fold.states))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = self._clock()
        yield
        self._metrics.stage.labels(stage).observe(self._clock() - start)


def _by_partition(partitions: NDArray[np.int64], order: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each partition that is among those of N records (N,), and the places of its records, in the given order (N,)."""
    for partition in np.unique(partitions).tolist():
        yield partition, order[partitions[order] == partition]


def _followed(received: ReceivedBatch, part: VersionShare) -> SourceEvents:
    """The new events of a part."""
    places, events = part.stepped.places, received.decoded.events
    if len(places) < len(events):
        events = [events[place] for place in places.tolist()]
    return SourceEvents(
        users=[event.user_id for event in events],
        event_ids=[event.event_id for event in events],
        types=received.actions.types[places],
        times=np.array(received.decoded.times, np.int64)[places],
        verdicts=part.verdicts,
        partitions=received.partitions[places],
        offsets=received.offsets[places],
        history_lengths=part.stepped.history_lengths,
    )
