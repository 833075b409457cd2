"""Sums what workers did: figures of the last seconds, hit rates over time, and when another version began to serve."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from stream_app.page.scrape import NO_VERSION, Increment, Scrape, added, between, quantile

_FIGURES_S: Final = 6.0  # seconds that rates and latencies are taken over
_WINDOW_S: Final = 60.0  # seconds that a point of the hit rates is taken over
_POINT_S: Final = 5.0  # seconds between two points
_POINTS: Final = 1440  # points that are kept: two hours
_LEAST_SCORED: Final = 30  # next items below which a hit rate says nothing
_SAME_S: Final = 180.0  # seconds within which all workers take a version in
_MOMENTS: Final = 50  # changes of version that are kept

MomentKind = Literal["promoted", "rolled back"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What all workers do now; None: not known yet."""

    events: float | None = None  # per second
    predictions: float | None = None
    p50: float | None = None  # seconds
    p99: float | None = None
    lag: float | None = None  # events
    users: float | None = None


@dataclass(frozen=True, slots=True)
class HitPoint:
    """The hit rates of the minute before a time; None where too little was scored."""

    at: float  # seconds since the epoch
    model: float | None
    rules: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """When another version began to serve."""

    at: float  # seconds since the epoch
    kind: MomentKind
    version: str


class Tallies:
    """What several workers' scrapes say together. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._last: dict[str, Scrape] = {}
        self._increments: dict[str, deque[Increment]] = {}
        self._points: deque[HitPoint] = deque(maxlen=_POINTS)
        self._moments: deque[Moment] = deque(maxlen=_MOMENTS)
        self._served: dict[str, tuple[str, float]] = {}  # by worker: the version, and when it was made

    def add(self, worker: str, scrape: Scrape) -> None:
        """Takes in a scrape of a worker."""
        last = self._last.get(worker)
        self._last[worker] = scrape
        if last is not None and scrape.at > last.at:
            kept = self._increments.setdefault(worker, deque())
            kept.append(between(last, scrape))
            while kept[0].at < scrape.at - _WINDOW_S:
                kept.popleft()
        self._note_version(worker, scrape)
        self._add_point(scrape.at)

    def lose(self, worker: str) -> None:
        """Notes that a worker does not answer: what it did last is no figure of now."""
        self._last.pop(worker, None)
        self._increments.pop(worker, None)

    @property
    def scrapes(self) -> Mapping[str, Scrape]:
        """The newest scrape of each worker that answers."""
        return self._last

    @property
    def points(self) -> list[HitPoint]:
        """The hit rates over time, oldest first."""
        return list(self._points)

    @property
    def moments(self) -> list[Moment]:
        """When other versions began to serve, oldest first."""
        return list(self._moments)

    def figures(self) -> Figures:
        """Returns what all workers did in the last seconds."""
        if not self._last:
            return Figures()
        recent = {worker: list(_within(kept, _FIGURES_S)) for worker, kept in self._increments.items()}
        known = any(recent.values())
        latency = added(one.latency for ones in recent.values() for one in ones)
        return Figures(
            events=sum(_rate(ones, "events") for ones in recent.values()) if known else None,
            predictions=sum(_rate(ones, "predictions") for ones in recent.values()) if known else None,
            p50=quantile(0.5, latency),
            p99=quantile(0.99, latency),
            lag=sum(scrape.lag for scrape in self._last.values()),
            users=sum(scrape.users for scrape in self._last.values()),
        )

    def _add_point(self, at: float) -> None:
        if self._points and at < self._points[-1].at + _POINT_S:
            return
        recent = [one for kept in self._increments.values() for one in kept]
        scored = added(one.scored for one in recent)
        hits = added(one.hits for one in recent)
        shares = [_share(hits, scored, ranker) for ranker in ("model", "rules")]
        if self._points or shares != [None, None]:
            self._points.append(HitPoint(at, *shares))

    def _note_version(self, worker: str, scrape: Scrape) -> None:
        if scrape.version == NO_VERSION:
            return
        before = self._served.get(worker)
        self._served[worker] = (scrape.version, scrape.created)
        if before is None and len(self._increments.get(worker, ())) == 0:
            return  # it served when we first looked
        if before is not None and before[0] == scrape.version:
            return
        kind: MomentKind = "rolled back" if before is not None and scrape.created < before[1] else "promoted"
        if not any(
            m.version == scrape.version and m.kind == kind and scrape.at - m.at < _SAME_S for m in self._moments
        ):
            self._moments.append(Moment(scrape.at, kind, scrape.version))


def _within(increments: Iterable[Increment], seconds: float) -> Iterable[Increment]:
    """Yields the newest ones that cover so many seconds."""
    covered = 0.0
    for one in reversed(list(increments)):
        if covered >= seconds:
            return
        covered += one.seconds
        yield one


def _rate(increments: list[Increment], name: Literal["events", "predictions"]) -> float:
    seconds = sum(one.seconds for one in increments)
    counts = [one.events if name == "events" else one.predictions for one in increments]
    return sum(counts) / seconds if seconds > 0 else 0.0


def _share(hits: Mapping[str, float], scored: Mapping[str, float], ranker: str) -> float | None:
    total = scored.get(ranker, 0.0)
    return hits.get(ranker, 0.0) / total if total >= _LEAST_SCORED else None
