"""What a worker's metrics say, and what two readings say of the time between."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from stream_app.page.scrape import added, between, quantile, read_metrics
from stream_app.pipeline.metrics import ArrayHistogram, WorkerMetrics
from tests.unit.builders.pretend_worker import metrics


def test_a_real_workers_metrics_are_read() -> None:
    registry = CollectorRegistry()
    real = WorkerMetrics(registry)
    real.events.inc(12)
    real.predictions.labels("model").inc(9)
    real.predictions.labels("rules").inc(2)
    real.latency.observe([0.02, 0.03])
    real.lag.set_function(lambda: {"0": 3.0, "1": 4.0})
    real.score("model", np.array([1, 0, 3]))
    real.model.labels("v1").set(0)
    real.model.labels("v2").set(1)
    real.model_created.set(77)
    real.ready.set(1)
    scrape = read_metrics(generate_latest(registry).decode(), at=5.0)
    assert (scrape.at, scrape.events, scrape.predictions, scrape.lag, scrape.ready) == (5.0, 12, 11, 7, True)
    assert (scrape.version, scrape.created) == ("v2", 77)
    assert (scrape.hits["model"], scrape.scored["model"], scrape.scored["rules"]) == (2, 3, 0)
    assert (scrape.latency["0.025"], scrape.latency["+Inf"]) == (1, 2)


def test_before_a_version_serves_there_is_none() -> None:
    assert read_metrics("nextact_events_total 0\n", 0.0).version == "baseline"


@pytest.mark.parametrize("text", ["", "python_info 1\n", "nextact_events_total many\n", "<html>nextact_events_total"])
def test_what_is_no_workers_metrics_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not the metrics|could not convert"):
        read_metrics(text, 0.0)


def test_the_time_between_two_scrapes() -> None:
    before = read_metrics(metrics(events=100, rules=(10, 20)), 1.0)
    after = read_metrics(metrics(events=160, rules=(22, 40)), 3.0)
    done = between(before, after)
    assert (done.at, done.seconds, done.events, done.predictions) == (3.0, 2.0, 60, 60)
    assert (done.hits["rules"], done.scored["rules"], done.latency["0.05"]) == (12, 20, 60)


def test_a_worker_that_began_anew_counted_from_zero() -> None:
    before = read_metrics(metrics(events=100, rules=(10, 20)), 1.0)
    done = between(before, read_metrics(metrics(events=30, rules=(2, 3)), 2.0))
    assert (done.events, done.hits["rules"], done.latency["+Inf"]) == (30, 2, 30)


def test_counts_are_added_label_by_label() -> None:
    assert added([{"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 4.0}]) == {"a": 1.0, "b": 5.0, "c": 4.0}
    assert added([]) == {}


def test_quantiles_of_few_and_of_late_events() -> None:
    assert quantile(0.5, {}) is None
    assert quantile(0.5, {"0.1": 0.0, "+Inf": 0.0}) is None
    assert quantile(0.99, {"0.1": 1.0, "+Inf": 2.0}) == math.inf
    assert quantile(0.5, {"0.1": 4.0, "+Inf": 4.0}) == pytest.approx(0.05)


BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_events_own(values: list[float], q: float) -> None:
    histogram = ArrayHistogram("h", "", BOUNDS)
    histogram.observe(values)
    (family,) = histogram.collect()
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "h_bucket"}
    exact = sorted(values)[max(math.ceil(q * len(values) - 1e-9) - 1, 0)]
    upper = next(bound for bound in BOUNDS if exact <= bound)
    lower = max((bound for bound in BOUNDS if bound < exact), default=0.0)
    found = quantile(q, buckets)
    assert found is not None
    assert lower - 1e-9 <= found <= upper + 1e-9
