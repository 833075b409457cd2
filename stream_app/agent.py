"""The agent: takes fetches in, has them computed in the device thread, delivers them, acknowledges them in order.

While one batch's records are in flight the next is computed. Whatever fails ends the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
from faust.types import TP

from stream_app.delivery import BatchResult, Delivery
from stream_app.metrics import WorkerMetrics
from stream_app.pipeline import Pipeline
from stream_app.settings import Settings


class Consumption:
    """The way of the fetches through a worker, and how many are on it."""

    def __init__(
        self,
        *,
        settings: Settings,
        pipeline: Pipeline,
        delivery: Delivery,
        device_thread: ThreadPoolExecutor,
        metrics: WorkerMetrics,
        fail: Callable[[BaseException], Any],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._delivery = delivery
        self._device_thread = device_thread
        self._metrics = metrics
        self._fail = fail
        self._clock = clock
        self._places = asyncio.Semaphore(settings.in_flight)
        self._latest: dict[int, asyncio.Task[None]] = {}  # by partition: the batch that the next one waits for
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def consume(self, stream: Any) -> None:
        """The agent's body."""
        try:
            async for event in stream.noack().events():
                await self._take(stream.app, event)
        except Exception as error:
            self._fail(error)
            raise

    async def drained(self) -> None:
        """Returns when nothing is on its way: all that was taken in is durable and acknowledged."""
        await self._idle.wait()

    async def _take(self, app: faust.App, event: Any) -> None:
        self._began()
        handed_on = False
        try:
            await self._places.acquire()
            # Leans on: a message carries the generation of the group in which it was fetched.
            if event.message.generation_id != app.consumer_generation_id:
                self._places.release()
                self._metrics.stale_batches.inc()
                return
            partition = event.message.partition
            loop = asyncio.get_running_loop()
            batch = await loop.run_in_executor(
                self._device_thread, self._pipeline.process, partition, event.message.value
            )
            after = self._latest.get(partition)
            self._latest[partition] = asyncio.create_task(self._finish(app, event, batch, after))
            handed_on = True
        finally:
            if not handed_on:
                self._ended()

    async def _finish(self, app: faust.App, event: Any, batch: BatchResult, after: asyncio.Task[None] | None) -> None:
        try:
            start = self._clock()
            delivered = await self._delivery.deliver(batch, after)
            if delivered.changelog_offset is not None:
                store = app.tables["users"].data
                store.set_persisted_offset(TP(self._settings.state_topic, batch.partition), delivered.changelog_offset)
            event.ack()
            self._count(app, event, batch, delivered.answered_at, self._clock() - start)
        except Exception as error:
            self._fail(error)
            raise
        finally:
            self._places.release()
            self._ended()

    def _count(self, app: faust.App, event: Any, batch: BatchResult, answered_at: float, seconds: float) -> None:
        metrics = self._metrics
        metrics.stage.labels("deliver").observe(seconds)
        metrics.predictions.labels(batch.ranker).inc(len(batch.predictions))
        metrics.latency.observe(answered_at - batch.record_times / 1000)
        for reason in batch.reasons:
            metrics.dead_letters.labels(reason).inc()
        highwater = app.consumer.highwater(event.message.tp)
        if highwater is not None:
            lag = max(highwater - event.message.offset - 1, 0)
            metrics.lag.labels(str(batch.partition)).set(lag)

    def _began(self) -> None:
        self._under_way += 1
        self._idle.clear()

    def _ended(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()
