"""The trainer's metrics: all values of a label are there, at 0, before anything happens."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from model.evaluation.gate import REASONS
from model.rounds.drift import DISTRIBUTIONS
from stream_app.trainer.metrics import FAILURES, ROUNDS, TrainerMetrics


def test_what_has_not_happened_yet_is_exported_as_zero() -> None:
    registry = CollectorRegistry()
    TrainerMetrics(registry)
    for name, label, values in (
        ("nextact_trainer_rounds_total", "outcome", ROUNDS),
        ("nextact_trainer_round_failures_total", "reason", FAILURES),
        ("nextact_trainer_verdicts_total", "reason", REASONS),
        ("nextact_drift_stability_index", "of", DISTRIBUTIONS),
    ):
        assert [registry.get_sample_value(name, {label: value}) for value in values] == [0] * len(values)
    assert registry.get_sample_value("nextact_trainer_rollbacks_total") == 0


def test_every_metric_has_a_meaning_and_the_prefix() -> None:
    registry = CollectorRegistry()
    TrainerMetrics(registry)
    families = list(registry.collect())
    assert len(families) == len({family.name for family in families}) == 15
    for family in families:
        assert family.name.startswith(("nextact_trainer_", "nextact_drift_", "nextact_history_"))
        assert family.documentation
