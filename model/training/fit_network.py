"""Fits a network to sequences: Adam (Kingma and Ba, 2015) with a warm-up and a linear decay, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.data.batches import Batch, batch_count, batches
from model.data.epochs import epochs_over
from model.data.event_log import EventLog, PartedLog, parts, sampled_times
from model.data.targets import Targets, targets_of
from model.data.vocabulary import ITEM_BUCKETS, Tokens, Vocabulary
from model.errors import NextactError, TooLittleData
from model.kernels.cuda import tensor_cores
from model.network.network import Network, NetworkConfig
from model.training.checkpoints import NO_CHECKPOINTS
from model.training.fit_run import FitRun, Progress
from model.training.item_attributes import learn_item_attributes
from model.training.losses import Losses, Popularity, Recency, Sample, losses_of
from model.training.replicas import (
    BroadcastLog,
    all_reduce_gradients,
    all_reduce_sum,
    broadcast,
    rank,
    replicas,
    shard_rows,
)
from model.training.row_adam import RowAdam
from model.training.training_state import TrainingProgress, TrainingState


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Size and pace of a fit of the network."""

    actions: int = 100_000  # in all epochs together: small logs are repeated more often than large ones
    least_epochs: int = 4
    most_epochs: int = 20
    batch_tokens: int = 2048
    least_batches: int = 200  # per epoch: small logs are cut into smaller batches
    learning_rate: float = 4e-3
    embedding_rate: float = 4.0  # times that for tables: most rows take part in few steps and have as far to go
    half_life: float = 0.4  # share of the log after which an action weighs half as much as a target
    side_weight: float = 0.3  # of all losses but the next item's: they start to overfit long before it does
    warm_up: float = 0.05  # share of the steps
    clip: float = 1.0  # largest norm of the gradient
    bucket_share: float = 0.05  # of the items read as their hash bucket: buckets learn to stand for unseen items
    least_targets: int = 50  # next actions on known items; fewer are too little to learn from

    def tokens(self, actions: int) -> int:
        """Returns the tokens of a batch for a log of so many actions."""
        return min(self.batch_tokens, max(128, actions // self.least_batches))

    def epochs(self, actions: int) -> int:
        """Returns how often to go through a log of so many actions."""
        return epochs_over(actions, self.actions, least=self.least_epochs, most=self.most_epochs)


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit did."""

    epochs: int
    steps: int
    actions: int
    losses: dict[str, float]  # means over the last epoch


def fit_network(
    network: Network,
    vocabulary: Vocabulary,
    log: EventLog,
    config: TrainConfig,
    run: FitRun,
    *,
    stage: str = "fitting",
    after_epoch: Callable[[], None] = lambda: None,
) -> FitReport:
    """Trains `network` in place; it ends on the run's device, in evaluation mode. On a CPU a seed fixes the result.

    `run.tell` is called with `stage` after every step, and what it raises ends the training; `after_epoch` finds the
    network in evaluation mode. With checkpoints the fit resumes behind the last epoch that its own one has, and saves
    every epoch. Where several processes train together, this is the first one, the others `join_as_replica`; nothing is
    saved then. Raises `TooLittleData`, and `NextactError` when a loss is not finite.
    """
    shared: PartedLog = log
    if replicas() > 1:
        shared = BroadcastLog(len(log), log.part_count, log)
        weights = network.cpu().state_dict()
        broadcast(_Job(network.config, weights, vocabulary.items, len(log), log.part_count, config, run.seed))
        run = replace(run, checkpoints=NO_CHECKPOINTS)  # the others would have to resume from there, too
    return _fit(network, vocabulary, shared, config, run, stage, after_epoch)


def join_as_replica(device: torch.device) -> None:
    """Takes part in every `fit_network` of the first process, until that one calls `release_replicas`."""
    while (job := broadcast()) is not None:
        network = Network(job.network)
        network.load_state_dict(job.weights)
        log = BroadcastLog(job.actions, job.part_count)
        with suppress(NextactError):  # the first process has raised it, too
            _fit(network, Vocabulary(job.items), log, job.config, FitRun(device, job.seed))


def release_replicas() -> None:
    """Ends `join_as_replica` in the other processes; no fit may be running."""
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
    run: FitRun,
    stage: str = "fitting",
    after_epoch: Callable[[], None] = lambda: None,
) -> FitReport:
    counts = _target_counts(log, vocabulary, config.least_targets)
    learn_item_attributes(network, vocabulary, log)
    device, checkpoint = run.device, run.checkpoints.next()
    epochs, tokens = config.epochs(len(log)), config.tokens(len(log))
    steps = epochs * batch_count(log, tokens)
    randomness = np.random.default_rng(run.seed)
    # Dropout draws from torch's global generators, which are the caller's: they are put back at the end.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), tensor_cores():
        torch.manual_seed(run.seed + rank())  # each process draws its own dropouts
        recency = Recency(sampled_times(log), config.half_life)
        optimization = _Optimization(network.to(device).train(), vocabulary, counts, recency, config, steps, run.seed)
        state = optimization.state(randomness)
        resumed = state.restore(checkpoint) if checkpoint else TrainingProgress()
        step, means = resumed.step, resumed.losses
        for epoch in range(resumed.epochs, epochs):
            means = {}
            for losses in optimization.steps(batches(log, tokens=tokens, randomness=randomness)):
                step += 1
                _check_losses(losses, step)
                run.tell(stage, Progress(step, steps, losses))
                means = {name: means.get(name, 0.0) + loss * epochs / steps for name, loss in losses.items()}
            optimization.settle()
            network.eval()
            after_epoch()
            network.train()
            if checkpoint:
                state.save(checkpoint, TrainingProgress(epoch + 1, step, means))
    network.eval()
    return FitReport(epochs, steps, epochs * len(log), means)


class _StepInputs(NamedTuple):
    """What a step of the optimizer reads: tokens on the device; on the host what the losses look up first."""

    tokens: Tokens  # (B, T)
    targets: Targets
    weights: Tensor  # (B, T)
    sample: Sample
    rows: dict[str, Tensor]  # by table: the rows (U,) of items and words that the step reads, rising


class _Optimization:
    """A network, its optimizer and what the losses depend on: does one step after the other."""

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
        self._popularity = Popularity(counts)
        self._optimizer, self._schedule = adam_with_schedule(network, config, steps)
        self._tables = {name: RowAdam(table, steps) for name, table in network.row_tables.items()}
        self._weights = [weight for group in self._optimizer.param_groups for weight in group["params"]]

    def state(self, randomness: np.random.Generator) -> TrainingState:
        """Returns what changes from step to step; `randomness` draws the batches."""
        return TrainingState(
            self._network,
            self._optimizer,
            self._schedule,
            self._tables,
            self._generator,
            randomness,
            self._device,
        )

    def settle(self) -> None:
        """Makes all weights of the network those after the last step."""
        for table in self._tables.values():
            table.settle()

    def steps(self, batches: Iterator[Batch]) -> Iterator[dict[str, float]]:
        """Does a step of the optimizer for each batch; yields the losses before it.

        A GPU computes a step while the next batch is prepared here and copied.
        """
        prepared = map(self._inputs, batches)
        upcoming = next(prepared, None)
        while upcoming is not None:
            losses = self._step(upcoming)
            upcoming = next(prepared, None)
            yield losses.values()

    def _inputs(self, batch: Batch) -> _StepInputs:
        tokens = self._vocabulary.tokens(batch.item_keys, batch.contexts, batch.queries)
        tokens, targets = self._with_buckets(tokens, batch), targets_of(batch, self._vocabulary, torch.device("cpu"))
        sample = self._popularity.sample(targets.next_rows[targets.next_known] - ITEM_BUCKETS, self._generator)
        rows = (tokens.items.flatten(), targets.next_rows[targets.next_on_item], sample.candidates + ITEM_BUCKETS)
        return _StepInputs(
            tokens.to(self._device),
            targets,
            torch.from_numpy(self._recency.weights(batch.next_times)),
            sample,
            {"items": torch.unique(torch.cat(rows))} | self._word_rows(tokens),
        )

    def _word_rows(self, tokens: Tokens) -> dict[str, Tensor]:
        """Returns the rows of the words that tokens read, and row 0; nothing where there is no search."""
        if not tokens.words.numel():
            return {}
        rows = self._network.word_rows(tokens.words).flatten()
        return {"words": torch.unique(torch.cat((rows.new_zeros(1), rows)))}

    def _step(self, inputs: _StepInputs) -> Losses:
        # All processes read the same rows and the same sample, for the next items of the whole batch.
        share = shard_rows(len(inputs.weights)) if replicas() > 1 else None
        used = {name: self._tables[name].read(rows) for name, rows in inputs.rows.items()}
        with ExitStack() as reading:
            for name, rows in used.items():
                reading.enter_context(self._network.row_tables[name].reading(rows.rows, rows.weights))
            losses = losses_of(self._network, inputs.tokens, inputs.targets, inputs.weights, inputs.sample, share)
        self._optimizer.zero_grad(set_to_none=True)
        losses.total(self._config.side_weight).backward()  # type: ignore[no-untyped-call]
        weights = [*self._weights, *(rows.weights for rows in used.values())]
        all_reduce_gradients(weights)
        nn.utils.clip_grad_norm_(weights, self._config.clip)
        for name, rows in used.items():
            self._tables[name].step(rows, self._optimizer.param_groups[1]["lr"])
        self._optimizer.step()
        self._schedule.step()
        return Losses(*all_reduce_sum(losses.stacked().detach()))

    def _with_buckets(self, tokens: Tokens, batch: Batch) -> Tokens:
        """Replaces a random share of the items by their hash buckets."""
        buckets = torch.from_numpy((batch.item_keys % np.uint64(ITEM_BUCKETS)).astype(np.int64))
        replaced = torch.rand(tokens.items.shape, generator=self._generator) < self._config.bucket_share
        return replace(tokens, items=torch.where(replaced & (~tokens.searches), buckets, tokens.items))


def adam_with_schedule(
    network: Network, config: TrainConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Returns Adam for all but items and words, with a higher rate for tables, and its schedule for so many steps."""
    tables = [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]
    others = [weight for weight in network.parameters() if all(weight is not table for table in tables)]
    by_rows = [table.weight for table in network.row_tables.values()]  # see `RowAdam`
    tables = [table for table in tables if all(table is not other for other in by_rows)]
    rate, warm_up = config.learning_rate, max(1, round(config.warm_up * steps))
    groups: list[dict[str, Any]] = [{"params": others}, {"params": tables, "lr": rate * config.embedding_rate}]
    optimizer = torch.optim.Adam(groups, lr=rate, fused=True)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )


def _target_counts(log: PartedLog, vocabulary: Vocabulary, least: int) -> NDArray[np.int64]:
    """Counts how often each item of the vocabulary (I,) is a target."""
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
        raise NextactError(f"the loss is not finite at step {step}: {losses}; lower the learning rate")
