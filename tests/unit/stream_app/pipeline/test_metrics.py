"""Metrics: prometheus_client's own histogram and plain sums are the oracles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from model.serving.answers import Answers
from model.serving.online_scores import NOTHING, BatchScores
from model.serving.outcomes import Outcomes
from stream_app.contract.decoded import REASONS
from stream_app.pipeline.metrics import RANKERS, ArrayHistogram, VersionScores, WorkerMetrics
from stream_app.trainer.metrics import TrainerMetrics

BUCKETS = (0.005, 0.25, 1.0, 2.5, 60.0)
VALUES = st.lists(st.sampled_from([-1.0, 0.0, 0.005, 0.0051, 0.25, 1, 2.5, 59.9, 60, 61, 1e9]) | st.floats(-10, 100))


def samples(registry: CollectorRegistry) -> dict[str, float]:
    text = generate_latest(registry).decode()
    return {
        sample.name
        + "".join(
            f"|{float(value):g}" if name == "le" else f"|{value}" for name, value in sample.labels.items()
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(VALUES, max_size=4))
def test_whole_arrays_are_counted_like_single_values(batches: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    array = ArrayHistogram("x_seconds", "x", BUCKETS)
    ours.register(array)
    single = Histogram("x_seconds", "x", buckets=BUCKETS, registry=theirs)
    for batch in batches:
        array.observe(np.array(batch))
        for value in batch:
            single.observe(value)
    exported, wanted = samples(ours), samples(theirs)
    assert exported == pytest.approx(wanted)


def test_every_label_is_there_from_the_start() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    exported = samples(registry)
    assert {f"nextact_dead_letters_total|{reason}" for reason in REASONS} <= set(exported)
    for name in ("predictions", "scored", "hits", "reciprocal_ranks"):
        assert {f"nextact_{name}_total|{ranker}" for ranker in RANKERS} <= set(exported)
    assert {"nextact_reloads_total|loaded", "nextact_reloads_total|refused"} <= set(exported)


def test_ranks_become_hits_and_reciprocal_ranks() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.score("model", np.array([1, 0, 4, 0, 20], np.int64))
    metrics.score("model", np.zeros(0, np.int64))
    exported = samples(registry)
    assert exported["nextact_scored_total|model"] == 5
    assert exported["nextact_hits_total|model"] == 3
    assert exported["nextact_reciprocal_ranks_total|model"] == pytest.approx(1 + 1 / 4 + 1 / 20)
    assert exported["nextact_scored_total|rules"] == 0


def test_a_dropped_version_is_not_counted() -> None:
    scores = VersionScores()
    scores.begin(["new"])
    for version in ("old", "new"):
        scores.add(answers_of(version), replace(NOTHING, ranks=np.array([1])))
    assert {version: score.scored for version, score in scores.scores().items()} == {"new": 1}


def test_outcomes_of_versions_that_served_before_are_counted_on() -> None:
    scores, names = VersionScores(), ["v0", "v1", "v2"]
    outcomes = Outcomes(np.array([0.25, 0.5, 0.75], np.float32), np.array([True, False, True]), np.arange(3))  # type: ignore[arg-type]
    scores.begin(["v1"])
    scores.begin(["v2"])
    scores.add(answers_of("v2"), BatchScores(np.array([1]), outcomes, outcomes, names))
    registry = CollectorRegistry()
    registry.register(scores)
    exported = samples(registry)
    assert exported["nextact_version_purchases_foretold_total|v1"] == 0.5
    assert exported["nextact_version_purchases_total|v2"] == 1
    assert exported["nextact_version_leaves_foretold_total|v2"] == 0.25, "who stays by 0.75 leaves by the rest"
    assert exported["nextact_version_leaves_total|v1"] == exported["nextact_version_leave_outcomes_total|v1"] == 1
    assert "nextact_version_purchases_total|v0" not in exported, "it never served here"
    assert "nextact_version_scored_total|v1" not in exported
    for number in range(3, 20):
        scores.begin([f"v{number}"])
    assert "nextact_version_purchases_total|v2" not in samples(registry), "the last few are kept"
    scores.begin(["v18"])
    assert "nextact_version_purchases_total|v18" in samples(registry)


def answers_of(version: str) -> Answers:
    """One answer, with one item."""
    ones = np.ones((1, 1), np.float32)
    return Answers(version, ["item"], np.zeros((1, 1), np.int64), ones, ones, ones[:, None], ones[0])


def test_a_partition_that_moved_away_has_no_lag_sample() -> None:
    registry = CollectorRegistry()
    lags = {"0": 3, "1": 4}
    WorkerMetrics(registry).lag.set_function(lambda: lags)
    assert {name: value for name, value in samples(registry).items() if "lag" in name} == {
        "nextact_lag_events|0": 3,
        "nextact_lag_events|1": 4,
    }
    del lags["0"]
    assert "nextact_lag_events|0" not in samples(registry)


def test_worker_and_trainer_may_share_a_registry() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    TrainerMetrics(registry)
    names = {name.split("|")[0] for name in samples(registry)}
    assert all(name.startswith("nextact_") for name in names)
