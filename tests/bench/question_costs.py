"""What questions over HTTP take of a worker's processor time: `python -m tests.bench question-costs`.

All that answers questions in a worker, without Kafka: users who have full histories and a published prediction, in a
store on disk, and a version of the default size. A client in a process of its own asks one question after the other on
one connection. Processor time is of the threads, whatever else the machine does: of the one that answers, and of the
one that steps, which scores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import torch
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from model.items.catalogue import ItemCatalogue
from model.serving.answer_engine import NoStatistics
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.query.metrics import QuestionMetrics
from stream_app.query.routing import partition_of
from stream_app.query.service import QuestionService
from stream_app.query.view import WorkerView
from stream_app.settings import Settings, load_settings
from stream_app.worker.local_store import LocalStore
from tests.bench.asker import rank_bodies
from tests.bench.made_up import named, served_version, sessions

USERS: Final = 200
ACTIONS: Final = 64  # of each: a full history
CANDIDATES: Final = 100
QUESTIONS: Final = 1000  # of a run
REPEATS: Final = 5
_BATCH: Final = 1600  # events at once
_HEADERS: Final = "Host: {host}\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: bench\r\n"

Clock = tuple[str, int]  # of a thread: its name, and the clock's id


def question_costs(options: argparse.Namespace) -> dict[str, Any]:
    """Prints medians in milliseconds of each thread for each question, and returns them."""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(1, "device") as device:
        return asyncio.run(_measured(options, Path(place), device))


async def _measured(options: argparse.Namespace, place: Path, device: ThreadPoolExecutor) -> dict[str, Any]:
    settings = load_settings({"api_port": 0, "api_rate": 0.0, "rules_share": 0.0})
    store = LocalStore(place, topic="s", epoch=settings.stream_epoch, clock=time.time)
    for partition in range(settings.partitions):
        store.open(partition, 0, 1e9, "")
    in_device = partial(asyncio.get_running_loop().run_in_executor, device)
    view = await in_device(_view, settings, store, device, options)
    service = QuestionService(settings, view, QuestionMetrics(CollectorRegistry()))
    for aside in (service.memory, service.stored):
        aside.resume(range(settings.partitions))
    service.memory.newest(1)  # from the first question on answers are kept
    await in_device(_publish, settings, view, store, service, options)
    address = await service.start(0)
    clocks = [
        _clock("questions", service._server._thread.ident),
        _clock("device", await in_device(threading.get_ident)),
    ]
    paths = [f"/v1/users/user-{number}" for number in range(USERS)]
    bodies = rank_bodies(options.items, CANDIDATES, 1)
    kinds = {
        "GET": [_request("GET", path) for path in paths],
        "rank of 100": [_request("POST", f"{path}/rank", bodies[n % 100]) for n, path in enumerate(paths)],
    }
    try:
        with get_context("spawn").Pool(1) as client:
            return await asyncio.to_thread(_in_turn, client, address.url, kinds, clocks, options.repeats or REPEATS)
    finally:
        await service.stop()
        store.stop()


def _view(settings: Settings, store: LocalStore, device: ThreadPoolExecutor, options: argparse.Namespace) -> WorkerView:
    engine, vocabulary = new_engine(settings, torch.device("cpu"), store.read, slots=2 * USERS), named(options.items)
    engine.serve(served_version(sessions(vocabulary, options.events), vocabulary, torch.device("cpu")))
    return WorkerView(
        name="bench",
        not_ready=lambda: None,
        engine=engine,
        thread=device,
        read=store.read,
        statistics=NoStatistics(),
        catalogue=ItemCatalogue(),
        spread=lambda _: None,
        fail=_fail,
    )


def _fail(error: BaseException) -> None:
    raise error


def _publish(
    settings: Settings, view: WorkerView, store: LocalStore, service: QuestionService, options: argparse.Namespace
) -> None:
    """Has every user do as much as their history holds; keeps what is published and their states."""
    pipeline = Pipeline(view.engine, settings, WorkerMetrics(CollectorRegistry()), time.perf_counter)
    pipeline.publishes_values = True
    items = np.random.default_rng(1).integers(0, options.items, (ACTIONS, USERS)).tolist()
    events = [(f"user-{n}", item, action) for action, row in enumerate(items) for n, item in enumerate(row)]
    for first in range(0, len(events), _BATCH):
        taken = [_record(settings, *event) for event in events[first : first + _BATCH]]
        taken.sort(key=lambda record: record.partition)
        for result in pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode(taken, 1)))):
            store.write(result.partition, result.states, 0)
            service.memory.note(result)


def _record(settings: Settings, user: str, item: int, action: int) -> ConsumerRecord[bytes, bytes]:
    value = json.dumps({"user_id": user, "type": "view", "item_id": f"item-{item}"}).encode()
    partition, sent = partition_of(user, settings.partitions), int(1000 * time.time()) - 60_000 * (ACTIONS - action)
    return ConsumerRecord("shop.events", partition, action, sent, 0, user.encode(), value, None, 1, len(value), ())


def _clock(name: str, ident: int | None) -> Clock:
    assert ident is not None
    return name, time.pthread_getcpuclockid(ident)


def _request(method: str, path: str, body: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\n{_HEADERS.format(host='127.0.0.1')}{length}\r\n".encode() + body


def _in_turn(
    client: Pool, url: str, kinds: dict[str, list[bytes]], clocks: Sequence[Clock], repeats: int
) -> dict[str, Any]:
    found: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for repeat in range(repeats + 1):
        for kind, requests in kinds.items():
            before = [time.clock_gettime(clock) for _, clock in clocks]
            client.apply(_ask, (url, requests, QUESTIONS))
            after = [time.clock_gettime(clock) for _, clock in clocks]
            if repeat:  # the first one warms up
                found[kind].append([1000 * (b - a) / QUESTIONS for a, b in zip(before, after, strict=True)])
    told: dict[str, Any] = {}
    print(f"{'ms of a core':16}", *(f"{name:>10}" for name, _ in clocks))
    for kind, runs in found.items():
        medians = np.median(runs, 0).tolist()
        print(f"{kind:16}", *(f"{value:10.3f}" for value in medians), flush=True)
        told[kind] = {name: round(value, 4) for (name, _), value in zip(clocks, medians, strict=True)}
    return told


def _ask(url: str, requests: Sequence[bytes], count: int) -> None:
    """Asks so often, each question when the last is answered. Raises `AssertionError` for another answer than 200."""
    parts = urlsplit(url)
    with (
        closing(socket.create_connection(("127.0.0.1", parts.port))) as connection,
        connection.makefile("rb") as answers,
    ):
        for number in range(count):
            connection.sendall(requests[number % len(requests)])
            assert answers.readline().startswith(b"HTTP/1.1 200"), url
            size = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            answers.read(size)
