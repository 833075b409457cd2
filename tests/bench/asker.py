"""A client that asks over HTTP at times fixed in advance, and a server that answers nothing else: each a process."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final

import msgspec
import numpy as np
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from tests.bench.open_loop import LEAD_S, LoadRun, on_schedule

_CONNECTIONS: Final = 64  # more questions wait, and that counts
_PATIENCE_S: Final = 10.0  # after which a question counts as lost


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, in turn: paths, and bodies where they are asked by POST."""

    base: str  # of the addresses
    paths: Sequence[str]
    bodies: Sequence[bytes] = ()
    rate: float = 500.0  # questions/s


def ask(asked: Asked, seconds: float) -> LoadRun:
    """Asks so long, open loop; a question without a 200 is lost. Times are of the machine's monotonic clock."""
    gc.disable()
    try:
        return asyncio.run(_ask(asked, seconds))
    finally:
        gc.enable()


async def _ask(asked: Asked, seconds: float) -> LoadRun:
    count = round(asked.rate * seconds)
    sent, received, tasks = np.zeros(count), np.full(count, np.inf), set[asyncio.Task[None]]()
    connector = TCPConnector(limit=_CONNECTIONS)
    async with ClientSession(asked.base, connector=connector, timeout=ClientTimeout(_PATIENCE_S)) as session:

        async def one(number: int) -> None:
            path, body = asked.paths[number % len(asked.paths)], None
            if asked.bodies:
                body = asked.bodies[number % len(asked.bodies)]
            try:
                async with session.request("GET" if body is None else "POST", path, data=body) as response:
                    await response.read()
                    if response.status == 200:
                        received[number] = time.perf_counter()
            except (OSError, TimeoutError):
                return

        async def send(number: int) -> None:
            sent[number] = time.perf_counter()
            tasks.add(task := asyncio.create_task(one(number)))
            task.add_done_callback(tasks.discard)

        await one(0)  # opens a connection
        received[0], start = np.inf, time.perf_counter() + LEAD_S
        await on_schedule(send, count, asked.rate, start=start, clock=time.perf_counter, sleep=asyncio.sleep)
        await asyncio.gather(*tasks)
    return LoadRun(asked.rate, start, sent, received)


@contextmanager
def echo(body: bytes) -> Iterator[str]:
    """Starts a bare aiohttp server that answers every path with a body, and yields its address."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, body), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(pipe: Any, body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


def rank_bodies(items: int, candidates: int, seed: int) -> list[bytes]:
    """Returns some bodies with so many items to rank each."""
    rng = np.random.default_rng(seed)
    drawn = (rng.choice(items, candidates, replace=False).tolist() for _ in range(100))
    return [msgspec.json.encode({"candidates": [f"item-{number}" for number in one]}) for one in drawn]
