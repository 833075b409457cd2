"""What processes export of the statistics of items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

KINDS: Final = ("neighbours", "items", "sources", "damaged")  # of what is forgotten where memory ends, or not read


class DroppedCounter(Collector):
    """What was forgotten by kind, asked for when it is looked at."""

    def __init__(self) -> None:
        self.counts: Callable[[], Mapping[str, int]] = dict

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See `Collector`."""
        family = CounterMetricFamily(
            "nextact_statistics_dropped",
            "How often neighbours were shortened; items and other sources that were forgotten; damaged records",
            labels=["kind"],
        )
        counts = self.counts()
        for kind in KINDS:
            family.add_metric([kind], counts.get(kind, 0))
        yield family


class StatisticsMetrics:
    """The gauges and counters of a process that has the statistics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = Gauge("nextact_statistics_items", "Items that the statistics know", registry=registry)
        self.bytes = Gauge("nextact_statistics_bytes", "Bytes of the statistics in memory", registry=registry)
        self.age = Gauge(
            "nextact_statistics_age_seconds",
            "How long ago all that had come by then was in the statistics; NaN: there are none, or they are off",
            registry=registry,
        )
        self.dropped = DroppedCounter()
        registry.register(self.dropped)
        self.age.set(math.nan)


class WriterMetrics:
    """What the process that counts exports beside it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.leads = Gauge("nextact_statistics_leader", "1 in the process that counts", registry=registry)
        self.events = Counter("nextact_statistics_events", "Events counted by this process", registry=registry)
        self.records = Counter(
            "nextact_statistics_records", "Records of the statistics written by this process", registry=registry
        )
