"""Questions over HTTP beside events: `python -m tests.bench questions`.

A worker with a version of the model and users who have histories is offered 1,000 events/s, alone and with questions
beside them: 500 GET of users a second, or 50 rankings of 100 candidates, each by a client in a process of its own. The
same client asks a bare aiohttp server, too, which answers as many bytes. Both loads wait for nobody, and latency counts
from when an event or a question was due. Kinds take turns; medians over the repeats.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from typing import Any, Final
from urllib.request import urlopen

import numpy as np

from tests.bench.asker import Asked, ask, echo, rank_bodies
from tests.bench.made_up import records, version_of_a_log
from tests.bench.open_loop import EventPool, LoadRun, percentiles
from tests.bench.streams import LONGEST_S, POLL_S, Streams, fill, predictions, workers

EVENTS: Final = 1000.0  # per second
RANKINGS: Final = 50.0  # per second
CANDIDATES: Final = 100
WARM_UP_S: Final = 2.0
SETTLED_S: Final = 0.5  # behind which a run counts
QUICK_S, DEFAULT_S = 5.0, 20.0  # of a run
ALONE, GET, RANK, ECHO = "events alone", "GET", "rank", "GET of an echo"
WANTED: Final = ((GET, 10.0), (RANK, 15.0))  # milliseconds of p99
MOST_SLOWER: Final = 1.3  # times the events' p99 without questions


def questions(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns p50 and p99 in milliseconds, of questions and of the events beside them."""
    from tests.bench.librdkafka_client import LibrdkafkaLoad  # needs nextact[bench]

    log = records(options.events, options.users, options.items)
    own = streams.new(version_of_a_log(streams.place / "questions", log, options.items), api_port=0, api_rate=0.0)
    fill(own, own.events_topic, log)
    seconds = QUICK_S if options.quick else DEFAULT_S
    found: dict[str, list[tuple[LoadRun, LoadRun | None]]] = {kind: [] for kind in (ALONE, GET, RANK, ECHO)}
    with ExitStack() as stack:
        (worker,) = stack.enter_context(workers(own))
        load = stack.enter_context(LibrdkafkaLoad(own, EventPool(options.users, options.items)))
        worker.wait_until(lambda: predictions([worker]) >= len(log), LONGEST_S, every=POLL_S)
        paths = [f"/v1/users/{key.decode()}" for key in dict.fromkeys(key for key, _ in log)]
        with urlopen(worker.api + paths[0]) as response:
            bare = stack.enter_context(echo(response.read()))
        latest = list(dict(log).items())  # one event of each user, so that who is asked about was answered of late
        fill(own, own.events_topic, latest)
        worker.wait_until(lambda: predictions([worker]) >= len(log) + len(latest), LONGEST_S, every=POLL_S)
        kinds = {
            GET: Asked(worker.api, paths),
            RANK: Asked(
                worker.api, [f"{path}/rank" for path in paths], rank_bodies(options.items, CANDIDATES, 1), RANKINGS
            ),
            ECHO: Asked(bare, paths),
        }
        client = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        for asked in kinds.values():
            client.submit(ask, replace(asked, rate=50.0), WARM_UP_S).result()
        load.run(EVENTS, WARM_UP_S)
        for _ in range(options.repeats or 3):
            for kind in found:
                asking = client.submit(ask, kinds[kind], seconds) if kind in kinds else None
                events = load.run(EVENTS, seconds)
                found[kind].append((events, None if asking is None else asking.result()))
    return _show(found)


def _show(found: dict[str, list[tuple[LoadRun, LoadRun | None]]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    print(f"{'':16} {'questions: p50':>14} {'p99':>8} {'lost':>5} {'late':>6}   {'events: p50':>11} {'p99':>8}  ms")
    for kind, runs in found.items():
        events = _figures([run for run, _ in runs])
        asked = _figures([run for _, run in runs if run is not None])
        told[kind] = {"questions": asked, "events": events}
        shown = (
            f"{asked['p50']:14.2f} {asked['p99']:8.2f} {asked['lost']:5} {asked['late']:6.1%}" if asked else " " * 36
        )
        print(f"{kind:16} {shown}   {events['p50']:11.2f} {events['p99']:8.2f}", flush=True)
    for kind, limit in WANTED:
        _judge(f"p99 of {kind} at most {limit:g} ms", told[kind]["questions"]["p99"] <= limit)
    slower = told[GET]["events"]["p99"] / told[ALONE]["events"]["p99"]
    _judge(f"p99 of events with GET at most {MOST_SLOWER} times that without: {slower:.2f}", slower <= MOST_SLOWER)
    return told


def _figures(runs: list[LoadRun]) -> dict[str, Any]:
    """Returns medians over runs; nothing where there are none."""
    if not runs:
        return {}
    settled = [run.after(SETTLED_S) for run in runs]
    each = [percentiles(run.latencies) for run in settled]
    medians = {name: float(np.median([one[name] for one in each])) for name in ("p50", "p99")}
    late = float(np.median([run.late_share for run in settled]))
    return medians | {"lost": sum(run.lost for run in settled), "late": late}


def _judge(wanted: str, holds: bool) -> None:
    print(f"  {wanted}: {'reached' if holds else 'MISSED'}")
