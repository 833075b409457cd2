"""Latency and losses while the weights are swapped every 5 seconds at 1,000 events/s, beside the same without swaps.

Three versions take turns, so that each is loaded anew: a worker keeps the one before. Settings are the defaults, so a
part of the users stays with the version before, and sequences of the others are encoded again when they are touched.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion, promoted_after, publish_promotion
from tests.bench.compare import Percentiles, in_turn, show_percentiles
from tests.bench.made_up import records, version_of_a_log
from tests.bench.open_loop import AiokafkaLoad, EventPool, LoadRun, percentiles
from tests.bench.streams import LONGEST_S, POLL_S, Streams, fill, predictions, workers

RATE: Final = 1000.0  # events/s
EVERY_S: Final = 5.0
VERSIONS: Final = 3
WARM_UP: Final = 0.2  # of a run: these events load as the others do, and do not count
STILL: Final = "no swaps"
SWAPPED: Final = f"a swap every {EVERY_S:g} s"


def reload(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns percentiles in milliseconds, and how many events were lost."""
    log = records(options.events, options.users, options.items)
    versions = [
        version_of_a_log(streams.place / f"version-{seed}", log, options.items, seed=seed) for seed in range(VERSIONS)
    ]
    own = streams.new(versions[0])
    fill(own, own.events_topic, log)
    client, seconds = AiokafkaLoad(own, EventPool(options.users, options.items)), 3 * options.seconds
    swaps = _swaps(own, versions)
    with workers(own) as running:
        running[0].wait_until(lambda: predictions(running) >= options.events, LONGEST_S, every=POLL_S)
        runs = {STILL: partial(_run, client, None, seconds), SWAPPED: partial(_run, client, swaps, seconds)}
        found = in_turn(runs, options.repeats or 3, said=False)
        loaded = running[0].metric("nextact_reloads_total", "loaded")
    print(f"\n{loaded:.0f} versions loaded in all")
    return show_percentiles(f"{RATE:,.0f} events/s", found, STILL) | {"versions_loaded": loaded}


def _run(client: AiokafkaLoad, swaps: Iterator[Any] | None, seconds: float) -> Percentiles:
    async def loaded() -> Percentiles:
        swapping = asyncio.create_task(_swap(swaps)) if swaps is not None else None
        try:
            return _summary(await client.run(RATE, seconds))
        finally:
            if swapping is not None:
                swapping.cancel()

    return asyncio.run(loaded())


def _summary(run: LoadRun) -> Percentiles:
    """Percentiles behind the warm-up, and how many were lost in all."""
    return percentiles(run.after(WARM_UP * len(run.sent) / run.rate).latencies) | {"lost": float(run.lost)}


async def _swap(swaps: Iterator[Any]) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        await next(swaps)


def _swaps(settings: Settings, versions: list[Promotion]) -> Iterator[Any]:
    """Promotions of the versions in turn, without end, each to be awaited."""
    champion = versions[0]
    for version in itertools.islice(itertools.cycle(versions), 1, None):
        champion = promoted_after(champion, version.version_ref, {}, datetime.now(UTC))
        yield publish_promotion(champion, settings)
