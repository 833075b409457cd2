"""Reads a worker's metrics, and tells what two readings of them say of the time between."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_READ: Final = (
    "nextact_events_total",
    "nextact_predictions_total",
    "nextact_event_to_prediction_seconds_bucket",
    "nextact_lag_events",
    "nextact_users",
    "nextact_scored_total",
    "nextact_hits_total",
    "nextact_model_info",
    "nextact_model_created_timestamp_seconds",
    "nextact_ready",
    "nextact_partitions",
)
NO_VERSION: Final = "baseline"  # what serves before the first version does

Counts = Mapping[str, float]  # by a label's value


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a worker's metrics said at one time."""

    at: float  # seconds of the caller's clock
    events: float
    predictions: float
    lag: float
    users: float
    partitions: float
    ready: bool
    version: str
    created: float  # when the version was made, seconds since the epoch; 0: unknown
    latency: Counts  # events by the upper bound of their bucket, those of lower buckets included
    scored: Counts  # by ranker
    hits: Counts


@dataclass(frozen=True, slots=True)
class Increment:
    """What a worker did between two scrapes, or several workers in some time."""

    at: float  # when it ended
    seconds: float
    events: float = 0.0
    predictions: float = 0.0
    latency: Counts = field(default_factory=dict)
    scored: Counts = field(default_factory=dict)
    hits: Counts = field(default_factory=dict)


def read_metrics(text: str, at: float) -> Scrape:
    """Reads what /metrics returns. Raises ValueError where it is not what a nextact worker says."""
    lines = [line for line in text.splitlines() if line.startswith(_READ)]
    samples: dict[str, dict[str, float]] = defaultdict(dict)
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        for sample in family.samples:
            samples[sample.name]["".join(sample.labels.values())] = sample.value
    if "nextact_events_total" not in samples:
        raise ValueError("these are not the metrics of a nextact worker")
    serving = [version for version, value in samples["nextact_model_info"].items() if value]

    def total(name: str) -> float:
        return sum(samples[name].values())

    return Scrape(
        at=at,
        events=total("nextact_events_total"),
        predictions=total("nextact_predictions_total"),
        lag=total("nextact_lag_events"),
        users=total("nextact_users"),
        partitions=total("nextact_partitions"),
        ready=total("nextact_ready") > 0,
        version=serving[0] if serving else NO_VERSION,
        created=total("nextact_model_created_timestamp_seconds"),
        latency=samples["nextact_event_to_prediction_seconds_bucket"],
        scored=samples["nextact_scored_total"],
        hits=samples["nextact_hits_total"],
    )


def between(before: Scrape, after: Scrape) -> Increment:
    """Returns what was counted between two scrapes of a worker; one that began anew in between counted from zero."""
    anew = after.events < before.events

    def more(now: Counts, earlier: Counts) -> Counts:
        return {label: value - (0.0 if anew else earlier.get(label, 0.0)) for label, value in now.items()}

    return Increment(
        at=after.at,
        seconds=after.at - before.at,
        events=after.events - (0.0 if anew else before.events),
        predictions=after.predictions - (0.0 if anew else before.predictions),
        latency=more(after.latency, before.latency),
        scored=more(after.scored, before.scored),
        hits=more(after.hits, before.hits),
    )


def added(counts: Iterable[Counts]) -> dict[str, float]:
    """Returns the sum of counts, label by label."""
    total: dict[str, float] = defaultdict(float)
    for one in counts:
        for label, value in one.items():
            total[label] += value
    return dict(total)


def quantile(q: float, buckets: Counts) -> float | None:
    """Returns a quantile in seconds, as Prometheus estimates it: between a bucket's bounds on a straight line.

    None without an event; infinite in the last bucket, which has no upper bound.
    """
    bounds = sorted((float(bound), total) for bound, total in buckets.items())
    if not bounds or bounds[-1][1] <= 0:
        return None
    wanted = q * bounds[-1][1]
    low, below = 0.0, 0.0
    for bound, total in bounds:
        if total >= wanted and total > below:
            return bound if math.isinf(bound) else low + (bound - low) * (wanted - below) / (total - below)
        low, below = bound, total
    return low
