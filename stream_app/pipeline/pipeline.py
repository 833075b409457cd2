"""Batches from bytes to bytes: decode, step, answer, encode. No I/O.

The fetches of several partitions go through the engines as one batch: the fixed cost is paid once. With a backlog
`step` runs in the device thread, `answer` in the ranking thread, `decode` and `encode` in the coding thread, so that
several batches are on their way at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Histogram

from model.data.event_time import FLAGS, LATE, OK, judge_times
from model.data.events import MOST_LINES, REMOVE, TYPE_CODES, Event, ItemNames, actions_of
from model.items.attributes import completed
from model.items.catalogue import ItemCatalogue
from model.serving.answer_engine import AnswerEngine, StatisticsSource
from model.serving.answers import Answers
from model.serving.live_rules import BASELINE
from model.serving.state_engine import StateEngine, SteppedEvents
from model.state.user_record import packed, records_of
from model.statistics.met_items import meet_items
from stream_app.contract.dead_letters import dead_letter
from stream_app.contract.decoded import DecodedBatch, Rejection
from stream_app.contract.events import decode_batch
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.prediction_json import PredictionEncoder, SourceEvents
from stream_app.contract.profiles.preferences_json import PreferencesEncoder
from stream_app.contract.profiles.reasons_json import reasons_json
from stream_app.contract.profiles.scores_json import scores_json
from stream_app.contract.profiles.segments_json import segments_json
from stream_app.contract.records import OutgoingRecord, UnreadableBatch
from stream_app.contract.string_columns import Strings, concatenate, frozen, strings
from stream_app.contract.topics import LARGEST_BATCH, LARGEST_DEAD_LETTER
from stream_app.kafka.encoded_batch import encode_records
from stream_app.kafka.key_partitions import misplaced_keys
from stream_app.kafka.record_batch import KeyedValues, partitioned_batches
from stream_app.pipeline.batch_result import BatchResult, PublishedValues
from stream_app.pipeline.batches import (
    AnsweredBatch,
    ReceivedBatch,
    Records,
    SteppedBatch,
    VersionShare,
    newest_events,
)
from stream_app.pipeline.damaged_users import DamagedUsers
from stream_app.pipeline.dead_letter_limits import DeadLetterLimits
from stream_app.pipeline.joins.effects import JoinEffects, add_effects
from stream_app.pipeline.joins.fetched import JoinsFetch
from stream_app.pipeline.joins.steps import PlacedActions, placed_identities, read_joins, step_identified
from stream_app.pipeline.metrics import STAGES, Ranker, WorkerMetrics
from stream_app.pipeline.profile_records import ProfileWriter
from stream_app.pipeline.signals import add_signals, found_due, tell
from stream_app.settings import Settings
from stream_app.signals.due import DueUsers
from stream_app.signals.writer import SignalWriter


class Pipeline:
    """The two engines between decoding and encoding."""

    def __init__(
        self, engine: StateEngine, settings: Settings, metrics: WorkerMetrics, clock: Callable[[], float]
    ) -> None:
        """`clock` in seconds, monotonic."""
        self._state_engine = engine  # the device thread's
        self._answer_engine = AnswerEngine(settings.profile_parts, settings.reasons)  # the ranking thread's
        self._settings = settings
        self._options = DecodeOptions.of(settings)
        self._metrics = metrics
        metrics.segment_users.set_function(engine.segment_users)
        self._stages = {stage: metrics.stage.labels(stage) for stage in STAGES}
        self._verdicts = [metrics.event_time.labels(flag or "ok") for flag in FLAGS]
        self._clock = clock
        self._limits = DeadLetterLimits(settings)
        self._damaged = DamagedUsers(metrics)
        self.names = ItemNames()  # that events gave, of categories and brands
        self.catalogue = ItemCatalogue()  # what events do not say of their items; by default nothing
        self.joins = False  # whether identities and joins are applied
        self.signals: SignalWriter | None = None  # tells what silence says; by default nobody does
        self.publishes_values = False  # whether results say whose their predictions are, for who answers questions
        self.largest_dead_letter = LARGEST_DEAD_LETTER  # bytes of a batch; the topic may take less
        self._predictions = PredictionEncoder(
            epoch=settings.stream_epoch,
            topic=settings.events_topic,
            recommendations=settings.recommendations,
            actions=settings.next_actions,
        )
        self._preferences = PreferencesEncoder(self.names)
        self._profiles = ProfileWriter(settings) if settings.profile_topic else None

    def use_statistics(self, statistics: StatisticsSource) -> None:
        """Has batches answered by live statistics from now on."""
        self._answer_engine.statistics = statistics

    def decode(self, records: Records, generation: int) -> ReceivedBatch:
        """Finds the events among records of any partitions, each partition's in order.

        `generation` is the consumer group's. Raises `TooManyDeadLetters`.
        """
        if records:
            self._metrics.batch_events.observe(len(records))
        with self._timed("decode"):
            decoded = decode_batch(records, MOST_LINES, self._options)
            self._limits.count(records, decoded.rejected, generation)
            self._count_unreadable(records, decoded.rejected)
            sources = [records[index] for index in decoded.positions]
            publisher_times = np.array(decoded.times, np.int64)
            record_times = np.array(decoded.record_times, np.int64)
            times, verdicts = judge_times(publisher_times, record_times)
            keys = strings([source.key for source in sources])
            partitions = np.array([source.partition for source in sources], np.int64)
            actions = actions_of(decoded.events, times, decoded.lines, self.names)
            if self.catalogue:
                actions = completed(actions, [event.market for event in decoded.events], self.catalogue, self.names)
            self._metrics.misplaced.inc(misplaced_keys(keys, partitions, self._settings.partitions, actions.lines))
            return ReceivedBatch(
                records=records,
                decoded=decoded,
                sources=sources,
                keys=keys,
                record_times=record_times,
                publisher_times=publisher_times,
                actions=actions,
                partitions=partitions,
                offsets=(offsets := np.array([source.offset for source in sources], np.int64)),
                positions=offsets,
                verdicts=verdicts,
                generation=generation,
            )

    def decode_due(self, due: Sequence[DueUsers], generation: int) -> ReceivedBatch:
        """Makes a batch of users whose time has come, without events."""
        return replace(self.decode([], generation), due=due)

    def decode_joins(self, fetches: Sequence[JoinsFetch], generation: int) -> ReceivedBatch:
        """Makes a batch of what was read of the joins topic, without events."""
        return replace(self.decode([], generation), joins=fetches)

    def step(self, received: ReceivedBatch) -> SteppedBatch:
        """Applies the events; memory has them when this returns, nothing else does."""
        with self._timed("step"):
            engine = self._state_engine
            late = 0 if self.signals is None else self.signals.take_in(engine.states, received.generation)
            joins, due, stepped = None, None, list[SteppedEvents]()
            if received.due:
                due = found_due(engine, received.due)
            elif received.joins:
                outcomes = self._metrics.join_outcomes
                joins = read_joins(engine, received.joins, outcomes, self.catalogue)
            else:
                received, stepped, joins = self._step(received)
            shares = [self._share(received, one) for one in stepped]
        self._count(received.decoded, shares)
        number, names = engine.batch_number, engine.item_names
        return SteppedBatch(received, shares, number, names, engine.nbytes, joins, due, late)

    def _step(self, received: ReceivedBatch) -> tuple[ReceivedBatch, list[SteppedEvents], JoinEffects | None]:
        """Applies the events, and what identities among them say."""
        engine, partitions = self._state_engine, received.partitions.tolist()
        if self.joins and received.decoded.identities:
            identities = placed_identities(received.records, received.decoded)
            events = PlacedActions(received.actions, partitions, received.offsets)
            positions, stepped, joins = step_identified(engine, events, identities, self._metrics.join_outcomes)
            return replace(received, positions=positions), stepped, joins
        slots = engine.slots_of(partitions, received.actions.users)
        positions = engine.positions(partitions, received.offsets)
        if positions is not received.positions:
            received = replace(received, positions=positions)
        return received, engine.step_all(slots, received.actions, received.positions), None

    def _share(self, received: ReceivedBatch, stepped: SteppedEvents) -> VersionShare:
        given = received.verdicts[stepped.events.indices]
        verdicts = np.where((given == OK) & stepped.events.late, np.uint8(LATE), given)
        return VersionShare(stepped, self._state_engine.snapshot(stepped.changed_slots), verdicts)

    def answer(self, batch: SteppedBatch) -> AnsweredBatch:
        """Answers a batch; batches must come in the order in which they were stepped."""
        with self._timed("answer"):
            with self._answer_engine.statistics.up_to_date() as table:
                if table is not None:
                    meet_items(table, batch.received.actions)
            answered = [self._answer_engine.answer(share.stepped) for share in batch.shares]
        for answers, scores in answered:
            self._metrics.score("model", scores.ranks)
            if answers.liked is not None:
                self._metrics.score_preferences(answers.liked.scored)
            self._metrics.versions.add(answers, scores)
        self._metrics.state_bytes.set(batch.state_bytes + self._answer_engine.nbytes)
        return AnsweredBatch(batch, [answers for answers, _ in answered], [scores for _, scores in answered])

    def settle(self, before: int) -> None:
        """Lets users leave memory whom only batches below this number have touched: their effects are durable."""
        self._state_engine.settle(before)

    def encode(self, batch: AnsweredBatch) -> list[BatchResult]:
        """Encodes all effects of a batch, one result per partition."""
        with self._timed("encode"):
            return self._encode(batch)

    def _encode(self, batch: AnsweredBatch) -> list[BatchResult]:
        received, shares = batch.stepped.received, batch.stepped.shares
        ranker: Ranker = "rules" if BASELINE in [answers.version for answers in batch.answers] else "model"
        partitions = dict.fromkeys([record.partition for record in received.records])
        results = {partition: BatchResult(partition, ranker) for partition in partitions}
        if received.decoded.rejected:
            self._add_dead_letters(received, results)
        self._predictions.keep(batch.stepped.item_names)
        values = self._add_predictions(received, shares, batch.answers, results) if shares else strings([])
        told = None if self.signals is None else tell(self.signals, batch.stepped, batch.answers, values)
        for share in shares if told is None else told.shares:
            self._add_states(received, share, results)
        joins = batch.stepped.joins if told is None else told.joins
        if joins is not None:
            add_effects(joins, results, ranker, self._settings)
        if told is not None:
            add_signals(told, results, ranker, self._settings)
            self._metrics.tell(told.signals.kinds)
        return list(results.values())

    def _add_dead_letters(self, received: ReceivedBatch, results: dict[int, BatchResult]) -> None:
        letters: defaultdict[int, list[OutgoingRecord]] = defaultdict(list)
        for rejected in received.decoded.rejected:
            record = received.records[rejected.position]
            letters[record.partition].append(dead_letter(record, rejected, self.largest_dead_letter))
            results[record.partition].reasons.append(rejected.reason)
        for partition, records in letters.items():
            largest = min(LARGEST_BATCH, self.largest_dead_letter)
            batches = encode_records(records, largest=largest, compression=self._settings.compression)
            results[partition].dead_letters.extend(batches)

    def _add_predictions(
        self,
        received: ReceivedBatch,
        shares: Sequence[VersionShare],
        answers: Sequence[Answers],
        results: dict[int, BatchResult],
    ) -> Strings:
        """Adds the prediction of every new event; returns all that was said, one share's behind the other's: also what
        has a topic of its own."""
        pairs = list(zip(shares, answers, strict=True))
        indices = np.concatenate([share.stepped.events.indices for share in shares])
        values = self._encoded(received, pairs, self._profile_fields)
        published = values
        if self._profiles is not None:
            published = self._encoded(received, pairs, self._reason_fields)
            for share, answer in pairs:
                self._profiles.add(received, share.stepped, answer, self._user_fields(answer), results)
        records = KeyedValues(received.keys, received.partitions, indices, published, indices.argsort())
        if self._settings.predictions_latest_topic:
            self._add_latest(records, shares, results)
        order, batches = partitioned_batches(records, compression=self._settings.compression)
        times, start = received.record_times[indices[order]], 0
        for partition, batch in batches:
            result, end = results[partition], start + batch.records
            result.predictions.append(batch)
            first = start - len(result.record_times)  # the partition's lie side by side
            result.record_times = times[first:end]
            if self.publishes_values:
                result.published = PublishedValues(received.actions.users, indices, values, order[first:end])
            start = end
        return values

    def _add_latest(
        self, predictions: KeyedValues, shares: Sequence[VersionShare], results: dict[int, BatchResult]
    ) -> None:
        """Adds each user's newest prediction once more, for the topic that keeps only these."""
        newest, first = [], 0
        for share in shares:
            slots = share.stepped.events.slots  # a user's events have one slot, and are all in one share
            newest.append(first + newest_events(slots))
            first += len(slots)
        chosen = predictions._replace(selected=np.concatenate(newest))
        for partition, batch in partitioned_batches(chosen, compression=self._settings.compression).batches:
            results[partition].latest.append(batch)

    def _encoded(
        self,
        received: ReceivedBatch,
        pairs: Sequence[tuple[VersionShare, Answers]],
        fields: Callable[[Answers], list[Strings]],
    ) -> Strings:
        """Returns the predictions of several shares with these fields at their ends, one share's behind the other's."""
        return concatenate(
            [self._predictions.encode(_source_events(received, share), one, fields(one)) for share, one in pairs]
        )

    def _profile_fields(self, answers: Answers) -> list[Strings]:
        """Returns what predictions say of their users beside what they will do next, as columns of JSON."""
        return [*self._user_fields(answers), *self._reason_fields(answers)]

    def _user_fields(self, answers: Answers) -> list[Strings]:
        columns = [] if answers.scores is None else [scores_json(answers.scores)]
        if answers.segments is not None:
            columns.append(segments_json(answers.segments))
        if answers.liked is not None:
            columns.append(self._preferences.encode(answers.liked))
        return columns

    def _reason_fields(self, answers: Answers) -> list[Strings]:
        if answers.reasons is None:
            return []
        items = self._predictions.items_of(answers.names)
        return [reasons_json(answers, items.json(), items.longest)]

    def _add_states(self, received: ReceivedBatch, share: VersionShare, results: dict[int, BatchResult]) -> None:
        """Adds the records of the users whom a version's events changed, each under the key of their last event."""
        events, changed = share.stepped.events, share.stepped.changed_slots
        last = np.zeros(len(changed), np.int64)
        last[changed.searchsorted(events.slots)] = events.indices  # of a user's several indices the last stays
        values = frozen(*packed(share.states))
        records = KeyedValues(received.keys, received.partitions, last, values, np.arange(len(last)))
        order, batches = partitioned_batches(records, compression=self._settings.compression)
        states, start = records_of(*values), 0
        pairs = [
            (received.sources[index].key, states[row])
            for index, row in zip(last[order].tolist(), order.tolist(), strict=True)
        ]
        for partition, batch in batches:
            result, end = results[partition], start + batch.records
            result.changelog.append(batch)
            result.states.extend(pairs[start:end])
            start = end

    def _count_unreadable(self, records: Records, rejected: Sequence[Rejection]) -> None:
        for record in (records[one.position] for one in rejected):
            if isinstance(record, UnreadableBatch):
                self._metrics.unreadable.labels(record.reason).inc(record.records)

    def _count(self, decoded: DecodedBatch, shares: Sequence[VersionShare]) -> None:
        metrics = self._metrics
        replays = decoded.lines.count(0)
        for stepped, verdicts in ((share.stepped, share.verdicts) for share in shares):
            replays -= len(verdicts)
            metrics.events.inc(len(verdicts))
            metrics.duplicates.inc(stepped.events.duplicates)
            for verdict, count in enumerate(np.bincount(verdicts).tolist()):
                self._verdicts[verdict].inc(count)
            metrics.score("rules", stepped.rules_ranks)
        metrics.replays.inc(replays)
        metrics.pass_over(decoded, joins=self.joins)
        users = self._state_engine.user_counts()
        metrics.evicted.inc(users.evicted)
        metrics.returned.inc(users.returned)
        metrics.users.set(users.in_memory)
        for partition, user, fault in users.damaged:
            self._damaged.note(partition, user, fault)

    def _timed(self, stage: str) -> _StageTimer:
        return _StageTimer(self._clock, self._stages[stage])


