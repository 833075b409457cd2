"""Backbones side by side: `python -m tests.bench backbones`, with `--log FILE` also how good each is.

Speed: one thread, the default sizes, an untrained network: what it knows does not matter. Contestants run in turn,
and processor time is reported, medians and minima. Quality: full ranking of the newest tenth of a log's next items by
the network alone, trained on what came before; the same recipe, split and seed for all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from model.data.events import Actions
from model.data.sequences import frequent_items, sequences_of
from model.data.vocabulary import Tokens, Vocabulary
from model.evaluation.ranking import ranking
from model.network.backbones import BACKBONES, MakeBackbone
from model.network.network import Network, NetworkConfig
from model.training.fit_network import TrainConfig, fit_network
from model.training.fit_run import FitRun
from stream_app.offline.event_files import EventFile
from stream_app.offline.log_reader import LogReader
from tests.bench.recipe import CPU, ranks
from tests.bench.transformer import Transformer

BATCH = 64
READ_AGAIN = (50, 200)  # events
STEPS = 20  # in a row: a worker that is busy has its weights in the cache
HELD_OUT = 0.1  # newest share of the log
CONTESTANTS: Final[dict[str, MakeBackbone]] = {str(name): make for name, make in BACKBONES.items()} | {
    "transformer": Transformer
}

HEADER = f"{'us per event':12} {'step':>8} {'least':>8} {'bytes':>8} " + " ".join(
    f"{f'{n} again':>16}" for n in READ_AGAIN
)
QUALITY = f" {'Recall@20':>12} {'MRR@20':>8} {'training':>8}"


def backbones(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a table and returns it: microseconds per event, bytes of state per user; where asked, quality."""
    torch.set_num_threads(1)
    vocabulary = Vocabulary([f"item-{number}" for number in range(options.items)])
    networks = {name: new_network(name, options.items) for name in CONTESTANTS}
    seconds = _in_turn(_contestants(networks, vocabulary), options.repeats or 30)
    actions = _actions(options.log) if options.log else None
    found: dict[str, Any] = {}
    print(HEADER + (QUALITY if actions else ""))
    for name, network in networks.items():
        found[name] = _row(network, seconds, name) | (_quality(name, actions) if actions else {})
        print(_line(name, found[name]), flush=True)
    return found


def new_network(name: str, items: int) -> Network:
    """Makes an untrained network of the default sizes, with the backbone of a contestant."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Network(NetworkConfig(items=items), CONTESTANTS[name]).eval()


def _contestants(networks: dict[str, Network], vocabulary: Vocabulary) -> dict[tuple[str, int], Any]:
    """By backbone and events read: 0, one step from a kept state; else so many from nothing, for one prediction."""
    found: dict[tuple[str, int], Callable[[], object]] = {}
    for name, network in networks.items():
        state = network(_tokens(vocabulary, 64))[0][:, -1].contiguous()
        found[name, 0] = _step(network, _tokens(vocabulary), state)
        for events in READ_AGAIN:
            found[name, events] = _forward(network, _tokens(vocabulary, events))
    return found


def _step(network: Network, tokens: Tokens, state: Tensor) -> Callable[[], object]:
    return lambda: network.step(tokens, state)


def _forward(network: Network, tokens: Tokens) -> Callable[[], object]:
    return lambda: network(tokens)


def _tokens(vocabulary: Vocabulary, *steps: int) -> Tokens:
    """Views of items, a batch of them; of so many steps each."""
    item_keys = np.random.default_rng(1).integers(1, 2**63, (BATCH, *steps), dtype=np.uint64)
    return vocabulary.tokens(item_keys, np.full((BATCH, *steps), 2, np.uint32))


@dataclass(frozen=True, slots=True)
class Seconds:
    """What a call took."""

    median: float
    least: float  # without what other processes push out of the caches


@torch.inference_mode()
def _in_turn(contestants: dict[tuple[str, int], Callable[[], object]], repeats: int) -> dict[tuple[str, int], Seconds]:
    times: dict[tuple[str, int], list[float]] = {key: [] for key in contestants}
    for _ in range(repeats):
        for key, run in contestants.items():
            times[key] += [_processor_time(run) for _ in range(1 if key[1] else STEPS)]
    return {key: Seconds(median(several), min(several)) for key, several in times.items()}


def _processor_time(run: Callable[[], object]) -> float:
    """Seconds of this thread: what else the machine does counts for little."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def _row(network: Network, seconds: dict[tuple[str, int], Seconds], name: str) -> dict[str, float]:
    step = seconds[name, 0]
    row = {
        "step_us_per_event": 1e6 * step.median / BATCH,
        "step_us_per_event_least": 1e6 * step.least / BATCH,
        "state_bytes": 2 * network.backbone.state_size,
    }
    for events in READ_AGAIN:
        row[f"again_{events}_us_per_event"] = 1e6 * seconds[name, events].median / BATCH
        row[f"again_{events}_ratio"] = seconds[name, events].median / step.median
    return {key: round(value, 2) for key, value in row.items()}


def _line(name: str, row: dict[str, float]) -> str:
    step = f"{row['step_us_per_event']:8.1f} {row['step_us_per_event_least']:8.1f}"
    again = " ".join(f"{row[f'again_{n}_us_per_event']:8.0f} = {row[f'again_{n}_ratio']:4.0f}x" for n in READ_AGAIN)
    quality = ""
    if "recall_at_20" in row:
        quality = f"{row['recall_at_20']:12.4f} {row['mrr_at_20']:8.4f} {row['training_seconds']:8.0f}"
    return f"{name:12} {step} {row['state_bytes']:8,.0f} {again} {quality}"


def _actions(path: str) -> Actions:
    """The events of a file in order of time, with columns named as the contract's fields; JData's types too."""
    return LogReader().read([EventFile(path, types={"follow": "favorite", "comment": None})])


def _quality(name: str, actions: Actions) -> dict[str, float]:
    sequences = sequences_of(actions)
    cut = sequences.newest(HELD_OUT)
    vocabulary = Vocabulary(frequent_items(actions.take(np.flatnonzero(actions.times < cut))))
    start = time.thread_time()
    network = new_network(name, len(vocabulary))
    fit_network(network, vocabulary, sequences.before(cut), TrainConfig(), FitRun(CPU, 1))
    seconds = time.thread_time() - start
    found = ranking(ranks(network, vocabulary, sequences, cut))
    return {"recall_at_20": found.recall[20], "mrr_at_20": found.mrr[20], "training_seconds": round(seconds, 1)}
