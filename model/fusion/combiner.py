"""Weighs the evidence: a small network from a candidate's features to its score.

Trained by maximum likelihood on actions that neither the network nor the evidence has learned from: a softmax over the
candidates and "none of these", so that the scores are probabilities.

Shapes: N examples, T candidates of all of them, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.fusion.candidates import FEATURES, LOG_PROBABILITY_SCALE, Candidates

HIDDEN: Final = 32
_SPREAD: Final = 1e-3  # least standard deviation of a feature
_NEVER: Final = -20.0  # score of "none of these" where the network alone is heard

Collect = Callable[[NDArray[np.int64]], Candidates]  # the candidates of some examples


class Combiner(nn.Module):
    """Scores of candidates. Before it has learned anything, they rank as the network does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(len(FEATURES), HIDDEN)
        self.second = nn.Linear(HIDDEN, HIDDEN)
        self.last = nn.Linear(HIDDEN, 1)
        self.linear = nn.Linear(len(FEATURES), 1, bias=False)
        self.outside = nn.Parameter(torch.zeros(1))  # score of "none of these"
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        with torch.no_grad():
            self.linear.weight.zero_()[0, FEATURES.index("log_probability")] = 1

    def forward(self, features: Tensor) -> Tensor:
        """Scores (T,) of features (F, T)."""
        hidden = F.relu(_layer(self.second, F.relu(_layer(self.first, features), inplace=True)), inplace=True)
        scores: Tensor = _layer(self.last, hidden).addmm(self.linear.weight, features).squeeze(0)
        return scores


def _layer(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """Of inputs (in, T), (out, T)."""
    return torch.addmm(layer.bias[:, None], layer.weight, inputs)


def identity_combiner() -> Combiner:
    """One that passes on what the network says: its ranking and, as far as candidates go, its probabilities."""
    with torch.random.fork_rng(devices=[]):
        combiner = Combiner().requires_grad_(False)
    for layer in (combiner.first, combiner.second):  # nobody hears what they say: the same version has the same bytes
        layer.weight.zero_()
        layer.bias.zero_()
    combiner.linear.weight.mul_(float(LOG_PROBABILITY_SCALE))
    combiner.outside.fill_(_NEVER)
    return combiner.eval()


@dataclass(frozen=True, slots=True)
class CombinerConfig:
    """How to fit."""

    examples: int = 150_000  # to go through in all: few are repeated more often than many
    least_epochs: int = 4
    most_epochs: int = 24
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    least: int = 200  # examples; fewer say too little

    def epochs(self, examples: int) -> int:
        """How often to go through so many examples."""
        return min(self.most_epochs, max(self.least_epochs, round(self.examples / max(1, examples))))


def fit_combiner(
    collect: Collect,
    targets: NDArray[np.int32],
    config: CombinerConfig,
    *,
    seed: int,
    start: Combiner | None = None,
    progress: Callable[[int, int, float], None] = lambda _step, _steps, _loss: None,
) -> Combiner:
    """Fits a combiner to N examples; `targets` (N,) are the right items, -1: not in the catalogue.

    It goes on from `start`, which stays as it is, where there is one that was fitted. `progress` is told step, steps
    and loss, and may raise to end it. A seed fixes the result.
    """
    randomness = np.random.default_rng(seed)
    if not len(targets):
        return identity_combiner()
    examples = np.arange(len(targets))
    scaling = _moments(collect(randomness.choice(examples, min(1000, len(examples)), replace=False)))
    combiner = _warm_start(start, *scaling) if start is not None and is_fitted(start) else _initialised(seed)
    _descend(combiner, collect, targets, examples, scaling, config, randomness, progress)
    _fold_in_scaling(combiner, *scaling)
    return combiner.eval()


def is_fitted(combiner: Combiner) -> bool:
    """Whether it says more than the network; one that does not cannot learn either, as all of its units are silent."""
    return bool(combiner.first.weight.any())


def _initialised(seed: int) -> Combiner:
    """The weights that a seed fixes, whatever the caller drew before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Combiner()


def _descend(
    combiner: Combiner,
    collect: Collect,
    targets: NDArray[np.int32],
    examples: NDArray[np.int64],
    scaling: tuple[Tensor, Tensor],
    config: CombinerConfig,
    randomness: np.random.Generator,
    progress: Callable[[int, int, float], None],
) -> None:
    parts = -(-len(examples) // config.batch)
    steps = config.epochs(len(examples)) * parts
    optimizer = torch.optim.AdamW(combiner.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    for step in range(steps):
        if step % parts == 0:
            batches = np.array_split(randomness.permutation(examples), parts)
        chosen = batches[step % parts]
        loss = _loss(combiner, collect(chosen), targets[chosen], *scaling)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress(step + 1, steps, float(loss.detach()))


def _loss(
    combiner: Combiner, candidates: Candidates, targets: NDArray[np.int32], means: Tensor, spreads: Tensor
) -> Tensor:
    """Mean negative log-likelihood of the targets, or of none of the candidates being right."""
    scores = combiner((torch.from_numpy(candidates.features) - means) / spreads)
    answers, starts = candidates.answers, candidates.starts
    columns, none = np.arange(len(answers)) - starts[answers], int(np.diff(starts).max())
    right = np.flatnonzero(candidates.items == targets[answers])
    labels = np.full(len(targets), none)
    labels[answers[right]] = columns[right]
    table = scores.new_full((len(targets), none + 1), float("-inf"))
    table[torch.from_numpy(answers), torch.from_numpy(columns)] = scores
    table[:, none] = combiner.outside
    return F.cross_entropy(table, torch.from_numpy(labels))


def _moments(candidates: Candidates) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of features, (F, 1) each."""
    features = torch.from_numpy(candidates.features)
    return features.mean(1, keepdim=True), features.std(1, keepdim=True) + _SPREAD


@torch.no_grad()
def _fold_in_scaling(combiner: Combiner, means: Tensor, spreads: Tensor) -> None:
    """Makes a combiner of standardised features one of features as they are."""
    for layer in (combiner.first, combiner.linear):
        layer.weight.div_(spreads.T)
    combiner.first.bias.sub_((combiner.first.weight @ means)[:, 0])
    combiner.outside.add_((combiner.linear.weight @ means)[0])  # all other scores are higher by as much


@torch.no_grad()
def _warm_start(fitted: Combiner, means: Tensor, spreads: Tensor) -> Combiner:
    """A combiner of standardised features that scores as a fitted one does: the inverse of `_fold_in_scaling`."""
    combiner = deepcopy(fitted).requires_grad_(True).train()
    combiner.first.bias.add_((combiner.first.weight @ means)[:, 0])
    combiner.outside.sub_((combiner.linear.weight @ means)[0])
    for layer in (combiner.first, combiner.linear):
        layer.weight.mul_(spreads.T)
    return combiner
