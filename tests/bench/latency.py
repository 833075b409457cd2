"""From when an event was due to when its prediction was received, at a steady load that waits for nobody.

Beside it an echo: a bare aiokafka loop that sends every event on, with the same client. The third rate is half of
what the worker made of a backlog just before.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tests.bench.compare import in_turn
from tests.bench.made_up import records, version_of_a_log
from tests.bench.open_loop import Load, percentiles
from tests.bench.streams import LONGEST_S, POLL_S, Streams, fill, peer, predictions, rate, wait_for, workers, written
from tests.integration.running import Running

RATES: Final = (100.0, 1000.0)  # events/s
WARM_UP: Final = 0.2  # of a run: these events load as the others do, and do not count
ECHO: Final = "bare aiokafka echo"
OURS: Final = "nextact, fused"

Percentiles = dict[str, float]


def latency(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns percentiles in milliseconds by rate, and the seconds that the worker computes per batch."""
    log = records(options.events, options.users, options.items)
    own, echo = streams.new(version_of_a_log(streams.place / "latency", log, options.items)), streams.new()
    fill(own, own.events_topic, log)
    fill(echo, echo.events_topic, log[:1])
    log_file = streams.place / "echo.log"
    addresses = (echo.brokers, echo.events_topic, echo.predictions_topic, echo.group)
    with workers(own) as running, peer("bare_aiokafka", *addresses, log=log_file) as process:
        running[0].wait_until(lambda: predictions(running) >= options.events, LONGEST_S, every=POLL_S)
        wait_for(lambda: written(echo, echo.predictions_topic) > 0, process, log_file)
        most = rate(own, own.predictions_topic)[1]
        print(f"a backlog of {options.events:,} events: {most:,.0f} events/s")
        clients = {name: Load(settings, options.users, options.items) for name, settings in ((ECHO, echo), (OURS, own))}
        return {
            f"{per_second:,.0f} events/s": _at(per_second, clients, running[0], options)
            for per_second in (*RATES, round(most / 2))
        }


def _at(per_second: float, clients: dict[str, Load], worker: Running, options: argparse.Namespace) -> dict[str, Any]:
    before = _computed(worker)
    runs = {name: partial(_percentiles, client, per_second, options.seconds) for name, client in clients.items()}
    found = in_turn(runs, options.repeats or 3, said=False)
    computed, batches = (now - then for now, then in zip(_computed(worker), before, strict=True))
    milliseconds = 1000 * computed / max(1, batches)
    return show_percentiles(f"{per_second:,.0f} events/s", found, ECHO) | {"ms_computed_per_batch": milliseconds}


def _percentiles(client: Load, per_second: float, seconds: float) -> Percentiles:
    return summary(asyncio.run(client.run(per_second, seconds)))


def summary(latencies: NDArray[np.float64]) -> Percentiles:
    """Percentiles behind the warm-up, and how many were lost in all."""
    return percentiles(latencies[round(WARM_UP * len(latencies)) :]) | {"lost": float(np.isinf(latencies).sum())}


def show_percentiles(title: str, found: dict[str, list[Percentiles]], to: str) -> dict[str, Any]:
    """Prints medians over the repeats, and the ratio of each p99 to that of one contestant; returns the same."""
    middle = {name: _medians(several) for name, several in found.items()}
    print(f"\n{'p99':>7} " + " ".join(f"{name:>9}" for name in middle[to]) + f"  milliseconds at {title}")
    for name, row in middle.items():
        row["p99_ratio"] = round(row["p99"] / middle[to]["p99"], 3)
        figures = " ".join(f"{value:9,.1f}" for key, value in row.items() if key != "p99_ratio")
        spread = " ".join(f"{run['p99']:.1f}" for run in found[name])
        print(f"{row['p99_ratio']:6.2f}x {figures}  {name} (p99 of the repeats: {spread})", flush=True)
    return {
        name: {"medians": _told(row), "p99_of_the_repeats": [_told(run)["p99"] for run in found[name]]}
        for name, row in middle.items()
    }


def _told(row: Percentiles) -> dict[str, float | None]:
    """JSON has no infinity."""
    return {name: value if np.isfinite(value) else None for name, value in row.items()}


def _medians(several: Sequence[Percentiles]) -> Percentiles:
    return {name: median(one[name] for one in several) for name in several[0]}


def _computed(worker: Running) -> tuple[float, float]:
    """Seconds in which the worker's engines computed so far, and how many batches."""
    seconds, batches = (
        [worker.metric(f"nextact_stage_seconds_{of}", stage) for stage in ("step", "answer")] for of in ("sum", "count")
    )
    return sum(seconds), batches[0]
