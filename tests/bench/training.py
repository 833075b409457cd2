"""Events/s of `fit_network`, beside the same with a softmax over all items in the place of a sample of them.

`--units 224 --batch 80` are the sizes that GRU4Rec's figures were published for; its batch is of so many sequences,
each one step on, as ours is of so many steps. More steps at once are faster on a GPU, which waits for its host.
Processor time on the CPU, seconds on a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

import torch

from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.network.network import NetworkConfig
from model.rounds.initial_network import cold_start
from model.training.fit_network import TrainConfig, fit_network
from model.training.fit_run import FitRun
from tests.bench.compare import Ratio, clock_of, in_turn, seconds, show
from tests.bench.made_up import named, sessions

SAMPLED: Final = "fit, a sample of the items"
FULL: Final = "fit, all items"


def training(options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns events/s; one epoch of the log in each repeat."""
    vocabulary = named(options.items)
    log = sessions(vocabulary, options.train_events)
    config = TrainConfig(least_epochs=1, most_epochs=1)
    if options.batch:
        config = replace(config, batch_tokens=options.batch, least_batches=1)
    network = NetworkConfig(items=options.items, width=options.units, hidden=options.units)
    print(
        f"{len(log):,} events, {options.items:,} items, {options.units} units, {config.tokens(len(log))} steps a batch"
    )

    def run(change: Callable[[], AbstractContextManager[object]]) -> float:
        return len(log) / _seconds(network, vocabulary, log, config, torch.device(options.device), change)

    def full() -> AbstractContextManager[object]:
        return patch("model.training.losses.FULL_SOFTMAX_ITEMS", options.items)

    runs = {FULL: lambda: run(full), SAMPLED: lambda: run(nullcontext)}
    return show(in_turn(runs, options.repeats or 3), "events/s", (Ratio(SAMPLED, FULL),))


def _seconds(
    config: NetworkConfig,
    vocabulary: Vocabulary,
    log: Sequences,
    train: TrainConfig,
    device: torch.device,
    change: Callable[[], AbstractContextManager[object]],
) -> float:
    network = cold_start(config, seed=1).to(device)
    with change():
        return seconds(lambda: fit_network(network, vocabulary, log, train, FitRun(device, 1)), clock_of(device))
