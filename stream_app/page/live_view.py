"""What the live view says: the words and numbers of the last look, ready to be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from stream_app.contract.questions.answers import WorkerAnswer
from stream_app.page import figures
from stream_app.page.chart import Chart, draw_chart
from stream_app.page.observer import LastingTrouble, Observer
from stream_app.page.scrape import NO_VERSION, Scrape


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with what it is."""

    name: str
    value: str
    unit: str
    also: str = ""  # a second line
    hint: str = ""  # how it is measured


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker in the list of workers."""

    name: str
    url: str
    state: str
    well: bool
    version: str
    partitions: str
    users: str


@dataclass(frozen=True, slots=True)
class MomentRow:
    """A change of version in the list of changes."""

    at: str
    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class HitRates:
    """The newest hit rates."""

    model: str
    rules: str
    ahead: str  # by how much the model is ahead, or why nothing can be said


@dataclass(frozen=True, slots=True)
class LiveView:
    """Everything in the live view."""

    figures: list[Figure]
    hits: HitRates
    chart: Chart
    moments: list[MomentRow]  # newest first
    workers: list[WorkerRow]
    version: str


@dataclass(frozen=True, slots=True)
class TroubleRow:
    """Something that does not work."""

    what: str
    since: str
    advice: str


@dataclass(frozen=True, slots=True)
class StatusView:
    """Whether all is well, in words."""

    well: bool
    words: str
    passes: bool  # nothing is to be done but to wait
    troubles: list[TroubleRow] = field(default_factory=list)


def live_view(observer: Observer, zone: tzinfo | None = None) -> LiveView:
    """Returns what there is to say now."""
    tallies = observer.tallies
    points, moments = tallies.points, tallies.moments
    last = points[-1] if points and observer.tallies.scrapes else None
    return LiveView(
        figures=_figures(observer),
        hits=_hit_rates(last.model if last else None, last.rules if last else None, tallies.scrapes),
        chart=draw_chart(points, moments, zone),
        moments=[MomentRow(figures.clock_time(one.at, zone), one.kind, one.version) for one in reversed(moments[-5:])],
        workers=_workers(observer),
        version=_version(tallies.scrapes),
    )


def status_view(troubles: Sequence[LastingTrouble], zone: tzinfo | None = None) -> StatusView:
    """Returns whether all is well. What it says changes seldom: a screen reader reads each change out."""
    rows = [
        TroubleRow(one.trouble.what, f"since {figures.clock_time(one.since, zone)}", one.trouble.advice)
        for one in troubles
    ]
    passes = all(one.trouble.passes for one in troubles)
    words = "One moment" if passes else "Something is wrong"
    return StatusView(not rows, words if rows else "All is well", passes, rows)


def _figures(observer: Observer) -> list[Figure]:
    now = observer.tallies.figures()
    p50, p99 = figures.milliseconds(now.p50), figures.milliseconds(now.p99)
    return [
        Figure("Events", figures.rate(now.events), "per second", hint="valid events taken in, last six seconds"),
        Figure("Predictions", figures.rate(now.predictions), "per second", hint="acknowledged by Kafka"),
        Figure("Latency, median", p50[0], p50[1], hint="from the event's timestamp to the acknowledged prediction"),
        Figure("Latency, 99th percentile", p99[0], p99[1], hint="one event in a hundred takes longer"),
        Figure("Lag", figures.count(now.lag), "events", hint="that have no prediction yet"),
        Figure("Shoppers", figures.count(now.users), "in memory", hint="whose state the workers hold ready"),
    ]


def _hit_rates(model: float | None, rules: float | None, scrapes: Mapping[str, Scrape]) -> HitRates:
    return HitRates(figures.percent(model), figures.percent(rules), _ahead(model, rules, scrapes))


def _ahead(model: float | None, rules: float | None, scrapes: Mapping[str, Scrape]) -> str:
    if not scrapes:
        return "No worker's metrics can be read at the moment."
    if all(scrape.version == NO_VERSION for scrape in scrapes.values()):
        return "No version serves yet: rules answer until the trainer has made the first one."
    if model is None or rules is None:
        return "Too few next items were scored in the last minute to compare."
    points = 100 * (model - rules)
    if abs(points) < 0.05:
        return "Model and rules are level."
    return f"The model is {abs(points):.1f} points {'ahead of' if points > 0 else 'behind'} the rules."


def _workers(observer: Observer) -> list[WorkerRow]:
    return [
        _worker(one.url, observer.about.get(one.url), observer.tallies.scrapes.get(one.url)) for one in observer.workers
    ]


def _worker(url: str, about: WorkerAnswer | None, scrape: Scrape | None) -> WorkerRow:
    if about is None:
        return WorkerRow(url, url, "does not answer", False, figures.NOTHING, figures.NOTHING, figures.NOTHING)
    ready = about.ready and scrape is not None
    return WorkerRow(
        name=about.worker or url,
        url=url,
        state="ready" if ready else "no metrics" if scrape is None else "starting",
        well=ready,
        version=version_words(about.version if scrape is None else scrape.version),
        partitions=str(len(about.partitions)),
        users=figures.count(scrape.users if scrape is not None else None),
    )


def _version(scrapes: Mapping[str, Scrape]) -> str:
    served = sorted({scrape.version for scrape in scrapes.values()}, reverse=True)
    return ", ".join(version_words(version) for version in served) or figures.NOTHING


def version_words(version: str | None) -> str:
    """Returns what a version is called."""
    return "the rules" if version in (None, NO_VERSION) else str(version)
