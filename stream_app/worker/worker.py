"""A worker process: everything a worker is made of, started and stopped in order."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, NoReturn
from uuid import uuid4

import torch
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from model.kernels.compiled import DiskCache
from model.serving.answer_engine import NoStatistics, StatisticsSource
from model.serving.canary import HitCounts
from model.state.user_states import RecordLookup
from stream_app.device import choose_device, cpu_fallback, device_errors, hint
from stream_app.errors import DataPathError, DeviceUnusable, TooManyDeadLetters
from stream_app.http_server import HttpServer
from stream_app.items.follower import ItemsFollower
from stream_app.items.letters import PARTITION, ItemLetters
from stream_app.items.metrics import ItemMetrics
from stream_app.kafka.refusals import explained, refusal
from stream_app.kafka.topic_admin import ensure_topics, message_limits
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.query.addresses import is_spread
from stream_app.query.metrics import QuestionMetrics
from stream_app.query.service import QuestionService
from stream_app.query.view import WorkerView
from stream_app.settings import Settings
from stream_app.signals.teller import Teller, tells_signals
from stream_app.statistics.follower import StatisticsFollower
from stream_app.statistics.live_counting import live_table
from stream_app.statistics.metrics import StatisticsMetrics
from stream_app.versions.canary_reports import CanaryReport, report_canary
from stream_app.versions.promotions import Promotions
from stream_app.worker.agent import BatchStages, EventsAgent
from stream_app.worker.delivery import AtLeastOnce, Delivery
from stream_app.worker.exactly_once import ExactlyOnce
from stream_app.worker.faust_app import create_app
from stream_app.worker.joins_reader import joins_are_possible
from stream_app.worker.local_store import LocalStore, raise_file_limit, tables_per_partition
from stream_app.worker.reload import Reloader
from stream_app.worker.threads import WorkerThreads
from stream_app.worker.warm_up import warm_up
from stream_app.worker.watchdog import Watchdog, pending_work

logger: Final = logging.getLogger(__name__)

SLOTS: Final = 65_536  # users whose memory is there from the start, but untouched: growing copies all, and events wait

GUARANTEES: Final[dict[str, Callable[[Settings, Callable[[], float]], Delivery]]] = {
    "at-least-once": AtLeastOnce,
    "exactly-once": ExactlyOnce,
}


def fail(error: BaseException) -> NoReturn:
    """Ends the process at once: its state cannot be trusted. The supervisor starts another."""
    named = error if isinstance(error, TooManyDeadLetters) else refusal(error, "Read")
    if named is not None:
        logger.critical("this worker ends: %s", named)
    else:
        logger.critical("the data path failed, this worker ends: %r", error, exc_info=error)
    if advice := hint(error):
        logger.critical(advice)
    logging.shutdown()
    os._exit(DataPathError.exit_code)


def _fail_with_stacks(error: BaseException) -> NoReturn:
    """Ends a process that hangs: only the stacks of all threads say where."""
    faulthandler.dump_traceback()
    fail(error)


class Worker:
    """A worker and all that it is made of."""

    def __init__(self, settings: Settings, device: torch.device, store: LocalStore) -> None:
        """Raises `DeviceUnusable`."""
        self._settings, self._name = settings, settings.instance_id or uuid4().hex
        registry = CollectorRegistry()
        metrics = WorkerMetrics(registry)
        threads = WorkerThreads(
            device=_compute_thread("device", settings),
            ranking=_compute_thread("ranking", settings),
            coding=ThreadPoolExecutor(1, "coding"),
            loading=_compute_thread("loading", settings),
        )
        with device_errors(device):
            engine = new_engine(settings, device, store.read, slots=SLOTS)
        self._engine, self._device, self._threads = engine, device, threads
        self._delivery = GUARANTEES[settings.delivery](settings, time.time)
        self._reloader = Reloader(
            settings=settings,
            promotions=Promotions(settings, "worker"),
            engine=engine,
            device=device,
            threads=threads,
            metrics=metrics,
        )
        self._letters = ItemLetters(settings, self._writes_letters, time.time)
        self._items = ItemsFollower(settings, "worker", ItemMetrics(registry), time.time, self._letters.note)
        self._items.may_save = lambda: not self._letters
        pipeline = self._pipeline = Pipeline(engine, settings, metrics, time.perf_counter)
        pipeline.catalogue = self._items.catalogue
        self._statistics = StatisticsFollower(settings, live_table(settings), StatisticsMetrics(registry), time.time)
        self._source: StatisticsSource = self._statistics.live if settings.statistics else NoStatistics()
        pipeline.use_statistics(self._source)
        agent = EventsAgent(
            settings=settings,
            stages=BatchStages(pipeline, self._delivery, store),
            threads=threads,
            metrics=metrics,
            fail=fail,
            clock=time.perf_counter,
        )
        self._app = create_app(
            settings,
            engine=engine,
            store=store,
            agent=agent,
            delivery=self._delivery,
            metrics=metrics,
            fail=fail,
        )
        self._joins, self._metrics = agent.joins, metrics
        self._teller: Teller | None = None
        if tells_signals(settings):
            teller = self._teller = Teller(settings, users=store.behind, take=agent.take, fail=fail)
            pipeline.signals, timers = teller.writer, teller.timers
            agent.asides.append(timers)
            agent.durable.append(lambda result: timers.note(result.partition, result.timers, result.newest))
            metrics.timers.set_function(lambda: len(timers))
        self._questions = QuestionService(settings, self._view(store.read), QuestionMetrics(registry))
        pipeline.publishes_values = settings.answers_in_memory > 0
        agent.asides += [self._questions.memory, self._questions.stored]
        agent.durable.append(self._questions.memory.note)
        self._http = HttpServer(registry, self._not_ready)
        metrics.ready.set_function(lambda: self._not_ready() is None)
        metrics.partitions.set_function(self._partitions)
        metrics.lag.set_function(self._lags)
        self._warm = False

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. Raises `UsageError` for what the user can fix, before any event is taken in."""
        settings = self._settings
        _quieten_collector()
        _share_interpreter()
        await ensure_topics(settings, "worker")
        self._pipeline.joins = await joins_are_possible(settings)
        limits = await message_limits(settings, "worker", settings.dead_letters_topic)
        self._letters.largest = self._pipeline.largest_dead_letter = limits[settings.dead_letters_topic]
        async with AsyncExitStack() as stopping:
            metrics_port = await self._http.start(settings.http_host, settings.http_port)
            stopping.push_async_callback(self._http.stop)
            stopping.push_async_callback(self._questions.stop)
            address = await self._questions.start(metrics_port)
            if is_spread(settings):
                self._app.conf.canonical_url = address.spread()
            await self._delivery.start()
            stopping.push_async_callback(self._delivery.stop)
            stopping.push_async_callback(self._items.stop)
            stopping.push_async_callback(self._letters.stop)
            stopping.push_async_callback(self._statistics.stop)
            starts = [self._items.start(), self._statistics.start()]
            if self._teller is not None:
                stopping.push_async_callback(self._teller.stop)
                starts.append(self._teller.start())
            reading = asyncio.gather(*starts)
            await self._reloader.start()
            stopping.push_async_callback(self._reloader.stop)
            await self._warm_up()
            await reading
            joins = [self._joins.run(self._app)] if self._pipeline.joins else []
            signals = [] if self._teller is None else [self._teller.run(self._app)]
            following = (self._items.follow(), self._statistics.follow())
            work = (self._reloader.follow(), *following, self._letters.run(), *joins, *signals)
            for task in map(asyncio.create_task, (*work, self._watch(), self._report_canaries())):
                task.add_done_callback(_fail_if_broken)
                stopping.callback(task.cancel)
            await self._work(stop)

    def _view(self, read: RecordLookup) -> WorkerView:
        """Returns what those who answer questions see of this worker."""
        return WorkerView(
            name=self._name,
            not_ready=self._not_ready,
            engine=self._engine,
            thread=self._threads.device,
            read=read,
            statistics=self._source,
            catalogue=self._items.catalogue,
            fail=fail,
            spread=lambda partition: self._app.assignor.owner_url(self._settings.events_topic, partition),
        )

    async def _warm_up(self) -> None:
        """Processes batches beside the users' states, in the device thread, so that code and device are warm.

        Where nothing compiled is on disk yet (`nextact compile`) this takes many seconds, in which an event would wait.
        """
        with device_errors(self._device):
            warm = partial(warm_up, self._settings, self._device, self._engine.serving)
            await asyncio.get_running_loop().run_in_executor(self._threads.device, warm)
        if DiskCache.misses:
            logger.info("%d loops had to be compiled; `nextact compile` does it ahead of a start", DiskCache.misses)
        self._warm = True

    async def _watch(self) -> None:
        """Ends the process when it stands still."""
        if self._settings.stall_timeout:
            await Watchdog(
                timeout=self._settings.stall_timeout,
                clock=time.monotonic,
                pending=lambda: pending_work(self._app),
                fail=_fail_with_stacks,
            ).run()

    async def _report_canaries(self) -> None:
        await report_canary(self._settings, self._name, self._canary_report)

    def _canary_report(self) -> CanaryReport | None:
        names, scores = self._reloader.canary_names, self._metrics.versions.scores()
        if names is None or not all(name in scores for name in names):
            return None
        new, old = (HitCounts(scores[name].scored, scores[name].hits, scores[name].reciprocal_ranks) for name in names)
        return CanaryReport(
            worker=self._name,
            version=names[0],
            before=names[1],
            new=new,
            old=old,
            new_moments=scores[names[0]].moments,
            old_moments=scores[names[1]].moments,
            phase=self._reloader.phase,
        )

    async def _work(self, stop: asyncio.Event) -> None:
        """Runs the app until `stop` is set. When Faust crashes the process ends: nobody knows if it can still stop."""
        self._app.finalize()
        try:
            await self._app.start()
            crashed = await self._app.wait_for_stopped(stop.wait())
        except Exception as error:
            fail(error)
        if crashed:
            fail(self._app.crash_reason or DataPathError("the stream stopped by itself"))
        await self._app.stop()

    def _writes_letters(self) -> bool | None:
        """Whether this worker writes the dead letters of items; None: not known yet."""
        if self._not_ready() is not None:
            return None
        return any(tp.partition == PARTITION for tp in self._app._assignment if tp.topic == self._settings.events_topic)

    def _not_ready(self) -> str | None:
        if not self._warm:
            return "loading the model and running a first step"
        if not self._app.tables.actives_ready or self._app.rebalancing:
            return "waiting for partitions or recovering their state"
        return None

    def _partitions(self) -> int:
        topic = self._settings.events_topic
        return sum(tp.topic == topic for tp in self._app._assignment or ())

    def _lags(self) -> dict[str, float]:
        if not self._warm:  # then there is no consumer yet
            return {}
        return {str(tp.partition): position.lag for tp, position in self._app.consumer.partition_positions().items()}


