"""Every metric that nextact exports, with its meaning. Base units: seconds, bytes, events."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from model.data.event_time import FLAGS
from model.errors import RefusalReason
from model.profile.preference_hits import PREFERENCE_FIELDS
from model.serving.answers import Answers
from model.serving.online_hits import count_hits
from model.serving.online_scores import BatchScores, VersionScore
from stream_app.contract.decoded import REASONS, DecodedBatch
from stream_app.contract.records import UnreadableReason
from stream_app.contract.signals.signal import SIGNAL_KINDS, SignalKind
from stream_app.kafka.log_range import MISSED_REASONS

_LATENCY_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_STAGE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

_EARLIER: Final = 8  # versions that serve no more, of whose outcomes there are metrics
STAGES: Final = ("decode", "step", "answer", "encode", "deliver")
Ranker = Literal["model", "rules"]
RANKERS: Final[tuple[Ranker, ...]] = get_args(Ranker)
RELOADS: Final = ("loaded", "refused", "unreadable")
# Taken in; already there; nothing to give, when it was asked for; damaged.
JOIN_OUTCOMES: Final = ("applied", "past", "repeated", "empty", "unreadable")
REFUSALS: Final[tuple[RefusalReason, ...]] = get_args(RefusalReason)


class ArrayHistogram(Collector):
    """A histogram that takes a whole batch at once; prometheus_client's own takes one value a call."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float]) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = np.array(buckets, np.float64)
        self._counts = np.zeros(len(buckets) + 1, np.int64)
        self._sum = 0.0

    def observe(self, values: ArrayLike) -> None:
        """Adds all values of an array."""
        array = np.asarray(values, np.float64)
        buckets = np.searchsorted(self._bounds, array, side="left")
        self._counts += np.bincount(buckets, minlength=len(self._counts))
        self._sum += float(array.sum())

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """See `Collector`."""
        names = [*(format(bound, "g") for bound in self._bounds), "+Inf"]
        totals = np.cumsum(self._counts).tolist()
        buckets = list(zip(names, totals, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)


class LabelledGauge(Collector):
    """A gauge with one label whose samples are computed when they are asked for: what has gone has no sample."""

    def __init__(self, name: str, documentation: str, label: str) -> None:
        self._name, self._documentation, self._label = name, documentation, label
        self._values: Callable[[], Mapping[str, float]] = dict

    def set_function(self, values: Callable[[], Mapping[str, float]]) -> None:
        """`values` returns the current values by the label's value."""
        self._values = values

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """See `Collector`."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, number in self._values().items():
            family.add_metric([value], number)
        yield family


class VersionScores(Collector):
    """The online scores of the versions that serve or are compared, since they began to serve in this process.

    A probability of a purchase or of leaving is settled half an hour later, when another version may serve: those of
    the last few are counted on.
    """

    def __init__(self) -> None:
        self._scores: dict[str, VersionScore] = {}
        self._earlier: dict[str, VersionScore] = {}  # that wait for purchases, the latest last

    def add(self, answers: Answers, scores: BatchScores) -> None:
        """Adds a batch, but for answers of the rules, which are counted elsewhere, and of dropped versions."""
        if score := self._scores.get(answers.version):
            score.add(answers, scores)
        for number in {*scores.purchases.versions.tolist(), *scores.stays.versions.tolist()}:
            version = scores.versions[number]
            if score := self._scores.get(version) or self._earlier.get(version):
                score.settle(scores.purchases.of(number), scores.stays.of(number))

    def begin(self, versions: Collection[str]) -> None:
        """Notes that these versions serve from now on, side by side: their scores begin at zero, others are dropped.

        What becomes of what they foretold goes on.
        """
        known = self._earlier | self._scores
        self._scores = {version: VersionScore.after(known.pop(version, None)) for version in versions}
        self._earlier = {version: VersionScore.after(known[version]) for version in list(known)[-_EARLIER:]}

    def scores(self) -> dict[str, VersionScore]:
        """The scores by version."""
        return dict(self._scores)

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        yield from _families(_VERSION_COUNTERS, self._scores)
        yield from _families(_OUTCOME_COUNTERS, self._earlier | self._scores)
        coverage = GaugeMetricFamily(
            "nextact_version_coverage_ratio", "Share of the items among somebody's 20 best so far", labels=["version"]
        )
        for version, score in self.scores().items():
            coverage.add_metric([version], score.coverage)
        yield coverage


_Counters = Sequence[tuple[str, str, Callable[[VersionScore], float]]]
_VERSION_COUNTERS: Final[_Counters] = (
    ("scored", "Next items that scored a version's answer before them", lambda score: score.scored),
    ("hits", "Of the scored, those among the 20 best", lambda score: score.hits),
    ("reciprocal_ranks", "Sum of 1 / rank of the hits", lambda score: score.reciprocal_ranks),
)
_OUTCOME_COUNTERS: Final[_Counters] = (
    ("purchase_outcomes", "Purchase probabilities whose half hour is over", lambda score: score.purchases.outcomes),
    ("purchases_foretold", "Sum of these probabilities", lambda score: score.purchases.probability),
    ("purchases", "Of the outcomes, purchases: as many as foretold if calibrated", lambda score: score.purchases.came),
    ("leave_outcomes", "Leave probabilities whose half hour is over", lambda score: score.stays.outcomes),
    ("leaves_foretold", "Sum of these probabilities", lambda score: score.stays.opposite.probability),
    ("leaves", "Of the outcomes, leaves: as many as foretold if calibrated", lambda score: score.stays.opposite.came),
)


def _families(counters: _Counters, scores: Mapping[str, VersionScore]) -> Iterator[CounterMetricFamily]:
    for name, documentation, value in counters:
        counter = CounterMetricFamily(f"nextact_version_{name}", documentation, labels=["version"])
        for version, score in scores.items():
            counter.add_metric([version], value(score))
        yield counter


class WorkerMetrics:
    """All metrics of a worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("nextact_events", "Valid events taken in, replays left out", registry=registry)
        self.predictions = Counter(
            "nextact_predictions", "Predictions acknowledged, by who made them", ["ranker"], registry=registry
        )
        self.dead_letters = Counter(
            "nextact_dead_letters", "Records that are not events, by reason", ["reason"], registry=registry
        )
        self.unreadable = Counter(
            "nextact_unreadable_records",
            "Offsets passed over, events' and changelog's, as their batch cannot be read or unpacks to too much",
            ["reason"],
            registry=registry,
        )
        self.replays = Counter(
            "nextact_replayed_events", "Events seen again after a restart, answered before", registry=registry
        )
        self.duplicates = Counter(
            "nextact_duplicate_events", "Repeated event ids: answered, not applied", registry=registry
        )
        self.ignored = Counter(
            "nextact_ignored_events",
            "Events that are no shopper's action, passed over, by their name",
            ["type"],
            registry=registry,
        )
        self.shown_lists = Counter(
            "nextact_shown_lists", "Lists of items that users were shown, replays included", registry=registry
        )
        self.event_time = Counter(
            "nextact_event_time", "New events by the verdict on their time", ["verdict"], registry=registry
        )
        self.joins = Counter(
            "nextact_joins",
            "Sequences of anonymous users and of the past, by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.signals = Counter("nextact_signals", "Signals told of users, by kind", ["kind"], registry=registry)
        self.timers = Gauge(
            "nextact_timers", "Users who are to be looked at when nothing comes of them", registry=registry
        )
        self.misplaced = Counter(
            "nextact_misplaced_records",
            "Events on another partition than Kafka's default partitioner (murmur2) chooses for their key",
            registry=registry,
        )
        self.stale_batches = Counter(
            "nextact_stale_batches", "Fetches of partitions lost before they were handled", registry=registry
        )
        self.missed = Counter(
            "nextact_missed_records",
            "Offsets of the events topic that were gone before they were answered, or after, by reason",
            ["reason"],
            registry=registry,
        )
        self.batch_events = Histogram(
            "nextact_batch_events",
            "Records per batch",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.stage = Histogram(
            "nextact_stage_seconds",
            "Time per batch and stage",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self.latency = ArrayHistogram(
            "nextact_event_to_prediction_seconds",
            "From the event record's timestamp to the acknowledged prediction",
            _LATENCY_BUCKETS,
        )
        registry.register(self.latency)
        self.lag = LabelledGauge("nextact_lag_events", "Records of a partition not yet answered", "partition")
        registry.register(self.lag)
        self.users = Gauge("nextact_users", "Users whose state is in memory", registry=registry)
        self.segment_users = LabelledGauge(
            "nextact_segment_users", "Users in memory by the segment that they are in", "segment"
        )
        registry.register(self.segment_users)
        self.evicted = Counter(
            "nextact_evicted_users", "Users who left memory for others; the local store has them", registry=registry
        )
        self.returned = Counter(
            "nextact_returned_users", "Users who came into memory from the local store", registry=registry
        )
        self.damaged_users = Counter(
            "nextact_damaged_users", "Stored states that could not be read: their users began anew", registry=registry
        )
        self.recovered = Counter(
            "nextact_recovered_records",
            "Changelog records that the local store has taken in, to recover a partition or to follow it as a standby",
            registry=registry,
        )
        self.state_bytes = Gauge("nextact_state_bytes", "Bytes of all user states in memory", registry=registry)
        self.partitions = Gauge("nextact_partitions", "Event partitions assigned to this worker", registry=registry)
        self.ready = Gauge("nextact_ready", "1 when the worker answers events", registry=registry)
        self.model = Gauge("nextact_model_info", "1 for the version that serves", ["version"], registry=registry)
        self.model_created = Gauge(
            "nextact_model_created_timestamp_seconds", "When the serving version was made", registry=registry
        )
        self.reloads = Counter(
            "nextact_reloads", "Versions offered to this worker, by outcome", ["outcome"], registry=registry
        )
        self._unserved = Gauge(
            "nextact_promotion_unserved", "1 for why the newest promotion does not serve", ["reason"], registry=registry
        )
        self.scored = Counter(
            "nextact_scored", "Next items that scored the answer before them", ["ranker"], registry=registry
        )
        self.hits = Counter("nextact_hits", "Of the scored, those among the 20 best", ["ranker"], registry=registry)
        self.reciprocal_ranks = Counter(
            "nextact_reciprocal_ranks",
            "Sum of 1 / rank of the hits: MRR@20 = this / scored",
            ["ranker"],
            registry=registry,
        )
        self._preference_scored = Counter(
            "nextact_preference_scored",
            "Next items whose category or brand scored the preferences before them",
            ["field"],
            registry=registry,
        )
        self._preference_hits = Counter(
            "nextact_preference_hits", "Of these, those among the 3 largest shares", ["field"], registry=registry
        )
        self.versions = VersionScores()
        registry.register(self.versions)
        for field in PREFERENCE_FIELDS:
            self._preference_scored.labels(field)
            self._preference_hits.labels(field)
        for flag in FLAGS:
            self.event_time.labels(flag or "ok")
        for reason in REASONS:
            self.dead_letters.labels(reason)
        for missed in MISSED_REASONS:
            self.missed.labels(missed)
        for unreadable in get_args(UnreadableReason):
            self.unreadable.labels(unreadable)
        counters = (self.scored, self.hits, self.reciprocal_ranks)
        self._rank_counters = {ranker: [counter.labels(ranker) for counter in counters] for ranker in RANKERS}
        for ranker in RANKERS:
            self.predictions.labels(ranker)
        for kind in SIGNAL_KINDS:
            self.signals.labels(kind)
        for outcome in RELOADS:
            self.reloads.labels(outcome)
        self.join_outcomes = {joined: self.joins.labels(joined) for joined in JOIN_OUTCOMES}
        self.explain_unserved(None)

    def explain_unserved(self, reason: RefusalReason | None) -> None:
        """Notes why the newest promotion does not serve; None: it does, or there is none."""
        for each in REFUSALS:
            self._unserved.labels(each).set(each == reason)

    def pass_over(self, decoded: DecodedBatch, *, joins: bool) -> None:
        """Counts what is no action: their names are a closed set, which settings can add to.

        Identities are passed over only where there are no `joins`.
        """
        for name, count in Counts(decoded.ignored).items():
            self.ignored.labels(name).inc(count)
        if decoded.identities and not joins:
            self.ignored.labels("identify").inc(len(decoded.identities))
        self.shown_lists.inc(len(decoded.shown))

    def tell(self, kinds: Sequence[SignalKind]) -> None:
        """Counts signals."""
        for kind, count in Counts(kinds).items():
            self.signals.labels(kind).inc(count)

    def score(self, ranker: Ranker, ranks: NDArray[np.int64]) -> None:
        """Counts the ranks of next items in the answers before them, from 1; 0: not among the best."""
        if not len(ranks):
            return
        hit_count, reciprocals = count_hits(ranks)
        scored, hits, reciprocal_ranks = self._rank_counters[ranker]
        scored.inc(len(ranks))
        hits.inc(hit_count)
        reciprocal_ranks.inc(reciprocals)

    def score_preferences(self, scored: NDArray[np.int64]) -> None:
        """Counts what scored the preferences before it, and what of these were hits: (F, 2)."""
        for field, (count, hits) in zip(PREFERENCE_FIELDS, scored.tolist(), strict=True):
            self._preference_scored.labels(field).inc(count)
            self._preference_hits.labels(field).inc(hits)
