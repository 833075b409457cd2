"""What comes of one rate that a running system is offered: percentiles, processor time, and whether it keeps up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.bench.open_loop import LEAD_S, LoadRun, percentiles
from tests.bench.processors import Processors
from tests.bench.systems import Batches, RunningSystem

SETTLE_S: Final = 0.5  # of a run: these events load as the others do, and do not count
MOST_GROWTH: Final = 0.05  # seconds by which answers may get later per second
_TELLING_SHARE: Final = 0.01  # of events that the client sent late: more is told beside a rate

RunLoad = Callable[[float, float], LoadRun]  # at so many events/s, for so many seconds


@dataclass(frozen=True, slots=True)
class Point:
    """What came of one rate."""

    milliseconds: dict[str, float]  # by percentile
    keeps_up: bool
    late_share: float  # of the events that the client itself sent late
    micros: dict[str, float]  # of processor time per event, by process
    batch: dict[str, float]  # events of a batch, and milliseconds for which the engine computed it; empty for peers

    def sustained(self, limit_ms: float) -> bool:
        """Tells whether the rate was sustained; see `sustainable`."""
        return self.keeps_up and self.milliseconds["p99"] <= limit_ms


def judged(run: LoadRun, offered: int) -> tuple[dict[str, float], bool]:
    """Returns the percentiles of what counts of a run, and whether the system kept up with it; `offered` events were
    to be sent."""
    counted = run.after(SETTLE_S)
    return percentiles(counted.latencies), len(run.sent) == offered and counted.growth() <= MOST_GROWTH


class PointMeter:
    """Measures points of one system that runs, and prints a line for each."""

    def __init__(self, running: RunningSystem, seconds: float, said: str) -> None:
        """`seconds` of a run that count; `said` begins each line."""
        pids = {"worker": running.pid, "broker": running.broker_pid, "client": os.getpid()}
        self._processors = Processors(pids)
        self._batches = running.batches
        self._seconds = SETTLE_S + seconds
        self._said = said

    @property
    def takes(self) -> float:
        """How many seconds a point takes, about."""
        return self._seconds + LEAD_S + 0.3

    def idle(self, seconds: float) -> dict[str, float]:
        """Returns how much of a core each process uses while nothing comes."""
        before = self._processors.seconds()
        time.sleep(seconds)
        return {name: used / seconds for name, used in self._processors.since(before).items() if name != "client"}

    def point(self, load: RunLoad, rate: float, also: str = "") -> Point:
        """Offers a rate by a client."""
        batches, before = self._batches(), self._processors.seconds()
        run = load(rate, self._seconds)
        micros = {name: 1e6 * used / len(run.sent) for name, used in self._processors.since(before).items()}
        milliseconds, keeps_up = judged(run, round(rate * self._seconds))
        batch = per_batch(self._batches().since(batches), len(run.sent))
        point = Point(milliseconds, keeps_up, run.late_share, micros, batch)
        print(f"{self._said} {rate:8,.0f}/s  {line(point)}{also}", flush=True)
        return point


def per_batch(batches: Batches, events: int) -> dict[str, float]:
    """Returns the events of a batch and its milliseconds; nothing where there was none."""
    count = batches.count
    return {"events": events / count, "ms": 1000 * batches.seconds / count} if count else {}


def line(point: Point) -> str:
    """Returns a point in words."""
    told = [f"{name} {value:,.1f}" for name, value in point.milliseconds.items() if name in ("p50", "p99")]
    told.append(", ".join(f"{name} {value:,.0f}" for name, value in point.micros.items()) + " us")
    if not point.keeps_up:
        told.append("falls behind")
    if point.late_share > _TELLING_SHARE:
        told.append(f"the client sent {100 * point.late_share:.0f} % late")
    return "  ".join(told)
