"""The rates that a stream sustains: what an answer takes at a steady load that waits for nobody, and what it costs.

Ours with default settings, Quix Streams' counter, a bare aiokafka echo and stock Faust with the same job: in turn, one
at a time, broker and client beside them on the same machine. In its turn a system is offered fixed rates from low to
high, up to the first with which it does not keep up, and then others, to find the highest rate that it sustains.

A rate is *sustained* at a limit when, behind the first half second of the run,
- 99 of 100 events have their answer within the limit, counted from when the event was due; a lost one counts, and
- the system keeps up: no event waits for 2 s, and answers get later by at most 5 % of the time that goes by.
The highest sustained rate that is told was tried, and one above it failed: a tenth above it, or as close as there was
time for (`failed_above` in the JSON). A lower rate that failed does not count against it, as all stumble sometimes.

The load comes from a client on librdkafka, whose own share is told: its processor time, how many events it sent more
than 5 ms late, what a stream takes that answers itself (the client receives the events that it sends), and what the
echo takes with a client on aiokafka.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from stream_app.settings import Settings
from tests.bench.open_loop import AiokafkaLoad, EventPool
from tests.bench.rate_points import Point, PointMeter, RunLoad
from tests.bench.rate_search import Bounds, next_rate
from tests.bench.streams import Streams
from tests.bench.sustainable_tables import CLIENT_RATES, Turn, tables
from tests.bench.systems import ECHO, System, systems

WARM_UP: Final = (1000.0, 2.0)  # events/s and seconds behind each start
LOWEST, HIGHEST = 100.0, 64_000.0  # events/s that are tried
RESOLUTIONS: Final = (1.2, 1.1)  # the failed rate by the sustained one: first so close for all limits, then closer
SEARCHED: Final = (100, 250, 50)  # milliseconds of p99: the one that counts is searched first


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. It takes `longest` seconds per system, of which the searches use what is left."""

    rates: Sequence[float]  # events/s
    repeats: int
    seconds: float  # of a run that count
    idle: float  # seconds
    longest: float


# Four systems in 5 and in 10 minutes, with half a minute to start the broker and to end all.
QUICK: Final = Plan((1000, 4000, 16_000), repeats=1, seconds=2.5, idle=5.0, longest=64.0)
DEFAULT: Final = Plan((500, 1000, 2000, 4000, 8000, 16_000), repeats=3, seconds=2.5, idle=10.0, longest=140.0)


def sustainable(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns the rates, percentiles in milliseconds, and processor time."""
    began, plan = time.monotonic(), plan_of(options)
    chosen = [system for system in systems(streams, options) if _wanted(system, options.only)]
    latest = began + plan.longest * len(chosen)
    pool = EventPool(options.users, options.items)
    gc.collect()
    gc.freeze()  # a collection has less to look at from here on
    turns: dict[str, list[Turn]] = {system.key: [] for system in chosen}
    for number in range(plan.repeats * len(chosen)):
        repeat, place = divmod(number, len(chosen))
        system = chosen[(repeat + place) % len(chosen)]  # nobody is always the first
        now = time.monotonic()
        end = now + (latest - now) / (plan.repeats * len(chosen) - number)
        turns[system.key].append(_turn(streams, system, pool, plan, repeat, end))
    print(f"  all of it took {time.monotonic() - began:.0f} s")
    return tables({system.key: system.name for system in chosen}, turns, plan.rates)


def plan_of(options: argparse.Namespace) -> Plan:
    """Returns what the options ask for."""
    plan = QUICK if options.quick else DEFAULT
    return replace(plan, rates=sorted(options.rates or plan.rates), repeats=options.repeats or plan.repeats)


def climb(points: dict[float, Point], rates: Sequence[float], measure: Callable[[float], Point]) -> None:
    """Adds points of these rates, up to the first with which the system does not keep up."""
    for rate in rates:
        points[rate] = measure(rate)
        if not points[rate].keeps_up:
            return


def search(points: dict[float, Point], measure: Callable[[float], Point], has_time: Callable[[], bool]) -> None:
    """Adds points until the highest sustained rate is known for each limit, or there is no more time."""
    for resolution in RESOLUTIONS:
        for limit in SEARCHED:
            while (rate := _next(points, limit, Bounds(LOWEST, HIGHEST, resolution))) is not None:
                if not has_time():
                    return
                points[rate] = measure(rate)


def _next(points: dict[float, Point], limit: float, bounds: Bounds) -> float | None:
    return next_rate({rate: point.sustained(limit) for rate, point in points.items()}, bounds)


def _wanted(system: System, words: Sequence[str] | None) -> bool:
    return not words or any(word == system.key or word in system.name for word in words)


def _turn(streams: Streams, system: System, pool: EventPool, plan: Plan, repeat: int, end: float) -> Turn:
    from tests.bench.librdkafka_client import LibrdkafkaLoad  # needs nextact[bench], as no other part does

    turn = Turn()
    with ExitStack() as stack:
        running = stack.enter_context(system.start())
        load = stack.enter_context(LibrdkafkaLoad(running.settings, pool))
        running.wait_until(load.answers)
        load.run(*WARM_UP)
        meter = PointMeter(running, plan.seconds, f"  {repeat + 1}/{plan.repeats}  {system.name:32}")
        if not repeat:
            turn.idle.update(meter.idle(plan.idle))
        if not repeat and system.key == ECHO:
            alone = _answering_itself(streams.new())
            with LibrdkafkaLoad(alone, pool) as client:
                turn.clients["librdkafka_alone"] = _at_client_rates(meter, client.run, "alone")
            aiokafka = _blocking(AiokafkaLoad(running.settings, pool))
            turn.clients["aiokafka_echo"] = _at_client_rates(meter, aiokafka, "with aiokafka's client")

        def measure(rate: float) -> Point:
            point = meter.point(load.run, rate)
            if not point.keeps_up:
                running.wait_until(load.answers)  # what it could not keep up with is not the next rate's
            return point

        climb(turn.points, plan.rates, measure)
        search(turn.points, measure, lambda: time.monotonic() + meter.takes < end)
    return turn


def _at_client_rates(meter: PointMeter, load: RunLoad, said: str) -> dict[float, Point]:
    return {rate: meter.point(load, rate, f"  ({said})") for rate in CLIENT_RATES}


def _answering_itself(settings: Settings) -> Settings:
    """Settings of a client that receives the events that it sends."""
    return settings.model_copy(update={"predictions_topic": settings.events_topic})


def _blocking(load: AiokafkaLoad) -> RunLoad:
    return lambda rate, seconds: asyncio.run(load.run(rate, seconds))
