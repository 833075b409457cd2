"""What is seen of workers: figures while they answer, words with a time when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_app.page.observer import Observer
from stream_app.page.worker_client import Trouble, WorkerClient
from tests.unit.builders.pretend_worker import metrics, pretend_worker


class Clock:
    """A second passes with each look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_troubles_begin_last_and_end() -> None:
    async def look() -> None:
        async with pretend_worker(metrics=metrics(events=5)) as worker, WorkerClient(worker.url, None) as client:
            observer = Observer([client], Clock())
            await observer.look()
            assert (observer.troubles, observer.about[client.url].worker) == ([], "nextact-1")
            assert observer.tallies.figures().users == 17
            port = int(worker.url.rsplit(":", 1)[1])
            await worker.stop()
            await observer.look()
            (first,) = observer.troubles
            await observer.look()
            assert observer.troubles == [first]  # since the same time
            assert "connection refused" in first.trouble.what
            assert (observer.tallies.figures().users, observer.about) == (None, {})
            await worker.start(port)
            await observer.look()
            assert observer.troubles == []
            worker.metrics = "python_info 1\n"
            await observer.look()
            assert "not the metrics of a nextact worker" in observer.troubles[0].trouble.what
            worker.metrics, worker.ready = metrics(), False
            await observer.look()
            assert observer.troubles[0].trouble.code == "starting"

    asyncio.run(look())


def test_it_looks_seldom_while_nobody_does() -> None:
    async def watch() -> None:
        async with pretend_worker(metrics=metrics()) as worker, WorkerClient(worker.url, None) as client:
            observer = Observer([client], Clock())
            running = asyncio.create_task(observer.run())
            await until(lambda: len(worker.asked) == 1)
            await asyncio.sleep(1.3)
            assert len(worker.asked) == 1
            observer.enter()  # is noticed at once
            await until(lambda: len(worker.asked) >= 2)
            observer.leave()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(watch())


def test_a_broker_is_probed_beside() -> None:
    async def watch() -> None:
        async with pretend_worker(metrics=metrics()) as worker, WorkerClient(worker.url, None) as client:

            async def probe() -> Trouble | None:
                return Trouble("Kafka cannot be reached", "Start it")

            observer = Observer([client], Clock(), probe)
            running = asyncio.create_task(observer.run())
            await until(lambda: bool(observer.troubles))
            assert observer.troubles[0].trouble.advice == "Start it"
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(watch())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - a server's count
            await asyncio.sleep(0.01)
