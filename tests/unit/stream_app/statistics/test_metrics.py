"""The metrics of the statistics."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry

from stream_app.statistics.metrics import KINDS, StatisticsMetrics, WriterMetrics


def test_what_was_dropped_is_asked_for_by_kind() -> None:
    registry = CollectorRegistry()
    metrics = StatisticsMetrics(registry)
    WriterMetrics(registry)
    name = "nextact_statistics_dropped_total"
    assert [registry.get_sample_value(name, {"kind": kind}) for kind in KINDS] == [0, 0, 0, 0]
    metrics.dropped.counts = lambda: {"items": 3}
    assert registry.get_sample_value(name, {"kind": "items"}) == 3


def test_without_statistics_there_is_no_age() -> None:
    registry = CollectorRegistry()
    StatisticsMetrics(registry)
    age = registry.get_sample_value("nextact_statistics_age_seconds")
    assert age is not None
    assert math.isnan(age), "so that no alert fires"
