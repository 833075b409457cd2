"""The metrics that a trainer exports, with their meaning. Base units: seconds, bytes, events."""

from __future__ import annotations

from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from model.evaluation.gate import REASONS as VERDICTS
from model.rounds.drift import DISTRIBUTIONS

ROUNDS: Final = ("promoted", "held", "rejected", "skipped", "failed")  # held: may be promoted after a trial
FailureReason = Literal["registry", "kafka", "disk", "memory", "device", "other"]  # of a round
FAILURES: Final[tuple[FailureReason, ...]] = get_args(FailureReason)


class TrainerMetrics:
    """The counters and gauges of a trainer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("nextact_trainer_events", "Valid events read", registry=registry)
        self.rejected = Counter("nextact_trainer_rejected", "Records that are not events", registry=registry)
        self.rounds = Counter(
            "nextact_trainer_rounds", "Rounds of training, by outcome", ["outcome"], registry=registry
        )
        self.failures = Counter(
            "nextact_trainer_round_failures",
            "Rounds of training that failed, by reason",
            ["reason"],
            registry=registry,
        )
        self.verdicts = Counter(
            "nextact_trainer_verdicts", "Challengers by what the gate said of them", ["reason"], registry=registry
        )
        self.psi = Gauge(
            "nextact_drift_stability_index",
            "Population stability index of the events since the last round against those it learned from",
            ["of"],
            registry=registry,
        )
        self.unseen = Gauge(
            "nextact_drift_unseen_ratio",
            "Of the events on items since the last round: on items that it did not know",
            registry=registry,
        )
        self.rollbacks = Counter(
            "nextact_trainer_rollbacks",
            "Versions taken back because they did worse in production than the one before",
            registry=registry,
        )
        self.round_seconds = Gauge("nextact_trainer_round_seconds", "Duration of the last round", registry=registry)
        self.recall = Gauge(
            "nextact_trainer_recall_at_20",
            "On the held-out events of the last round",
            ["ranker"],
            registry=registry,
        )
        self.history_rows = Gauge("nextact_history_rows", "Events in the files of the history", registry=registry)
        self.history_shown = Gauge(
            "nextact_history_shown_lists", "Lists of what was shown, in the files of the history", registry=registry
        )
        self.history_bytes = Gauge("nextact_history_bytes", "Bytes of the files of the history", registry=registry)
        self.history_files = Gauge("nextact_history_files", "Files of the history", registry=registry)
        self.history_missing = Counter(
            "nextact_history_missing_records",
            "Records that Kafka had removed before the history had them",
            registry=registry,
        )
        for outcome in ROUNDS:
            self.rounds.labels(outcome)
        for reason in FAILURES:
            self.failures.labels(reason)
        for kind in DISTRIBUTIONS:
            self.psi.labels(kind)
        for verdict in VERDICTS:
            self.verdicts.labels(verdict)