class _StageTimer:
    """Observes how long a block took that ended without an exception."""

    __slots__ = ("_clock", "_histogram", "_start")

    def __init__(self, clock: Callable[[], float], histogram: Histogram) -> None:
        self._clock, self._histogram = clock, histogram

    def __enter__(self) -> None:
        self._start = self._clock()

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None:
            self._histogram.observe(self._clock() - self._start)


def _source_events(received: ReceivedBatch, share: VersionShare) -> SourceEvents:
    """The new events of a share, as its predictions name them."""
    indices, events, users = share.stepped.events.indices, received.decoded.events, received.actions.users
    if len(indices) < len(events):
        events = [events[index] for index in indices.tolist()]
        users = [users[index] for index in indices.tolist()]
    return SourceEvents(
        users=users,
        event_ids=[event.event_id for event in events],
        types=_published_types(received.actions.types[indices], events),
        times=received.publisher_times[indices],
        verdicts=share.verdicts,
        partitions=received.partitions[indices],
        offsets=received.offsets[indices],
        positions=received.positions[indices],
        history_lengths=share.stepped.history_lengths,
    )


def _published_types(types: NDArray[np.uint8], events: Sequence[Event]) -> NDArray[np.uint8]:
    """Returns the codes of the types that publishers wrote, which the model may take for another: see `actions_of`."""
    for n in np.flatnonzero(types == REMOVE).tolist():
        types[n] = TYPE_CODES[events[n].type]
    return types
