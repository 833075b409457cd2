"""`nextact demo`: broker, topics, worker, trainer and a simulated shop, all real, all stopped at the end."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from stream_app.contract.prediction_line import prediction_line
from stream_app.errors import ChildFailed, UsageError
from stream_app.kafka.pace import Pace
from stream_app.kafka.publisher import publish
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.assortment import Assortment, title
from stream_app.sandbox.catalogue_feed import catalogue_feed
from stream_app.sandbox.cluster import Broker
from stream_app.sandbox.output_tally import OutputTally
from stream_app.sandbox.page_child import PageChild
from stream_app.sandbox.ports import free_port
from stream_app.sandbox.processes import ChildProcess
from stream_app.sandbox.simulate import Shop, with_duplicates, with_poison
from stream_app.sandbox.site import AnsweredRecords, Site
from stream_app.sandbox.worker_probe import WorkerProbe
from stream_app.settings import PREFIX, Settings

_REPORT_S: Final = 3.0  # seconds between two lines of figures
_DRAIN_S: Final = 60.0  # seconds to wait for outstanding answers
_START_S: Final = 300.0  # seconds that the worker's start may take: the first one compiles its loops
_STOP_S: Final = 3.0  # seconds per process, so that Ctrl-C ends everything within ten
_TRAIN_EVERY_S: Final = 25.0  # seconds between two rounds of training
_SHOP_RATE: Final = 50.0  # events per second of simulated time in the history
_POISON: Final = 0.002  # share of records that are not events
_DUPLICATES: Final = 0.005  # share of repeated events


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """How much is published: `history` events at once, then live ones at `rate` per second, for `seconds` or up to
    `events` in all."""

    seconds: float | None
    events: int | None
    rate: float
    history: int
    seed: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The last line of the demo."""

    events: int
    predictions: int
    dead_letters: int
    models_published: int
    models_loaded: int
    model_version: str
    latency_ms: dict[str, float | None]
    hit_at_20: dict[str, float | None]
    events_per_second: float


async def run_demo(
    settings: Settings, options: DemoOptions, stop: asyncio.Event, say: Callable[[str], None]
) -> Summary:
    """Runs the demo until its bound or until `stop` is set; every process has ended when it returns."""
    with tempfile.TemporaryDirectory(prefix="nextact-demo-") as directory:
        folder = Path(directory)
        say("starting Kafka ...")
        broker = Broker(folder / "kafka", report=say)
        try:
            await asyncio.to_thread(broker.start)
            return await _with_broker(settings, options, folder, broker, stop, say)
        finally:
            await asyncio.to_thread(broker.stop, _STOP_S)


async def _with_broker(
    settings: Settings,
    options: DemoOptions,
    folder: Path,
    broker: Broker,
    stop: asyncio.Event,
    say: Callable[[str], None],
) -> Summary:
    settings = settings.unsecured(
        brokers=broker.bootstrap_servers,
        registry=str(folder / "models"),
        history=str(folder / "history"),
        data_dir=folder,
        rules_share=1.0,
        canary_share=0.0,
        holdback_share=0.0,
        train_every=_TRAIN_EVERY_S,
    )
    await ensure_topics(settings)
    port, api_port = free_port(), free_port()
    settings = settings.model_copy(update={"api_host": "127.0.0.1", "api_port": api_port, "api_tokens": SecretStr("")})
    children = [_child("worker", settings, folder, port)]
    page = PageChild(folder, worker=f"http://127.0.0.1:{api_port}", brokers=broker.bootstrap_servers, simulated=True)

    def start_trainer() -> None:
        children.append(_child("trainer", settings, folder, free_port()))

    try:
        async with WorkerProbe(f"http://127.0.0.1:{port}") as worker:
            return await _Demo(settings, options, worker, children, start_trainer, page, say).run(stop)
    finally:
        stops: list[Callable[[float], object]] = [*(child.stop for child in children), page.stop]
        await asyncio.gather(*(asyncio.to_thread(stop_it, _STOP_S) for stop_it in stops))


def child_command(command: str) -> list[str]:
    """The command line of a worker or trainer, which works in any folder.

    `-P` keeps the working folder off Python's path, where a `model.py` of the user's would hide our package.
    """
    return [sys.executable, "-P", "-m", "stream_app", command]


def _child(command: str, settings: Settings, folder: Path, port: int) -> ChildProcess:
    """Starts a worker or trainer with these settings."""
    own = settings.model_copy(update={"http_host": "127.0.0.1", "http_port": port})
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = others | own.variables()
    log_path = folder / f"{command}.log"
    return ChildProcess.start(child_command(command), name=command, log_path=log_path, env=environment)


