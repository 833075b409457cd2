"""Fits a network to sequences: Adam with warm-up and linear decay, until the epochs are over.

Shapes: B chunks of a batch, T steps, I items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batches import Batch, batches
from model.checkpoint import Version
from model.data import Sequences
from model.errors import NextactError, TooLittleData
from model.events import SEARCH, item_object
from model.losses import Losses, Popularity, Targets, losses_of
from model.network import Network, NetworkConfig
from model.vocabulary import ITEM_BUCKETS, Tokens, Vocabulary


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to fit."""

    actions: int = 300_000  # to go through in all: small logs are repeated more often than large ones
    least_epochs: int = 3
    most_epochs: int = 20
    batch_tokens: int = 1024
    learning_rate: float = 3e-3
    warm_up: float = 0.05  # share of the steps
    clip: float = 1.0  # norm of the gradient
    bucket_share: float = 0.05  # of items read as their hash bucket, so that buckets learn to stand for unseen items
    least_targets: int = 50

    def epochs(self, actions: int) -> int:
        """How often to go through a log of so many actions."""
        return min(self.most_epochs, max(self.least_epochs, round(self.actions / max(1, actions))))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after a step."""

    step: int
    steps: int  # in all, about
    losses: dict[str, float]  # of this step: item, next_type, type_given_item, purchase


@dataclass(frozen=True, slots=True)
class FitReport:
    """What training did."""

    epochs: int
    steps: int
    actions: int
    losses: dict[str, float]  # means over the last epoch


def fit(
    network: Network,
    vocabulary: Vocabulary,
    sequences: Sequences,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    progress: Callable[[Progress], None],
) -> FitReport:
    """Trains `network` in place; it ends on `device`, in evaluation mode. The same seed gives the same weights on
    a CPU.

    `progress` is called after every step; what it raises ends the training. Raises `TooLittleData`, and
    `NextactError` when the loss is not a number any more.
    """
    popularity = _popularity(sequences, vocabulary, config.least_targets)
    epochs = config.epochs(len(sequences))
    steps = epochs * sum(1 for _ in _epoch(sequences, config, None))
    network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step, steps, config.warm_up))
    randomness, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    step = 0
    # Dropout draws from torch's global generators, which are the caller's: they are put back at the end.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for _ in range(epochs):
            sums: Counter[str] = Counter()
            seen = 0
            for batch in _epoch(sequences, config, randomness):
                tokens = _with_buckets(batch, vocabulary, config.bucket_share, generator).to(device)
                targets = targets_of(batch, vocabulary, device)
                found = losses_of(network, tokens, targets, popularity, generator)
                _descend(network, optimizer, found.total, config.clip)
                schedule.step()
    network.eval()
    return FitReport(epochs, step, epochs * len(sequences), {})
