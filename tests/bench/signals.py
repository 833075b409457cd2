"""What signals cost: `python -m tests.bench signals`.

Timers of a million users who are idle: memory, a look at the clock, finding them in a local store after a start, and
telling of them what silence says. And what a batch of events takes with signals beside without, batches in turns, with
a version of the default size. Processor time of one thread, medians; Kafka's share is not in it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import psutil

from model.state.visits import visit_of
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from stream_app.signals.due import DueUsers
from stream_app.signals.wheel import TimerWheel
from stream_app.signals.writer import SignalWriter
from stream_app.worker.local_store import LocalStore
from tests.bench.batches import Records, log_of, new_pipeline, through

PARTITIONS: Final = 8
IDLE: Final = 1_000_000  # users
TOLD: Final = 20_000  # of them, of whom something is told
AT_ONCE: Final = 200  # of these, as a worker does
WRITTEN: Final = 10_000  # records that are put into the store at once
SHAPES: Final = (14, 512, 4096)  # events of a batch
BATCHES: Final = 40  # of each shape, and as many without signals
SETTINGS: Final = load_settings({"signals_topic": "shop.signals"})


def signals(options: argparse.Namespace) -> dict[str, Any]:
    """Prints figures and returns them."""
    with TemporaryDirectory() as folder:
        store = LocalStore(Path(folder), topic="changelog", epoch=1, clock=time.time)
        for partition in range(PARTITIONS):
            store.open(partition, 10 * IDLE, 1e9, "bench")
        pipeline = new_pipeline(options, store.read)
        take = log_of(options)
        found = _of_events(pipeline, take)
        found |= _of_idle_users(pipeline, store, _records(pipeline, take))
        store.stop()
    return found


def _of_events(pipeline: Pipeline, take: Callable[[int, int], Records]) -> dict[str, Any]:
    """Times batches with and without signals, in turns."""
    found, writer = dict[str, Any](), SignalWriter(SETTINGS, time.time)
    for size in SHAPES:
        taken: defaultdict[bool, list[float]] = defaultdict(list)
        for number in range(2 * (BATCHES + 5)):
            pipeline.signals = None if number % 2 else writer
            taken[bool(number % 2)].append(sum(through(pipeline, take(size, PARTITIONS)).values()))
        plain, telling = (1e6 * median(taken[without][5:]) / size for without in (True, False))
        print(f"{size:6} events: {plain:6.1f} us an event, {telling:6.1f} with signals: {telling / plain:.3f}")
        found[f"{size} events"] = {"us": plain, "us_with_signals": telling}
    pipeline.signals = writer
    return found


def _records(pipeline: Pipeline, take: Callable[[int, int], Records]) -> list[bytes]:
    """Returns records of users whose visits have not ended."""
    results = pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode(take(4096, PARTITIONS), 1))))
    return [record for result in results for _, record in result.states]


def _of_idle_users(pipeline: Pipeline, store: LocalStore, records: list[bytes]) -> dict[str, Any]:
    for first in range(0, IDLE, WRITTEN):
        numbers = range(first, first + WRITTEN)
        store.write(0, [(_user(number), records[number % len(records)]) for number in numbers], first + WRITTEN)
    for _ in _stored(store):  # so that its cache is full
        pass
    wheel, before = TimerWheel(), _memory()
    start = time.process_time()
    for user, record in _stored(store):
        wheel.add(visit_of(record).due, user)
    finding, memory = time.process_time() - start, _memory() - before
    start = time.thread_time()
    for _ in range(1000):
        wheel.take(0, AT_ONCE)
    look = (time.thread_time() - start) / 1000
    telling = _tell(pipeline, wheel)
    print(
        f"{IDLE:,} idle users: {memory / IDLE:.0f} bytes of memory "
        f"each ({memory / 2**20:.0f} MiB), a look at the clock {1e6 * look:.1f} us\n"
        f"found in the local store in {finding:.1f} s of processor time ({1e6 * finding / IDLE:.1f} us each); "
        f"what silence says of one takes {1e6 * telling:.1f} us"
    )
    return {"bytes": memory / IDLE, "look_us": 1e6 * look, "finding_s": finding, "telling_us": 1e6 * telling}


def _tell(pipeline: Pipeline, wheel: TimerWheel) -> float:
    """Returns the seconds that it takes to tell of a user."""
    taken, now = list[float](), round(1000 * time.time()) + 10**8
    for _ in range(TOLD // AT_ONCE):
        start = time.thread_time()
        users = [user.decode() for user in wheel.take(now, AT_ONCE)]
        batch = pipeline.decode_due([DueUsers(0, users, now, "clock")], 1)
        results = pipeline.encode(pipeline.answer(pipeline.step(batch)))
        taken.append((time.thread_time() - start) / len(users))
        assert sum(len(result.states) for result in results) == len(users)
        pipeline.settle(10**9)
    return median(taken)


def _stored(store: LocalStore) -> Iterator[tuple[bytes, bytes]]:
    """Yields users and their records as a worker reads them."""
    last: bytes | None = None
    while found := store.behind(0, last, 500):
        yield from found
        last = found[-1][0]


def _user(number: int) -> bytes:
    return f"user-{number:012}".encode()


def _memory() -> int:
    return int(psutil.Process().memory_info().rss)