class _Demo:
    """Publishes a shop's events, and watches what worker and trainer make of them."""

    def __init__(
        self,
        settings: Settings,
        options: DemoOptions,
        worker: WorkerProbe,
        children: list[ChildProcess],
        start_trainer: Callable[[], None],
        page: PageChild,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._options = options
        self._worker = worker
        self._children = children
        self._start_trainer = start_trainer
        self._page = page
        self._say = say
        self._tally = OutputTally(settings, clock=time.time)
        self._sent = 0  # records that are answered: by a prediction or as a dead letter
        self._live_sent = 0
        self._live_seconds = 0.0
        self._titles: dict[str, str] = {}

    async def run(self, stop: asyncio.Event) -> Summary:
        await self._tally.start()
        beside = [asyncio.create_task(work) for work in (self._tally.follow(), watch_children(self._children))]
        try:
            await _unless_failed(self._show(stop), beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._tally.stop()
        return self._summary()

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
            await self._publish(stop)
            await self._drain(_STOP_S if stop.is_set() else _DRAIN_S)
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        await self._worker.scrape()

    async def _publish(self, stop: asyncio.Event) -> None:
        options = self._options
        # A shop opens empty and takes a while to reach its rate: twice the time is enough to stay in the past.
        shop = Shop(options.seed, start=time.time() - 2 * options.history / _SHOP_RATE, rate=_SHOP_RATE)
        self._titles = {item.item_id: title(item) for item in shop.catalogue.items}
        assortment = Assortment(shop.catalogue, random.Random(options.seed), round(1000 * time.time()))
        async with catalogue_feed(assortment, self._settings):
            await self._publish_events(shop, Site(shop.catalogue, assortment, random.Random(options.seed)), stop)

    async def _publish_events(self, shop: Shop, site: Site, stop: asyncio.Event) -> None:
        options, kafka, topic = self._options, self._settings, self._settings.events_topic
        rng = random.Random(options.seed)
        history = min(options.history, options.events or options.history)
        self._say(
            f"publishing a history of {history:,} events, then live ones at {options.rate:g}/s; a trainer starts ..."
        )
        past = AnsweredRecords(_until(stop, _with_faults(site.records(shop.events()), rng), None), history)
        await publish(past, kafka=kafka, topic=topic)
        self._sent = past.count
        await self._drain(_DRAIN_S)
        self._start_trainer()
        self._tally.live_since = start = time.time()
        left = None if options.events is None else options.events - history
        records = _with_faults(site.records(shop.events(now=time.time)), rng)
        live = AnsweredRecords(_until(stop, records, None, options.seconds), left)
        await publish(live, kafka=kafka, topic=topic, pace=Pace(rate=options.rate))
        self._live_sent, self._live_seconds = live.count, time.time() - start
        self._sent += live.count

    async def _drain(self, seconds: float) -> None:
        """Waits until all records that were sent are answered, for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tally.predictions + self._tally.dead_letters < self._sent:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    async def _report(self) -> None:
        start, answered = time.time(), self._tally.predictions
        while True:
            await asyncio.sleep(_REPORT_S)
            await self._worker.scrape()
            now, count = time.time(), self._tally.predictions
            self._say(self._line((count - answered) / (now - start)))
            if self._tally.newest is not None:
                self._say("    " + prediction_line(self._tally.newest, lambda item: self._titles.get(item, "")))
            start, answered = now, count

    def _line(self, rate: float) -> str:
        p50, p99 = self._tally.latency_ms(0.5), self._tally.latency_ms(0.99)
        latency = f"{p50:4.0f} / {p99:4.0f} ms" if p50 is not None and p99 is not None else "   - /    - ms"
        hits = self._worker.hits()
        return (
            f"{rate:7,.0f} predictions/s   p50 / p99 {latency}   hit@20 model {_percent(hits['model'])} "
            f"rules {_percent(hits['baseline'])}   users {self._worker.users:6,.0f}   model {self._worker.version}"
        )

    def _summary(self) -> Summary:
        return Summary(
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
            events_per_second=round(self._live_sent / max(self._live_seconds, 1e-9), 1),
        )


async def watch_children(children: Sequence[ChildProcess]) -> None:
    """Raises `ChildFailed` as soon as one of the processes has ended; more of them may join meanwhile."""
    while True:
        for child in children:
            if child.poll() is not None:
                tail = "\n".join(child.log_path.read_text().splitlines()[-20:])
                raise ChildFailed(f"the {child.name} ended with {child.poll()}; its last lines:\n{tail}")
        await asyncio.sleep(0.5)


async def _unless_failed(work: Coroutine[Any, Any, None], beside: list[asyncio.Task[None]]) -> None:
    """Runs the work; if a task beside it ends first, it has failed, and so has the work."""
    main = asyncio.create_task(work)
    done, _ = await asyncio.wait({main, *beside}, return_when=asyncio.FIRST_COMPLETED)
    if main not in done:
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)
    for task in done:
        task.result()


def _with_faults(events: Iterator[dict[str, Any]], rng: random.Random) -> Iterator[Any]:
    """Adds the faults of real publishers: repeated events, and records that are not events."""
    return with_poison(with_duplicates(events, _DUPLICATES, rng), _POISON, rng)


def _until(
    stop: asyncio.Event, events: Iterator[Any], count: int | None, seconds: float | None = None
) -> Iterator[Any]:
    """Yields events until `stop` is set, `count` were taken, or `seconds` have passed."""
    deadline = None if seconds is None else time.monotonic() + seconds
    for event in islice(events, count):
        if stop.is_set() or (deadline is not None and time.monotonic() >= deadline):
            return
        yield event


def _percent(share: float | None) -> str:
    return "    - " if share is None else f"{share:6.1%}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
