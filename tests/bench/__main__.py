"""Benchmarks beside peers, in one run: `python -m tests.bench throughput` (on one broker), `backbones` or `fusion`.

Ratios come first, because machines differ; medians of several repeats, peers and ours in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from stream_app.broker import Broker
from stream_app.promotions import Promotion, publish
from stream_app.send import publish as publish_events
from stream_app.settings import Settings
from stream_app.topics import ensure_topics
from tests.bench.backbones import backbones
from tests.bench.fusion import fusion
from tests.integration.running import Running
from tests.integration.topics import read_all
from tests.versions import untrained_version

PARTITIONS = 8


def main() -> None:
    """Runs the chosen parts and prints a line per repeat, then a table, then one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("part", choices=["throughput", "backbones", "fusion"])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, help="default: 3; for backbones and fusion 30")
    parser.add_argument("--log", help="backbones: a log of events to train on, for a column of quality; takes long")
    options = parser.parse_args()
    if options.part == "backbones":
        print(json.dumps(backbones(options)))
        return
    if options.part == "fusion":
        print(json.dumps(fusion(options)))
        return
    with tempfile.TemporaryDirectory() as directory, Broker(Path(directory) / "kafka") as broker:
        print(json.dumps(throughput(broker.bootstrap_servers, Path(directory), options)))


def throughput(brokers: str, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Events/s on a backlog: the whole pipeline beside stock Faust's bare loop."""
    base = Settings(brokers=brokers, partitions=PARTITIONS, events_topic="bench.events", data_dir=place)
    asyncio.run(ensure_topics(base))
    asyncio.run(publish_events(backlog(options), kafka=brokers, topic=base.events_topic))
    promotion = untrained_version(place / "version", options.items)
    contestants: dict[str, Callable[[int], float]] = {
        "stock Faust, bare loop": lambda n: stock_faust(base, options.events, n),
        "nextact, whole pipeline": lambda n: nextact(base, options.events, n, place, promotion),
        "nextact, rules only (before the first model)": lambda n: nextact(base, options.events, n, place, None),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    repeats = options.repeats or 3
    for number in range(repeats):
        for name, run in contestants.items():
            rates[name].append(run(number))
            print(f"{number + 1}/{repeats}  {name:45} {rates[name][-1]:10,.0f} events/s", flush=True)
    return table(rates)


def table(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Prints ratios to the first contestant, medians and spreads; returns the same."""
    baseline = median(next(iter(rates.values())))
    found = {}
    print(f"\n{'ratio':>7} {'median':>12} {'min':>12} {'max':>12}  events/s")
    for name, values in rates.items():
        middle = median(values)
        print(f"{middle / baseline:7.2f} {middle:12,.0f} {min(values):12,.0f} {max(values):12,.0f}  {name}")
        found[name] = {"ratio": round(middle / baseline, 3), "median": round(middle), "runs": list(map(round, values))}
    return found


def backlog(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Uniform users and items: no cache helps anybody. About 120 bytes an event."""
    rng = random.Random(1)
    for number in range(options.events):
        yield {
            "user_id": f"user-{rng.randrange(options.users)}",
            "type": rng.choice(("view", "view", "click", "cart")),
            "item_id": f"item-{rng.randrange(options.items)}",
            "event_id": f"{number:012x}",
            "price": 19.9,
        }


def stock_faust(settings: Settings, events: int, number: int) -> float:
    command = [sys.executable, "-m", "tests.bench.stock_faust", settings.brokers, settings.events_topic, str(events)]
    done = subprocess.run([*command, f"stock-{number}"], capture_output=True, text=True, check=True, timeout=300)
    return float(done.stdout.split()[-1])


def nextact(base: Settings, events: int, number: int, place: Path, promotion: Promotion | None) -> float:
    """A worker on fresh topics; from its first prediction record to its last."""
    prefix = f"bench-{number}-{'model' if promotion else 'rules'}"
    names = ("predictions_topic", "dead_letters_topic", "state_topic", "models_topic", "group")
    settings = base.model_copy(update={name: f"{prefix}.{name}" for name in names})
    asyncio.run(ensure_topics(settings))
    if promotion:
        asyncio.run(publish(promotion, settings))
    worker = Running(("worker",), settings, place / f"{prefix}.log")
    try:
        worker.wait_until(
            lambda: worker.metric("nextact_predictions_total", "model" if promotion else "rules") >= events, 300
        )
    finally:
        worker.terminate()
    times: list[int] = [record.timestamp for record in read_all(settings, settings.predictions_topic)]
    assert len(times) == events, f"{len(times)} predictions of {events} events"
    return events / (max(times) - min(times)) * 1000


if __name__ == "__main__":
    main()
