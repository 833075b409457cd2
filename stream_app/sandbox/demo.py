"""`nextact demo`: broker, topics, worker, trainer and a shop, all real, all stopped at the end.

The shop is a log that is replayed, faster than life, or a simulated one.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from stream_app.contract.demo.headline import write_headline
from stream_app.contract.prediction_line import prediction_line
from stream_app.errors import UsageError
from stream_app.kafka.pace import Pace
from stream_app.kafka.publisher import publish
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.cluster import Broker
from stream_app.sandbox.demo_processes import start_child, unless_failed, watch_children
from stream_app.sandbox.demo_source import DemoSource, until
from stream_app.sandbox.output_tally import OutputTally
from stream_app.sandbox.page_child import PageChild
from stream_app.sandbox.ports import free_port
from stream_app.sandbox.processes import ChildProcess
from stream_app.sandbox.site import AnsweredRecords
from stream_app.sandbox.story.headline import figures, headline, page_headline, tellers_of
from stream_app.sandbox.story.report import Frame, report_html
from stream_app.sandbox.story.story import Story
from stream_app.sandbox.worker_probe import WorkerProbe, ended_rounds
from stream_app.settings import Settings

_REPORT_S: Final = 3.0  # seconds between two lines of figures
_DRAIN_S: Final = 60.0  # seconds to wait for outstanding answers
_START_S: Final = 300.0  # seconds that the worker's start may take: the first one compiles its loops
_STOP_S: Final = 3.0  # seconds per process, so that Ctrl-C ends everything within ten
_TRAIN_EVERY_S: Final = 25.0  # seconds between two rounds of training
_LEAST_EVENTS: Final = 10  # before the first round of training
_NAMED: Final = 20  # recommendations of a prediction, all of which are counted


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """How much is published: the past at once, then live events at `rate` per second, for `seconds` or up to
    `events` in all. The report goes to a file."""

    seconds: float | None
    events: int | None
    rate: float
    seed: int
    report: Path


@dataclass(frozen=True, slots=True)
class Summary:
    """The last line of the demo."""

    shop: str  # the log's name, or "simulated"
    events: int
    predictions: int
    dead_letters: int
    models_published: int
    models_loaded: int
    model_version: str
    latency_ms: dict[str, float | None]
    hit_at_20: dict[str, float | None]  # by the worker's metrics
    found_at_20: dict[str, Any]  # by what was published, with intervals over users
    events_per_second: float
    report: str


@dataclass(frozen=True, slots=True)
class Run:
    """What a demo is asked for."""

    settings: Settings
    source: DemoSource
    options: DemoOptions
    say: Callable[[str], None]  # a line for people


async def run_demo(run: Run, stop: asyncio.Event) -> Summary:
    """Runs the demo until its bound or until `stop` is set; every process has ended when it returns."""
    say = run.say
    with tempfile.TemporaryDirectory(prefix="nextact-demo-") as directory:
        folder = Path(directory)
        say("starting Kafka ...")
        broker = Broker(folder / "kafka", report=say)
        try:
            await asyncio.to_thread(broker.start)
            return await _with_broker(run, folder, broker, stop)
        finally:
            await asyncio.to_thread(broker.stop, _STOP_S)


async def _with_broker(run: Run, folder: Path, broker: Broker, stop: asyncio.Event) -> Summary:
    source = run.source
    settings = run.settings.unsecured(
        brokers=broker.bootstrap_servers,
        registry=str(folder / "models"),
        history=str(folder / "history"),
        data_dir=folder,
        rules_share=1.0,
        canary_share=0.0,
        holdback_share=0.0,
        recommendations=_NAMED,
        train_every=_TRAIN_EVERY_S,
        train_min_events=max(_LEAST_EVENTS, min(run.settings.train_min_events, source.past // 2)),
    )
    await ensure_topics(settings)
    port, api_port, trainer_port = free_port(), free_port(), free_port()
    settings = settings.model_copy(update={"api_host": "127.0.0.1", "api_port": api_port, "api_tokens": SecretStr("")})
    children = [start_child("worker", settings, folder, port)]
    address, brokers = f"http://127.0.0.1:{api_port}", broker.bootstrap_servers
    page = PageChild(folder, worker=address, brokers=brokers, simulated=source.simulated)

    def start_trainer() -> str:
        children.append(start_child("trainer", settings, folder, trainer_port))
        return f"http://127.0.0.1:{trainer_port}"

    try:
        async with WorkerProbe(f"http://127.0.0.1:{port}") as worker:
            return await _Demo(replace(run, settings=settings), worker, children, start_trainer, page).run(stop)
    finally:
        stops: list[Callable[[float], object]] = [*(child.stop for child in children), page.stop]
        await asyncio.gather(*(asyncio.to_thread(stop_it, _STOP_S) for stop_it in stops))


class _Demo:
    """Publishes a shop's events, and watches what worker and trainer make of them."""

    def __init__(
        self,
        run: Run,
        worker: WorkerProbe,
        children: list[ChildProcess],
        start_trainer: Callable[[], str],
        page: PageChild,
    ) -> None:
        """`start_trainer` returns where its metrics are."""
        self._settings, self._source, self._options, self._say = run.settings, run.source, run.options, run.say
        self._worker = worker
        self._children = children
        self._start_trainer = start_trainer
        self._page = page
        self._story = Story(random.Random(run.options.seed), rival=run.source.rival, categories=run.source.category_of)
        self._tally = OutputTally(run.settings, clock=time.time, story=self._story)
        self._sent = 0  # records that are answered: by a prediction or as a dead letter
        self._live_sent = 0
        self._live_seconds = 0.0
        self._training_since: float | None = None  # while what follows waits for the first version

    async def run(self, stop: asyncio.Event) -> Summary:
        await self._tally.start()
        beside = [asyncio.create_task(work) for work in (self._tally.follow(), watch_children(self._children))]
        try:
            await unless_failed(self._show(stop), beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._tally.stop()
        summary = self._summary()
        self._write_report(summary)
        return summary

    async def _show(self, stop: asyncio.Event) -> None:
        self._say("starting a worker (the first one compiles its loops: a minute or two) ...")
        try:
            async with asyncio.timeout(_START_S):
                while not (stop.is_set() or await self._worker.is_ready()):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise UsageError(
                f"the worker was not ready within {_START_S:g} s: this machine is too busy, or its loops could not be "
                "compiled; run `nextact compile`, and the demo again"
            ) from error
        self._say(await self._page.start())
        reporting = asyncio.create_task(self._report())
        try:
            async with self._source.feed(self._settings):
                await self._publish_past(stop)
                await self._publish_live(stop)
            await self._drain(_STOP_S if stop.is_set() else _DRAIN_S)
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        await self._worker.scrape()

    async def _publish_past(self, stop: asyncio.Event) -> None:
        source, options = self._source, self._options
        count = min(source.past, options.events or source.past)
        what = "a history of" if source.simulated else f"the first of {source.name},"
        self._say(f"publishing {what} {count:,} events, then live ones at {options.rate:g}/s; a trainer starts ...")
        past = AnsweredRecords(until(stop, source.records, None), count)
        await publish(past, kafka=self._settings, topic=self._settings.events_topic)
        self._sent = past.count
        await self._drain(_DRAIN_S if source.simulated else max(_DRAIN_S, count / 1000), stop)
        if stop.is_set():
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._tally.reach_end_of_events(), _DRAIN_S)
        trainer = self._start_trainer()
        if source.waits:
            await self._first_version(trainer, stop)
        self._story.begin_live()

    async def _first_version(self, trainer: str, stop: asyncio.Event) -> None:
        """Waits until a trained version serves, or a round of training has ended without one."""
        self._training_since = time.monotonic()
        try:
            while not stop.is_set() and not self._worker.models_loaded:
                outcomes = await ended_rounds(trainer)
                if outcomes and "promoted" not in outcomes:
                    self._say(
                        f"the first round of training has ended without a version that is surely not worse than the "
                        f"rules ({', '.join(outcomes)}): they answer until a later round has one"
                    )
                    return
                await self._worker.scrape()
                await asyncio.sleep(0.2)
        finally:
            self._training_since = None

    async def _publish_live(self, stop: asyncio.Event) -> None:
        options, kafka, topic = self._options, self._settings, self._settings.events_topic
        self._tally.live_since = start = time.time()
        left = None if options.events is None else options.events - self._sent
        live = AnsweredRecords(until(stop, self._source.live, None, options.seconds), left)
        await publish(live, kafka=kafka, topic=topic, pace=Pace(rate=options.rate))
        self._live_sent, self._live_seconds = live.count, time.time() - start
        self._sent += live.count

    async def _drain(self, seconds: float, stop: asyncio.Event | None = None) -> None:
        """Waits until all records that were sent are answered, for so many seconds at most, or until `stop` is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tally.predictions + self._tally.dead_letters < self._sent:
                    if stop is not None and stop.is_set():
                        return
                    await asyncio.sleep(0.1)

    async def _report(self) -> None:
        start, answered = time.time(), self._tally.predictions
        while True:
            await asyncio.sleep(_REPORT_S)
            await self._worker.scrape()
            now, count = time.time(), self._tally.predictions
            if self._training_since is not None:
                took = time.monotonic() - self._training_since
                self._say(
                    f"training the first version on {self._sent:,} events: {took:.0f} s (one to five minutes); then "
                    "the rest is replayed"
                )
            else:
                self._say_figures((count - answered) / (now - start))
            start, answered = now, count

    def _say_figures(self, rate: float) -> None:
        self._say(self._line(rate))
        simulated = self._source.simulated
        if line := headline(self._story, simulated=simulated):
            self._say(f"    {line}")
        if (shown := page_headline(self._story, simulated=simulated)) is not None:
            write_headline(self._page.headline, shown)
        if self._tally.newest is not None:
            self._say("    " + prediction_line(self._tally.newest, self._source.title_of))

    def _line(self, rate: float) -> str:
        p50, p99 = self._tally.latency_ms(0.5), self._tally.latency_ms(0.99)
        latency = f"{p50:4.0f} / {p99:4.0f} ms" if p50 is not None and p99 is not None else "   - /    - ms"
        return (
            f"{rate:7,.0f} predictions/s   p50 / p99 {latency}   users {self._worker.users:6,.0f}   "
            f"model {self._worker.version}"
        )

    def _summary(self) -> Summary:
        return Summary(
            shop=self._source.name or "simulated",
            events=self._sent,
            predictions=self._tally.predictions,
            dead_letters=self._tally.dead_letters,
            models_published=self._tally.promotions,
            models_loaded=self._worker.models_loaded,
            model_version=self._worker.version,
            latency_ms={
                "p50": _rounded(self._tally.latency_ms(0.5)),
                "p99": _rounded(self._tally.latency_ms(0.99)),
            },
            hit_at_20=self._worker.hits(),
            found_at_20=figures(self._story.outcomes.columns(), tellers_of(self._story)),
            events_per_second=round(self._live_sent / max(self._live_seconds, 1e-9), 1),
            report=str(self._options.report),
        )

    def _write_report(self, summary: Summary) -> None:
        p50, p99 = (summary.latency_ms[name] for name in ("p50", "p99"))
        facts = {
            "events": f"{summary.events:,}",
            "predictions": f"{summary.predictions:,}",
            "live events per second": f"{summary.events_per_second:,.0f}",
            "from event to prediction, p50 and p99": "-" if p50 is None else f"{p50:,.0f} and {p99:,.0f} ms",
            "versions trained": f"{summary.models_published:,}",
        }
        when = f"Written {time.strftime('%Y-%m-%d %H:%M')}."
        frame = Frame(self._source.name, when, facts, self._source.title_of)
        self._options.report.write_text(report_html(self._story, frame), encoding="utf-8")
        self._say(f"wrote {self._options.report}")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
