"""Whether a trainer's memory is flat over its rounds: `python -m tests.bench.rounds --rounds 50`.

A real trainer beside a real broker and a simulated shop, with a small network and few events, so that a round is over
in seconds. Prints the resident memory after every round, and how it grew after the warm-up, in which caches, pools and
compiled loops get their size. Exits with 1 when that is more than a few MiB.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings
from stream_app.trainer.metrics import ROUNDS
from tests.faults.stream import stream_settings
from tests.integration.running import Running

WARM_UP: Final = 10  # rounds
MOST_GROWTH_MIB: Final = 8.0
_LONGEST_ROUND_S: Final = 120.0


def small(settings: Settings) -> Settings:
    """Short rounds, one after the other."""
    return settings.model_copy(
        update={"train_every": 0.1, "train_min_events": 10, "train_max_events": 2000, "hidden": 8, "registry_keep": 3}
    )


def weigh(settings: Settings, place: Path, rounds: int) -> list[float]:
    """MiB after each round; prints a line for it."""
    with ExitStack() as ending:

        def start(*command: str) -> Running:
            running = Running(command, settings, place / f"{command[0]}.log")
            ending.callback(running.kill)
            return running

        assert start("simulate", "--rate", "0", "--events", "3000").wait(120) == 0
        start("simulate", "--rate", "100", "--seed", "2")
        trainer = start("trainer")
        found = list[float]()
        begun = time.monotonic()
        while len(found) < rounds:
            trainer.wait_until(lambda: rounds_of(trainer) > len(found), _LONGEST_ROUND_S)
            found.append(trainer.resident / 2**20)
            print(f"round {len(found):3}: {found[-1]:7.1f} MiB after {time.monotonic() - begun:.0f} s", flush=True)
        return found


def rounds_of(trainer: Running) -> float:
    """How many are over."""
    return sum(trainer.metric("nextact_trainer_rounds_total", outcome) for outcome in ROUNDS)


def growth(mebibytes: list[float]) -> dict[str, float]:
    """After the warm-up: median of the last five less that of the first five, and the slope, in MiB."""
    warm = np.array(mebibytes[WARM_UP:])
    slope = float(np.polyfit(np.arange(len(warm)), warm, 1)[0])
    return {"growth_mib": round(median(warm[-5:]) - median(warm[:5]), 1), "mib_per_round": round(slope, 3)}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help=f"more than {WARM_UP + 10} say something")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nextact-rounds-") as directory:
        place = Path(directory)
        with Broker(place / "kafka") as broker:
            settings = small(stream_settings(broker.bootstrap_servers, "rounds", place))
            mebibytes = weigh(settings, place, options.rounds)
    found = growth(mebibytes)
    flat = bool(found["growth_mib"] <= MOST_GROWTH_MIB)
    print(json.dumps({"rounds": len(mebibytes), **found, "flat": flat}))
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
