"""How surely live traffic finds a version that is worse: `python -m tests.bench canary`, by simulation.

Ten minutes of events, of users as many and as alike as in JData and in the simulated shop; some users stay with the
version before. Every five seconds the trainer looks at what the workers report.
Shapes: N scored events, T looks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.serving.canary import Arm, HitCounts, regression_message
from model.serving.hit_moments import HitMoments
from stream_app.settings import Settings

RATE: Final = 100.0  # events per second
SCORED: Final = 0.78  # share of the events that score an answer: in the shop; in JData it is 0.87
SECONDS: Final = 600.0
LOOK_S: Final = 5.0
_SETTINGS: Final = Settings()


@dataclass(frozen=True, slots=True)
class Shop:
    """How the users of a shop behave within ten minutes, as it was measured."""

    median: float  # scored events of a user, log-normal
    spread: float  # standard deviation of their logarithm
    alike: float  # correlation of two hits of one user
    hit_rate: float


# JData: windows of ten minutes from 50 and 80 % on. The shop: `simulate` at 100 events/s. Hits are those of the rules.
SHOPS: Final = {"JData": Shop(1.9, 0.85, 0.10, 0.23), "the simulated shop": Shop(23.0, 0.35, 0.03, 0.61)}


def canary(options: argparse.Namespace) -> dict[str, Any]:
    """Prints the share of versions that are taken back within ten minutes, by how much worse they are."""
    repeats, found = options.repeats or 500, dict[str, Any]()
    print(f"taken back within {SECONDS:.0f} s at {RATE:.0f} events/s, of {repeats:,} versions; then seconds, median")
    for name, shop in SHOPS.items():
        for drop in (0.0, 0.02, 0.05, 0.10):
            randomness = np.random.default_rng(1)
            times = [taken_back_after(shop, drop, randomness) for _ in range(repeats)]
            took = [time for time in times if time is not None]
            share, median = len(took) / repeats, float(np.median(took)) if took else None
            found[f"{name}, {100 * drop:.0f} points worse"] = {"share": share, "seconds": median}
            took_s = "" if median is None else f"{median:.0f} s"
            print(f"{name:20} {100 * drop:4.0f} points worse: {share:7.1%}  {took_s}", flush=True)
    return found


def taken_back_after(shop: Shop, drop: float, randomness: np.random.Generator) -> float | None:
    """Simulates a canary; returns after how many seconds the new version is blamed, or None."""
    arms = (
        _arms(shop, shop.hit_rate - drop, 1 - _SETTINGS.canary_share, randomness),
        _arms(shop, shop.hit_rate, _SETTINGS.canary_share, randomness),
    )
    for look, (new, before) in enumerate(zip(*arms, strict=True), 1):
        if regression_message(new, before, _SETTINGS.rollback_margin):
            return look * LOOK_S
    return None


def _arms(shop: Shop, hit_rate: float, share: float, randomness: np.random.Generator) -> Iterator[Arm]:
    """Yields how a version does that this share of the users has, at each look."""
    count = round(RATE * SCORED * SECONDS * share)
    owners = _owners(shop, count, randomness)
    times = randomness.random(count) * SECONDS
    hits = (randomness.random(count) < _chances(shop, hit_rate, owners, randomness)).astype(np.float64)
    ranks = randomness.integers(1, 21, count)
    order = np.lexsort((times, owners))  # user by user, each in the order of time
    owners, times, hits = owners[order], times[order], hits[order]
    reciprocals = hits / ranks
    first = np.searchsorted(owners, owners)
    n, h, r = (_before(column, first) for column in (np.ones(count), hits, reciprocals))
    added = [n == 0, 2 * n + 1, h + hits * (n + 1), hits * (2 * h + 1)]
    added += [r + reciprocals * (n + 1), reciprocals * (2 * r + reciprocals), np.ones(count), hits, reciprocals]
    by_time = np.argsort(times)
    sums = np.cumsum(np.array(added)[:, by_time], axis=1)
    looks = np.searchsorted(times[by_time], np.arange(LOOK_S, SECONDS + LOOK_S, LOOK_S)) - 1
    for column in sums[:, np.maximum(looks, 0)].T.tolist():
        yield Arm(HitCounts(int(column[6]), int(column[7]), column[8]), HitMoments(*column[:6]))


def _before(values: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums what each event's user had before it, (N,); `first` are the indices of the users' first events."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    return sums[:-1] - sums[first]


def _owners(shop: Shop, count: int, randomness: np.random.Generator) -> NDArray[np.int64]:
    sizes = np.maximum(1, np.round(shop.median * np.exp(shop.spread * randomness.normal(size=count)))).astype(np.int64)
    return np.repeat(np.arange(count), sizes)[:count]


def _chances(
    shop: Shop, hit_rate: float, owners: NDArray[np.int64], randomness: np.random.Generator
) -> NDArray[np.float64]:
    """Draws each user's chance of a hit from a beta distribution with the shop's correlation, (N,)."""
    size = 1 / shop.alike - 1
    return randomness.beta(hit_rate * size, (1 - hit_rate) * size, int(owners.max()) + 1)[owners]
