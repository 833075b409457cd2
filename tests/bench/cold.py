"""Starts in the conditions of the image, and the answers right after one.

The root file system cannot be written, and the home is empty; only the worker's own folder is writable. *Nothing
compiled*: what `nextact compile` makes is not there and cannot be kept either, as in an image that was built for
another processor. Files of Python and PyTorch are in the machine's memory, as where the image has run before.

*First answers*: a steady load goes on while the worker is stopped and started. It has *caught up* when every event that
was due before it was ready is answered; that time is told by itself. The first ten seconds are those from then on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from stream_app.settings import Settings
from tests.bench.compare import seconds, show
from tests.bench.librdkafka_client import LibrdkafkaLoad
from tests.bench.made_up import records, version_of_a_log
from tests.bench.open_loop import EventPool, LoadRun, percentiles
from tests.bench.streams import LONGEST_S, POLL_S, Streams, fill, predictions, workers
from tests.integration.image import can_be_read_only, compile_ahead, read_only
from tests.integration.running import Running

MOST_S: Final = 4.0  # from the start of the process to ready, with all compiled ahead
MOST_RATIO: Final = 2.0  # p99 of the first ten seconds to that after them
RATE: Final = 1000.0  # events/s
FIRST_S: Final = 10.0
BEFORE_S, AFTER_S, DOWN_S = 5.0, 20.0, 8.0  # before the stop, behind the first seconds, and between, at most


@dataclass(frozen=True, slots=True)
class Restart:
    """What a restart did to the events: p99 in milliseconds, other times in seconds."""

    stopped_to_ready: float
    ready_to_caught_up: float
    before: float
    first: float
    after: float
    longest: float  # of the first seconds, in milliseconds
    lost: int

    @classmethod
    def of(cls, run: LoadRun, stopped: float, ready: float) -> Restart:
        """Looks at a run during which a worker was stopped and was ready again at these times."""
        caught_up = max(ready, float(run.received[run.due <= ready].max()))

        def part(start: float, length: float) -> dict[str, float]:
            return percentiles(run.latencies[(run.due >= start) & (run.due < start + length)])

        first = run.latencies[(run.due >= caught_up) & (run.due < caught_up + FIRST_S)]
        return cls(
            stopped_to_ready=ready - stopped,
            ready_to_caught_up=caught_up - ready,
            before=part(stopped - BEFORE_S + 1, BEFORE_S - 1)["p99"],
            first=part(caught_up, FIRST_S)["p99"],
            after=part(caught_up + FIRST_S, AFTER_S)["p99"],
            longest=1000 * float(np.max(first)),
            lost=run.lost,
        )


def cold(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns seconds to ready, and percentiles around a restart."""
    log = records(options.events, options.users, options.items)
    version = version_of_a_log(streams.place / "cold", log, options.items)
    rules, own = streams.new(), streams.new(version)
    compiled = str(streams.place / "compiled")
    ahead = own.model_copy(update={"cache_dir": compiled})
    taken = seconds(lambda: print(compile_ahead(Path(compiled)), flush=True), time.perf_counter)
    print(f"\n`nextact compile` took {taken:.0f} s. Read-only root: {can_be_read_only() or 'not possible here'}")
    figures = _starts(rules, own, compiled, options.repeats or 3)
    found = {"compile_seconds": taken, "starts": show(figures, "seconds from start to ready")}
    for name, values in figures.items():
        if "ahead" in name:
            print(f"{_verdict(median(values), MOST_S)} s  {name}")
    fill(own, own.events_topic, log)
    _answer(ahead, len(log))
    restarts = [_restart(ahead, options) for _ in range(options.repeats or 3)]
    return found | {"restarts": _show(restarts)}


def _starts(rules: Settings, own: Settings, compiled: str, repeats: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {}
    for what, folder, times in (("nothing compiled", "/nowhere", 1), ("compiled ahead", compiled, repeats)):
        for version, settings in (("rules", rules), ("a version", own)):
            start = partial(_start, settings.model_copy(update={"cache_dir": folder}))
            figures[f"{what}, {version}"] = [start() for _ in range(times)]
    return figures


def _start(settings: Settings) -> float:
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    begun = time.perf_counter()
    worker = _worker(settings)
    try:
        worker.wait_ready(LONGEST_S)
        taken = time.perf_counter() - begun
        print(f"  {taken:6.2f} s, of a processor {worker.processor_seconds:6.2f}  {settings.cache_dir}", flush=True)
        worker.terminate(60)
        return taken
    finally:
        worker.kill()


def _worker(settings: Settings) -> Running:
    """A worker in the conditions of the image."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    within = read_only(settings.data_dir) if can_be_read_only() else ("env",)
    log = settings.data_dir / f"worker-{time.monotonic_ns()}.log"
    home, os.environ["HOME"] = os.environ.get("HOME", ""), "/nowhere"
    try:
        return Running(("worker",), settings, log, fresh=True, within=within)
    finally:
        os.environ["HOME"] = home


def _answer(settings: Settings, events: int) -> None:
    """Has a worker answer all that there is, so that the users have histories."""
    with workers(settings) as running:
        running[0].wait_until(lambda: predictions(running) >= events, LONGEST_S, every=POLL_S)


def _restart(settings: Settings, options: argparse.Namespace) -> Restart:
    """Stops and starts a worker under a steady load."""
    running = [_worker(settings)]
    running[0].wait_ready(LONGEST_S)
    times: list[float] = []

    def change() -> None:
        time.sleep(BEFORE_S)
        times.append(time.perf_counter())
        running[0].terminate(60)
        running.append(_worker(settings))
        running[1].wait_ready(LONGEST_S)
        times.append(time.perf_counter())

    try:
        with LibrdkafkaLoad(settings, EventPool(options.users, options.items)) as load:
            load.run(RATE, 3.0)
            thread = threading.Thread(target=change)
            thread.start()
            run = load.run(RATE, BEFORE_S + DOWN_S + FIRST_S + AFTER_S, give_up=LONGEST_S)
            thread.join()
        return Restart.of(run, *times)
    finally:
        for worker in running:
            worker.terminate(60)
            worker.kill()


def _show(restarts: list[Restart]) -> list[dict[str, Any]]:
    print("\n  down    caught up    p99 in ms: before, first 10 s, then; longest of the first    lost")
    for one in restarts:
        print(
            f"{one.stopped_to_ready:5.1f} s {one.ready_to_caught_up:9.2f} s {one.before:20.1f} {one.first:9.1f} "
            f"{one.after:9.1f} {one.longest:17.1f} {one.lost:18}"
        )
    print(f"{_verdict(median(one.first / one.after for one in restarts), MOST_RATIO)} x  p99 of the first 10 s")
    return [{name: getattr(one, name) for name in Restart.__slots__} for one in restarts]


def _verdict(value: float, most: float) -> str:
    return f"{value:6.2f} {'reached' if value <= most else 'MISSED'}: at most {most:g}"