def _compute_thread(name: str, settings: Settings) -> ThreadPoolExecutor:
    """One thread with PyTorch's number of threads set, which belongs to the thread that sets it."""
    return ThreadPoolExecutor(1, name, torch.set_num_threads, (settings.threads,))


def _quieten_collector() -> None:
    """Makes full garbage collections rare: a batch makes thousands of small objects and no cycles, so they would look
    at all of them and find nothing. What is loaded by now is never looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


def _share_interpreter() -> None:
    """Lets threads take turns every 0.1 ms instead of every 5 ms.

    The device thread needs the interpreter for moments between two kernels, while another thread encodes.
    """
    sys.setswitchinterval(0.0001)


def _fail_if_broken(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        fail(error)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Runs a worker in the running event loop until `stop` is set. Raises `UsageError`."""
    device = choose_device(settings.device, fallback=settings.device_fallback)
    store = LocalStore(
        settings.data_dir / "states" / settings.state_topic,
        topic=settings.state_topic,
        epoch=settings.stream_epoch,
        clock=time.time,
        tables=tables_per_partition(raise_file_limit(), settings.partitions),
    )
    try:
        await Worker(settings, device, store).run(stop)
    except DeviceUnusable as error:
        device = cpu_fallback(error, fallback=settings.device_fallback)
        await Worker(settings, device, store).run(stop)
    except KafkaError as error:  # at the start or the stop; in between `fail` has ended the process
        raise await explained(settings, error, "Read") from error
    finally:
        store.stop()
