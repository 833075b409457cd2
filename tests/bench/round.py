"""A round of training on many items: seconds of each stage, the most memory, the bytes of the version it makes.

`python -m tests.bench round --items 1000000 --actions 300000`. Two rounds one after the other: the first
version, and one that starts from it. Then events/s of training on logs of long and of short histories.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from model.data.disk_log import TrainingWindow
from model.data.events import Event, actions_of
from model.data.sequences import sequences_of
from model.rounds.training_round import Round, RoundConfig, train_round
from model.training.checkpoints import Checkpoints
from model.training.fit_run import Progress
from model.versions.version import VersionContents, load, save
from tests.bench.compare import clock_of
from tests.bench.made_up import LAST_TIME, PER_SESSION, STRIDE
from tests.bench.training_rates import training_rates

ACTIONS: Final = 300_000
_MIB: Final = 1 << 20
_BETWEEN: Final = 5_000  # ms from one action of a session to the next


@dataclass(slots=True)
class _Stages:
    """Seconds by what a round was doing, as its progress tells; what comes before a stage's first step is its own."""

    seconds: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _since: float = field(default_factory=time.perf_counter)

    def __call__(self, stage: str, step: Progress) -> None:
        self.pass_to(stage if step.step > 1 else f"before {stage}")

    def pass_to(self, stage: str) -> None:
        """Adds the time since the last call to what has just ended."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now


def round_of(options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns the figures of two rounds, and the rates of training."""
    device, actions = torch.device(options.device), round(options.actions or ACTIONS)
    window, found = _window(options.items, actions), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="nextact-round-") as folder:
        champion = None
        for number in ("first", "second"):
            result, figures = _measured(window, champion, device, Path(folder))
            version = Path(folder) / number
            found[number] = figures | {"version_mib": _saved(result, version)}
            _print(number, found[number])
            champion = load(str(version))
    return found | {"events_per_second": training_rates(options)}


def _measured(
    window: TrainingWindow, champion: Any, device: torch.device, folder: Path
) -> tuple[Round, dict[str, Any]]:
    stages, processor, begun = _Stages(), time.process_time(), time.perf_counter()
    checkpoints = Checkpoints(folder / "checkpoints")
    result = train_round(
        window, champion, RoundConfig(), device=device, clock=clock_of(device), progress=stages, checkpoints=checkpoints
    )
    stages.pass_to("after the last step")
    checkpoints.clear()
    return result, {
        "seconds": round(time.perf_counter() - begun, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "stages": {name: round(seconds, 1) for name, seconds in stages.seconds.items()},
        "promoted": result.verdict.promoted,
    }


def _window(items: int, actions: int) -> TrainingWindow:
    """The newest actions of a shop that sells so many items."""
    users = actions // PER_SESSION
    events, times = zip(*_events(items, users), strict=True)
    log = actions_of(events, times)
    return TrainingWindow(sequences_of(log), [f"item-{number}" for number in range(items)], log)


def _events(items: int, users: int) -> Iterator[tuple[Event, int]]:
    """Sessions that begin at a popular item and go on nearby; one in ten ends with a purchase. With times in ms."""
    rng = np.random.default_rng(1)
    for user in range(users):
        first, began = int(items * rng.random() ** 3), LAST_TIME + 1_000 * user
        for step, place in enumerate((first + np.cumsum(rng.integers(0, STRIDE, PER_SESSION))) % items):
            kind = "purchase" if step == PER_SESSION - 1 and user % 10 == 0 else "view"
            category = f"category-{place // STRIDE % 200}"
            event = Event(user_id=f"user-{user}", type=kind, item_id=f"item-{place}", category=category)
            yield event, began + _BETWEEN * step


def _saved(result: Round, path: Path) -> dict[str, float]:
    """Saves the version; returns MiB by file."""
    model = result.model
    contents = VersionContents(
        name=path.name,
        created="2026-01-01T00:00:00+00:00",
        network=model.network,
        vocabulary=model.vocabulary,
        calibration=model.calibration,
        fusion=model.fusion,
        metrics=result.metrics(),
        facts={"trained_until": result.trained_until},
    )
    save(str(path), contents)
    return {file.name: round(file.stat().st_size / _MIB, 1) for file in sorted(path.iterdir())}


def _print(number: str, found: dict[str, Any]) -> None:
    print(
        f"\n{number} round: {found['seconds']:.0f} s ({found['processor_seconds']:.0f} s of processors), "
        f"at most {found['peak_mib']:,} MiB; {'promoted' if found['promoted'] else 'not promoted'}"
    )
    for stage, seconds in found["stages"].items():
        print(f"  {stage:32} {seconds:8.1f} s")
    files = found["version_mib"]
    print(f"  version: {sum(files.values()):.0f} MiB, " + ", ".join(f"{name} {size}" for name, size in files.items()))
