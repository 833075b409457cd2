"""What a step costs beside reading a user's last events again: `python -m tests.bench backbones`.

One thread, the default sizes, an untrained network: what it knows does not matter to speed. Contestants run in turn,
and medians of processor time are reported; with `--log` also how good each is after a round on a log of events.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from model.backbones import BackboneName
from model.events import Actions, Event, actions_of
from model.network import Network, NetworkConfig
from model.rounds import RoundConfig, train_round
from model.train import cold_start
from model.vocabulary import Tokens, Vocabulary
from stream_app.read_events import EventLog

BATCH = 64
READ_AGAIN = (50, 200)  # events
STEPS = 20  # in a row: a worker that is busy has its weights in the cache
NAMES: tuple[BackboneName, ...] = get_args(BackboneName)


def backbones(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a table and returns it: microseconds per event, bytes of state per user, and Recall@20 where asked."""
    torch.set_num_threads(1)
    vocabulary = Vocabulary([f"item-{number}" for number in range(options.items)])
    networks = {name: _network(name, options.items) for name in NAMES}
    seconds = _in_turn(_contestants(networks, vocabulary), options.repeats or 30)
    actions = _actions(options.log) if options.log else None
    found: dict[str, Any] = {}
    print(f"{'backbone':12} {'step':>9} {'bytes':>7} " + " ".join(f"{f'{n} again':>16}" for n in READ_AGAIN))
    for name, network in networks.items():
        row = _row(network, seconds, name)
        print(_line(name, row), flush=True)
        if actions is not None:
            row |= _quality(name, actions)
            print(f"{'':12} Recall@20 {row['recall_at_20']:.4f} after {row['training_seconds']:.0f} s", flush=True)
        found[name] = row
    return found


def _network(name: BackboneName, items: int) -> Network:
    return cold_start(NetworkConfig(items=items, backbone=name), seed=1).eval()


def _contestants(networks: dict[BackboneName, Network], vocabulary: Vocabulary) -> dict[tuple[str, int], Any]:
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
    objects = np.random.default_rng(1).integers(1, 2**63, (BATCH, *steps), dtype=np.uint64)
    return vocabulary.tokens(objects, np.full((BATCH, *steps), 2, np.uint32))


@torch.inference_mode()
def _in_turn(contestants: dict[tuple[str, int], Callable[[], object]], repeats: int) -> dict[tuple[str, int], float]:
    """Median seconds of a call of each."""
    times: dict[tuple[str, int], list[float]] = {key: [] for key in contestants}
    for _ in range(repeats):
        for key, run in contestants.items():
            times[key] += [_processor_time(run) for _ in range(1 if key[1] else STEPS)]
    return {key: median(several) for key, several in times.items()}


def _processor_time(run: Callable[[], object]) -> float:
    """Seconds of this thread: what else the machine does counts for little."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def _row(network: Network, seconds: dict[tuple[str, int], float], name: str) -> dict[str, float]:
    step = seconds[name, 0]
    row = {"step_us_per_event": 1e6 * step / BATCH, "state_bytes": 2 * network.backbone.state_size}
    for events in READ_AGAIN:
        row[f"again_{events}_us_per_event"] = 1e6 * seconds[name, events] / BATCH
        row[f"again_{events}_ratio"] = seconds[name, events] / step
    return {key: round(value, 2) for key, value in row.items()}


def _line(name: str, row: dict[str, float]) -> str:
    again = " ".join(f"{row[f'again_{n}_us_per_event']:8.0f} = {row[f'again_{n}_ratio']:4.0f}x" for n in READ_AGAIN)
    return f"{name:12} {row['step_us_per_event']:6.1f} us {row['state_bytes']:7.0f} {again}"


def _actions(path: str) -> Actions:
    """The events of a file in order of time, with columns named as the contract's fields; JData's types too."""
    rows = list(EventLog(path, types={"follow": "favorite", "comment": None}))
    times = [int(row.pop("timestamp")) for row in rows]
    return actions_of([Event(**row) for row in rows], times)


def _quality(name: BackboneName, actions: Actions) -> dict[str, float]:
    start = time.perf_counter()
    round_ = train_round(actions, None, RoundConfig(backbone=name), device=torch.device("cpu"), clock=time.thread_time)
    seconds = time.perf_counter() - start
    return {"recall_at_20": round_.challenger.network.recall[20], "training_seconds": round(seconds, 1)}
