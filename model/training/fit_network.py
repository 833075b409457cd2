"""Fits a network to sequences: Adam (Kingma and Ba, 2015), a warm-up, a linear decay, and that is all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.data.batches import Batch, batch_count, batches
from model.data.event_log import EventLog, PartedLog, parts, sampled_times
from model.data.targets import Targets, targets_of
from model.data.vocabulary import ITEM_BUCKETS, Tokens, Vocabulary
from model.errors import NextactError, TooLittleData
from model.kernels.cuda import tensor_cores
from model.network.network import Network, NetworkConfig
from model.training.checkpoints import Checkpoint
from model.training.item_attributes import learn_item_attributes
from model.training.losses import Losses, Popularity, Recency, losses_of
from model.training.replicas import BroadcastLog, all_reduce_sum, broadcast, rank, replicas, shard_rows, wrap_ddp
from model.training.training_state import TrainingProgress, TrainingState


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to fit."""

    actions: int = 100_000  # to go through in all: small logs are repeated more often than large ones
    least_epochs: int = 4
    most_epochs: int = 20
    batch_tokens: int = 2048
    least_batches: int = 200  # of an epoch: small logs are taken in smaller batches
    learning_rate: float = 4e-3
    embedding_rate: float = 4.0  # times that for tables: most rows are touched in few steps and have as far to go
    half_life: float = 0.4  # of an action's weight as a target, in shares of the log: the newest weigh most
    side_weight: float = 0.3  # of all losses but the next item's, which start to overfit long before it
    warm_up: float = 0.05  # share of the steps
    clip: float = 1.0  # norm of the gradient
    bucket_share: float = 0.05  # of items read as their hash bucket: buckets learn to stand for unseen items
    least_targets: int = 50

    def tokens(self, actions: int) -> int:
        """Steps of a batch for a log of so many actions."""
        return min(self.batch_tokens, max(128, actions // self.least_batches))

    def epochs(self, actions: int) -> int:
        """How often to go through a log of so many actions."""
        return min(self.most_epochs, max(self.least_epochs, round(self.actions / max(1, actions))))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after a step."""

    step: int
    steps: int  # in all
    losses: dict[str, float]  # of this step, by the names in `Losses`


@dataclass(frozen=True, slots=True)
class FitReport:
    """What training did."""

    epochs: int
    steps: int
    actions: int
    losses: dict[str, float]  # means over the last epoch


def fit_network(
    network: Network,
    vocabulary: Vocabulary,
    log: EventLog,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    progress: Callable[[Progress], None] = lambda _: None,
    after_epoch: Callable[[], None] = lambda: None,
    savepoint: Checkpoint | None = None,
) -> FitReport:
    """Trains `network` in place; it ends on `device`, in evaluation mode. On a CPU a seed fixes the result.

    `progress` is called after every step, and what it raises ends the training; `after_epoch` finds the network in
    evaluation mode. With a `savepoint` it goes on behind the last epoch that was saved there, and saves every epoch.
    Where several processes train together, this is the first one, the others `join_as_replica`; nothing is saved then.
    Raises `TooLittleData`, and `NextactError` when a loss is not a number any more.
    """
    parted: PartedLog = log
    if replicas() > 1:
        parted = BroadcastLog(len(log), log.part_count, log)
        broadcast(
            _Job(network.config, network.cpu().state_dict(), vocabulary.items, len(log), log.part_count, config, seed)
        )
        savepoint = None  # the others would have to go on from there, too
    return _fit(
        network,
        vocabulary,
        parted,
        config,
        seed=seed,
        device=device,
        progress=progress,
        after_epoch=after_epoch,
        savepoint=savepoint,
    )


def join_as_replica(device: torch.device) -> None:
    """Takes part in every `fit_network` of the first process, until that one calls `release_replicas`."""
    while (job := broadcast()) is not None:
        network = Network(job.network)
        network.load_state_dict(job.weights)
        log = BroadcastLog(job.actions, job.part_count)
        with suppress(NextactError):  # the first process has raised it, too
            _fit(network, Vocabulary(job.items), log, job.config, seed=job.seed, device=device)


def release_replicas() -> None:
    """Ends what the other processes do in `join_as_replica`; there must be no fit at work."""
    broadcast(None)


@dataclass(frozen=True, slots=True)
class _Job:
    """What the other processes need to know to take part in a fit."""

    network: NetworkConfig
    weights: dict[str, Tensor]
    items: tuple[str, ...]
    actions: int
    part_count: int
    config: TrainConfig
    seed: int


def _fit(
    network: Network,
    vocabulary: Vocabulary,
    log: PartedLog,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    progress: Callable[[Progress], None] = lambda _: None,
    after_epoch: Callable[[], None] = lambda: None,
    savepoint: Checkpoint | None = None,
) -> FitReport:
    counts = _target_counts(log, vocabulary, config.least_targets)
    learn_item_attributes(network, vocabulary, log)
    epochs, tokens = config.epochs(len(log)), config.tokens(len(log))
    steps = epochs * batch_count(log, tokens)
    randomness = np.random.default_rng(seed)
    # Dropout draws from torch's global generators, which are the caller's: they are put back at the end.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), tensor_cores():
        torch.manual_seed(seed + rank())  # what is dropped out is drawn for each share anew
        recency = Recency(sampled_times(log), config.half_life)
        descent = _Optimization(network.to(device).train(), vocabulary, counts, recency, config, steps, seed)
        state = descent.state(randomness)
        reached = state.restore(savepoint) if savepoint else TrainingProgress()
        step, sums = reached.step, reached.losses
        for epoch in range(reached.epochs, epochs):
            sums = {}
            for losses in descent.steps(batches(log, tokens=tokens, randomness=randomness)):
                step += 1
                _check_losses(losses, step)
                progress(Progress(step, steps, losses))
                sums = {name: sums.get(name, 0.0) + loss * epochs / steps for name, loss in losses.items()}
            network.eval()
            after_epoch()
            network.train()
            if savepoint:
                state.save(savepoint, TrainingProgress(epoch + 1, step, sums))
    network.eval()
    return FitReport(epochs, steps, epochs * len(log), sums)


class _Inputs(NamedTuple):
    """What a step of the optimizer reads: tokens on the device, and on the host what is looked up before."""

    tokens: Tokens  # (B, T)
    targets: Targets
    weights: Tensor  # (B, T)


class _Optimization:
    """A network on its way down the losses."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        counts: NDArray[np.int64],
        recency: Recency,
        config: TrainConfig,
        steps: int,
        seed: int,
    ) -> None:
        self._network = network
        self._vocabulary = vocabulary
        self._recency = recency
        self._config = config
        self._device = network.items.weight.device
        self._generator = torch.Generator().manual_seed(seed)
        self._objective = wrap_ddp(_Objective(network, Popularity(counts), self._generator))
        self._optimizer, self._schedule = descent_of(network, config, steps)

    def state(self, randomness: np.random.Generator) -> TrainingState:
        """What changes on the way; `randomness` draws the batches."""
        return TrainingState(self._network, self._optimizer, self._schedule, self._generator, randomness, self._device)

    def steps(self, batches: Iterator[Batch]) -> Iterator[dict[str, float]]:
        """A step of the optimizer for each batch; the losses before it.

        A GPU is given a step and computes it while the next batch is made ready here and copied.
        """
        ready = map(self._inputs, batches)
        upcoming = next(ready, None)
        while upcoming is not None:
            losses = self._step(upcoming)
            upcoming = next(ready, None)
            yield losses.values()

    def _inputs(self, batch: Batch) -> _Inputs:
        tokens = self._vocabulary.tokens(batch.item_keys, batch.contexts)
        return _Inputs(
            self._with_buckets(tokens, batch).to(self._device),
            targets_of(batch, self._vocabulary, torch.device("cpu")),
            torch.from_numpy(self._recency.weights(batch.next_times)),
        )

    def _step(self, inputs: _Inputs) -> Losses:
        losses = Losses(*self._objective(inputs.tokens, inputs.targets, inputs.weights))
        self._optimizer.zero_grad(set_to_none=True)
        # The shares' losses add up to that of the batch, but of their gradients it is the mean that is taken.
        (losses.total(self._config.side_weight) * replicas()).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), self._config.clip)
        self._optimizer.step()
        self._schedule.step()
        return Losses(*all_reduce_sum(losses.stacked().detach()))

    def _with_buckets(self, tokens: Tokens, batch: Batch) -> Tokens:
        """Tokens with a random share of the items replaced by their hash buckets."""
        buckets = torch.from_numpy((batch.item_keys % np.uint64(ITEM_BUCKETS)).astype(np.int64))
        replaced = torch.rand(tokens.items.shape, generator=self._generator) < self._config.bucket_share
        return replace(tokens, items=torch.where(replaced & (~tokens.searches), buckets, tokens.items))


