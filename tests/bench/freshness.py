"""From an event published to weights served that learned from it: `python -m tests.bench.freshness --every 120`.

Broker, worker, trainer and a simulated shop, each a process of its own, as a user starts them. A version has learned
from every event up to the time that it gives (`trained_until`), and those after the version before it are new to it.
For each promotion it prints how old the newest and the oldest of these were when the worker served it, and the
processor time that the trainer used for it, as machines are busy with other things. No version is on trial, as its time
would be what is measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from model.versions.registry import describe
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings
from tests.faults.stream import stream_settings
from tests.integration.running import Running

BOUND_S: Final = 300.0  # what is promised
WITHOUT_TRIALS: Final = {"canary_share": 0.0, "holdback_share": 0.0}
_LONGEST_S: Final = 1800.0  # from one promotion to the next


@dataclass(frozen=True, slots=True)
class Served:
    """A version that a worker began to serve, and the age of the events that are new to it, in seconds."""

    version: str
    until: float  # time of the newest event that it has learned from, since the epoch
    newest: float
    oldest: float
    processor: float  # seconds


def measure(settings: Settings, place: Path, options: argparse.Namespace) -> list[Served]:
    """Starts all of it, prints a line per version; ends what it started."""
    with ExitStack() as ending:

        def start(*command: str) -> Running:
            running = Running(command, settings, place / f"{'-'.join(command)}.log")
            ending.callback(running.kill)
            return running

        if options.history:
            assert start("simulate", "--rate", "0", "--events", str(options.history)).wait(300) == 0
        worker = start("worker")
        worker.wait_ready(120)
        trainer = start("trainer")
        start("simulate", "--rate", str(options.rate))
        served = list[Served]()
        known, since, used = "", time.time(), 0.0
        while len(served) < options.versions:
            known = next_version(worker, known)
            served.append(just_served(settings, known, since, trainer.processor_seconds - used))
            since, used = served[-1].until, trainer.processor_seconds
            print(line(served[-1]), flush=True)
        return served


def next_version(worker: Running, before: str) -> str:
    """The version that serves after another; waits for it."""
    found = set[str]()

    def serves() -> bool:
        found.update(worker.labels("nextact_model_info", "version") - {before})
        return bool(found)

    worker.wait_until(serves, _LONGEST_S)
    return found.pop()


def just_served(settings: Settings, version: str, since: float, processor: float) -> Served:
    """A version that serves now; `since`: until when the one before has learned."""
    now = time.time()
    until = float(describe(version, f"{settings.registry_address}/{version}").facts["trained_until"]) / 1000
    return Served(version, until, round(now - until, 1), round(now - since, 1), round(processor, 1))


def line(served: Served) -> str:
    """For people."""
    return (
        f"{served.version}  newest {served.newest:6.1f} s, oldest {served.oldest:6.1f} s; "
        f"{served.processor:.1f} s of processor time"
    )


def main() -> None:
    """Prints a line per version and one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.freshness", description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="live events per second")
    parser.add_argument("--history", type=int, default=20_000, help="events before that")
    parser.add_argument("--every", type=float, default=Settings().train_every, help="NEXTACT_TRAIN_EVERY, seconds")
    parser.add_argument("--versions", type=int, default=6, help="promotions to see")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nextact-freshness-") as directory:
        place = Path(directory)
        with Broker(place / "kafka") as broker:
            base = stream_settings(broker.bootstrap_servers, "freshness", place)
            served = measure(base.model_copy(update={"train_every": options.every} | WITHOUT_TRIALS), place, options)
    print(json.dumps(report(served, options.every)))


def report(served: list[Served], every: float) -> dict[str, Any]:
    """The first version has what lay there before it, so that its oldest event says nothing."""
    later = served[1:]
    return {
        "train_every": every,
        "versions": [asdict(one) for one in served],
        "newest_s": max((one.newest for one in served), default=None),
        "oldest_s": max((one.oldest for one in later), default=None),
        "mean_s": round(sum(one.newest + one.oldest for one in later) / (2 * len(later)), 1) if later else None,
        "within_bound": bool(later) and max(one.oldest for one in later) <= BOUND_S,
    }


if __name__ == "__main__":
    main()
