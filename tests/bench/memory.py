"""What a round's memory does when the history is ten times its budget: `python -m tests.bench.memory`.

A history of Parquet files is made, and a round on it is run in a process of its own, once on a history as large as the
budget allows and once on one whose columns would take ten times the budget in memory. What counts is the peak of
anonymous memory (RssAnon) above that of the process before the round; a small round comes first, so that what PyTorch
and the compiled loops take once is there by then. Some 40 MiB of the peak are those of any round: the network, batches,
the candidates of examples. All batches are made, but one in 20 is learned from: the others take time and no other
memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import click
import numpy as np
import pyarrow as pa
import torch

from model.data.batches import Batch
from model.data.disk_log import TrainingWindow
from model.data.events import EVENT_TYPES
from model.rounds.fit_model import FitModelConfig
from model.rounds.training_round import RoundConfig, train_round
from model.training.fit_network import TrainConfig, _Optimization
from model.training.losses import Losses
from stream_app.history.event_history import EventHistory
from stream_app.history.files import Span, Stream
from stream_app.history.storage import HistoryStorage
from stream_app.history.tables import SCHEMA
from stream_app.settings import Settings
from stream_app.trainer.training_window import training_window

MIB: Final = 1 << 20
COLUMNS: Final = 77  # bytes of an action as `Actions` and as `Sequences`, its texts left out
_FILE: Final = 200_000  # events
_NOON: Final = 1_767_355_200_000
_CONFIG: Final = RoundConfig(
    hidden=16,
    fitting=FitModelConfig(from_scratch=False, train=TrainConfig(least_epochs=1, most_epochs=1, batch_tokens=512)),
)
# glibc would keep large arrays that were freed for later ones, and count them as memory of the process.
_ENVIRONMENT: Final = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
_steps: Final = _Optimization.steps


@click.command()
@click.option("--budget", default=64, show_default=True, help="MiB: NEXTACT_TRAIN_MEMORY.")
@click.option("--times", default=10, show_default=True, help="How many budgets the columns would take in memory.")
@click.option("--items", default=500, show_default=True)
@click.option("--one", type=click.Path(path_type=Path), hidden=True, help="Measure a round on this history, here.")
def main(budget: int, times: int, items: int, one: Path | None) -> None:
    """Prints a line per round and one JSON object."""
    if one is not None:
        click.echo(json.dumps(_measured(one, budget)))
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for share in (1, times):
            place = Path(folder) / str(share)
            make_history(place, share * budget * MIB // COLUMNS, items)
            found.append(_in_a_process(place, budget, items))
            click.echo(_line(found[-1], budget), err=True)
    click.echo(json.dumps(found))
    if found[-1]["peak_mib"] > found[0]["peak_mib"] + budget / 4:
        sys.exit("the memory of a round grows with the history")


def _line(row: dict[str, Any], budget: int) -> str:
    return (
        f"{row['events']:>10,} events, {row['columns_mib']:7.1f} MiB of columns, budget {budget} MiB, {row['parts']:4} "
        f"parts: peak {row['peak_mib']:7.1f} MiB above {row['before_mib']:.1f} MiB, {row['seconds']:.0f} s"
    )


def _in_a_process(place: Path, budget: int, items: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.memory", "--budget", str(budget), "--items", str(items)]
    done = subprocess.run(
        [*command, "--one", str(place)], check=True, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measured(place: Path, budget: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    settings = Settings(train_memory=budget, train_max_events=10**9, data_dir=place.with_suffix(".data"))
    _round(place, settings.model_copy(update={"train_max_events": 20_000}))
    before, begun = _anonymous(), time.perf_counter()
    with Peak() as peak:
        window = _round(place, settings)
    return {
        "events": len(window.log),
        "columns_mib": round(len(window.log) * COLUMNS / MIB, 1),
        "parts": window.log.part_count,
        "before_mib": round(before / MIB, 1),
        "peak_mib": round((peak.bytes - before) / MIB, 1),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def _round(place: Path, settings: Settings) -> TrainingWindow:
    with closing(EventHistory(HistoryStorage(str(place)))) as history, ExitStack() as files:
        window = training_window(history, settings, files, history.newest)
        with patch.object(_Optimization, "steps", _one_in_20):
            train_round(window, None, _CONFIG, device=torch.device("cpu"), clock=time.thread_time)
        return window


def _one_in_20(optimization: _Optimization, batches: Iterator[Batch]) -> Iterator[dict[str, float]]:
    for number, batch in enumerate(batches):
        if number % 20 == 0:
            yield from _steps(optimization, iter([batch]))
        else:
            yield dict.fromkeys(Losses.__slots__, 0.0)


class Peak:
    """The most anonymous memory of this process while it is looked at, every 10 ms."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.bytes = max(self.bytes, _anonymous())


def _anonymous() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not say how much anonymous memory a process has")


def make_history(place: Path, events: int, items: int) -> None:
    """Users of about twenty events each, who go on from item to item; in order of time."""
    rng = np.random.default_rng(1)
    history = EventHistory(HistoryStorage(str(place)))
    stream, last = Stream("bench", "shop.events", 1), np.zeros(max(1, events // 20), np.int64)
    for first in range(0, events, _FILE):
        count = min(_FILE, events - first)
        rows = _rows(rng, first, count, items, last)
        history.append([rows], stream, {0: Span(first, first + count)}, written=_NOON + first + count)
    history.close()


def _rows(rng: np.random.Generator, first: int, count: int, items: int, last: np.ndarray[Any, Any]) -> pa.RecordBatch:
    users = rng.integers(0, len(last), count)
    jumps = np.where(rng.random(count) < 0.3, rng.integers(0, items, count), rng.integers(1, 4, count))
    last[users] = chosen = (last[users] + jumps) % items
    kinds = rng.choice(["view", "click", "cart", "purchase"], count, p=[0.6, 0.3, 0.08, 0.02])
    assert set(kinds) <= set(EVENT_TYPES)
    moments = pa.array(_NOON + 100 * np.arange(first, first + count)).cast(pa.timestamp("ms", tz="UTC"))
    columns: dict[str, Any] = {name: pa.nulls(count, SCHEMA.field(name).type) for name in SCHEMA.names}
    columns |= {
        "partition": pa.array(np.zeros(count, np.int32)),
        "offset": pa.array(np.arange(first, first + count)),
        "line": pa.array(np.zeros(count, np.uint16)),
        "record_time": moments,
        "time": moments,
        "user_id": pa.array([f"user-{user}" for user in users.tolist()]),
        "type": pa.array(kinds.tolist()),
        "item_id": pa.array([f"item-{item}" for item in chosen.tolist()]),
        "category": pa.array([f"c{item % 20}" for item in chosen.tolist()]),
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


if __name__ == "__main__":
    main()
