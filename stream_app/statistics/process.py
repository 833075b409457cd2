"""`nextact statistics`: stands by until it is the one that counts, then counts."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from aiokafka.errors import KafkaError, ProducerFenced
from prometheus_client import CollectorRegistry

from stream_app.errors import DataPathError
from stream_app.http_server import HttpServer
from stream_app.kafka.refusals import explained
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.statistics.counting import MakeCounting
from stream_app.statistics.leadership import Leadership
from stream_app.statistics.metrics import StatisticsMetrics, WriterMetrics
from stream_app.statistics.stored_past import stored_past
from stream_app.statistics.writer import StatisticsWriter

_GRACE_S: Final = 10.0  # seconds that an orphan has to end in order

logger: Final = logging.getLogger(__name__)


class StatisticsProcess:
    """Counts while it leads."""

    def __init__(self, settings: Settings, make_counting: MakeCounting, *, serves: bool) -> None:
        """`serves`: whether it serves its metrics."""
        self._settings, self._make_counting, self._serves = settings, make_counting, serves
        registry = CollectorRegistry()
        self._metrics, self._own = WriterMetrics(registry), StatisticsMetrics(registry)
        self._http = HttpServer(registry, lambda: None)
        self._writer: StatisticsWriter | None = None
        self._leadership = Leadership(settings, self._count)
        self._own.items.set_function(lambda: len(self._writer.counting.table) if self._writer else 0)
        self._own.bytes.set_function(lambda: self._writer.counting.table.nbytes if self._writer else 0)
        self._own.age.set_function(self._age)
        self._own.dropped.counts = self._dropped

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. Raises `UsageError`, `DataPathError`, or aiokafka's errors."""
        await ensure_topics(self._settings, "trainer")
        await ensure_topics(self._settings, "trainer", self._settings.statistics_topic)
        if self._serves:
            await self._http.start(self._settings.http_host, self._settings.http_port)
        work = [asyncio.ensure_future(self._leadership.run()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            ended = await asyncio.gather(*work, return_exceptions=True)
            await self._http.stop()
        if isinstance(ended[0], Exception):
            raise ended[0]

    async def _count(self) -> None:
        logger.info("this process counts the events for the statistics of items")
        begin = partial(stored_past, self._settings, make_counting=self._make_counting)
        self._writer = StatisticsWriter(self._settings, self._make_counting(), self._metrics, time.time, begin)
        self._metrics.leads.set(1)
        try:
            await self._writer.run()
        finally:
            self._metrics.leads.set(0)
            self._writer = None

    def _age(self) -> float:
        position = self._writer.position if self._writer else None
        return time.time() - position.until / 1000 if position else float("nan")

    def _dropped(self) -> Mapping[str, int]:
        return self._writer.counting.table.dropped if self._writer else {}


async def run_statistics(
    settings: Settings, stop: asyncio.Event, make_counting: MakeCounting, *, serves: bool = True
) -> None:
    """Runs the process in the running event loop until `stop` is set. Raises `UsageError`, `DataPathError`."""
    try:
        await StatisticsProcess(settings, make_counting, serves=serves).run(stop)
    except ProducerFenced as error:
        raise DataPathError("another process counts the events now, so this one must not go on") from error
    except KafkaError as error:
        raise await explained(settings, error, "Read") from error


def end_with_parent(stop: asyncio.Event) -> threading.Thread:
    """Has `stop` set when standard input ends, as it does when the process is gone that has its other end.

    Ends this process the hard way where it has not ended some seconds later.
    """
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while sys.stdin.buffer.read(1):
            pass
        loop.call_soon_threadsafe(stop.set)
        time.sleep(_GRACE_S)
        os._exit(1)

    thread = threading.Thread(target=wait, name="parent", daemon=True)
    thread.start()
    return thread
