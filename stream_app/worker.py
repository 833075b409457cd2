"""A worker process: everything a worker is made of, started and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NoReturn

import torch
from prometheus_client import CollectorRegistry

from model.fold import Fold
from model.states import UserStates
from stream_app.agent import Consumption
from stream_app.app import create_app
from stream_app.delivery import AtLeastOnce
from stream_app.device import choose_device
from stream_app.errors import DataPathError
from stream_app.health import HttpServer
from stream_app.local_store import LocalStore
from stream_app.metrics import WorkerMetrics
from stream_app.pipeline import Pipeline
from stream_app.reload import Reload
from stream_app.settings import Settings
from stream_app.topics import ensure_topics

logger: Final = logging.getLogger(__name__)


def fail(error: BaseException) -> NoReturn:
    """Ends the process at once: it has state that nobody can trust. The supervisor starts another."""
    logger.critical("the data path failed, this worker ends: %r", error, exc_info=error)
    logging.shutdown()
    os._exit(DataPathError.exit_code)


class Worker:
    """The parts of a worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        device = choose_device(settings.device)
        registry = CollectorRegistry()
        metrics = WorkerMetrics(registry)
        device_thread = _compute_thread("device", settings)
        self._store = LocalStore(
            settings.data_dir / "states" / settings.state_topic,
            topic=settings.state_topic,
            epoch=settings.stream_epoch,
            clock=time.time,
        )
        states = UserStates(
            hidden=settings.hidden,
            length=settings.history_length,
            epoch=settings.stream_epoch,
            device=device,
            most=settings.users_in_memory,
            stored=self._store.read,
        )
        fold = Fold(states, rules_share=settings.rules_share)
        self._delivery = AtLeastOnce(settings, time.time)
        self._reload = Reload(
            settings=settings,
            fold=fold,
            device=device,
            device_thread=device_thread,
            loading_thread=_compute_thread("loading", settings),
            metrics=metrics,
        )
        consumption = Consumption(
            settings=settings,
            pipeline=Pipeline(fold, settings, metrics, time.perf_counter),
            delivery=self._delivery,
            store=self._store,
            device_thread=device_thread,
            coding_thread=ThreadPoolExecutor(1, "coding"),
            metrics=metrics,
            fail=fail,
            clock=time.perf_counter,
        )
        self._app = create_app(settings, fold=fold, store=self._store, consumption=consumption, fail=fail)
        self._http = HttpServer(registry, self._not_ready)
        metrics.ready.set_function(lambda: self._not_ready() is None)
        metrics.partitions.set_function(self._partitions)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. Raises `UsageError` for what the user can mend."""
        settings = self._settings
        _quieten_collector()
        _share_interpreter()
        await ensure_topics(settings)
        await self._http.start(settings.http_host, settings.http_port)
        await self._delivery.start()
        await self._reload.start()
        following = asyncio.create_task(self._reload.follow())
        following.add_done_callback(_fail_if_broken)
        try:
            await self._work(stop)
        finally:
            following.cancel()
            await self._reload.stop()
            await self._delivery.stop()
            self._store.stop()
            await self._http.stop()

    async def _work(self, stop: asyncio.Event) -> None:
        """Fail-stop when Faust crashes: its state is then unknown, and so is whether it can still stop."""
        self._app.finalize()
        try:
            await self._app.start()
            crashed = await self._app.wait_for_stopped(stop.wait())
        except Exception as error:
            fail(error)
        if crashed:
            fail(self._app.crash_reason or DataPathError("the stream stopped by itself"))
        await self._app.stop()

    def _not_ready(self) -> str | None:
        if not self._app.tables.actives_ready or self._app.rebalancing:
            return "waiting for partitions or recovering their state"
        return None

    def _partitions(self) -> int:
        topic = self._settings.events_topic
        return sum(tp.topic == topic for tp in self._app._assignment or ())


def _compute_thread(name: str, settings: Settings) -> ThreadPoolExecutor:
    """One thread with PyTorch's number of threads set, which belongs to the thread that sets it."""
    return ThreadPoolExecutor(1, name, torch.set_num_threads, (settings.threads,))


def _quieten_collector() -> None:
    """A batch makes thousands of small objects and no cycles: full collections would look at all of them
    and find nothing. What is loaded by now stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


def _share_interpreter() -> None:
    """The device thread needs the interpreter for moments between two kernels: it must not wait the default 5 ms
    for a thread that encodes."""
    sys.setswitchinterval(0.0001)


def _fail_if_broken(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        fail(error)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Runs a worker until `stop` is set; its parts belong to the running event loop."""
    await Worker(settings).run(stop)