class _Objective(nn.Module):
    """The losses (4,) of this process's share of a batch; every process is given the whole batch."""

    def __init__(self, network: Network, popularity: Popularity, generator: torch.Generator) -> None:
        super().__init__()
        self.network = network
        self._popularity = popularity
        self._generator = generator

    def forward(self, tokens: Tokens, targets: Targets, weights: Tensor) -> Tensor:
        rows = shard_rows(len(weights)) if replicas() > 1 else None
        # All processes draw the same candidates, for the next items of the whole batch.
        losses = losses_of(self.network, tokens, targets, weights, self._popularity, self._generator, rows)
        return losses.stacked()


def descent_of(
    network: Network, config: TrainConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Adam, with a rate of its own for embeddings, and its schedule for so many steps."""
    tables = [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]
    others = [weight for weight in network.parameters() if all(weight is not table for table in tables)]
    rate, warm_up = config.learning_rate, max(1, round(config.warm_up * steps))
    groups: list[dict[str, Any]] = [{"params": others}, {"params": tables, "lr": rate * config.embedding_rate}]
    optimizer = torch.optim.Adam(groups, lr=rate, fused=True)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )


def _target_counts(log: PartedLog, vocabulary: Vocabulary, least: int) -> NDArray[np.int64]:
    """How often each item of the vocabulary (I,) follows another action of its user."""
    counts = np.zeros(len(vocabulary), np.int64)
    for part in parts(log):
        rows = vocabulary.rows_of(part.item_keys[part.targets_from()])
        counts += np.bincount(rows, minlength=vocabulary.rows)[ITEM_BUCKETS:]
    if counts.sum() < least or len(vocabulary) < 2:
        raise TooLittleData(
            f"{counts.sum()} actions on {len(vocabulary)} known items follow another of their user; training "
            f"needs {least} on 2 items: collect more events"
        )
    return counts


def _check_losses(losses: dict[str, float], step: int) -> None:
    if not all(map(math.isfinite, losses.values())):
        raise NextactError(f"training left the numbers at step {step}: {losses}; lower the learning rate")
