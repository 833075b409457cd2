"""The combiner: a small network from a candidate's features to its score.

It is trained by maximum likelihood on actions that neither the network nor the item statistics have learned from: with
a softmax over the candidates and "none of these", so that the scores give probabilities.

Shapes: N examples, T candidates of all of them, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.data.epochs import epochs_over
from model.fusion.candidate_features import FEATURES, FOLLOWED, FOLLOWED_LATE, LOG_PROBABILITY_SCALE
from model.fusion.candidates import Candidates

HIDDEN: Final = 32  # units of each hidden layer
_LEAST_DEVIATION: Final = 1e-3  # added to a feature's standard deviation
_NEVER: Final = -20.0  # score of "none of these" where the network alone counts
# What more users say who went from the latest item to a candidate. A fit sees few candidates whom nearly all went to,
# so it is told that these score no less: else a crowd could push an item out of sight.
_EVIDENCE: Final = (FOLLOWED, FOLLOWED_LATE)
_MOST_EVIDENCE: Final = math.log(1001) / 3  # of these features: a share of one, as `describe` scales it
_POPULAR: Final = 0.85  # how much popularity rises with 30 times the users, at most
_COMPARED: Final = 2048  # candidates of a batch that are compared with themselves and more evidence


@dataclass(frozen=True, slots=True)
class Examples:
    """N examples: the candidates of each, and which one is right."""

    candidates: Candidates  # features in float16: they are many
    targets: NDArray[np.int32]  # (N,) as the candidates are named; -1: not among any

    def __len__(self) -> int:
        return len(self.targets)

    def without(self, columns: Sequence[int]) -> Examples:
        """Sets some of the features to zero, and returns the examples."""
        self.candidates.features[list(columns)] = 0
        return self

    def select(self, indices: NDArray[np.int64]) -> Examples:
        """Returns some of the examples, with features in float32."""
        starts, sizes = self.candidates.starts[indices], np.diff(self.candidates.starts)[indices]
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        columns = np.repeat(starts - ends[:-1], sizes) + np.arange(ends[-1])
        features = self.candidates.features[:, columns].astype(np.float32)
        return Examples(Candidates(self.candidates.items[columns], features, ends), self.targets[indices])


def joined_examples(parts: Sequence[Examples]) -> Examples:
    """Joins examples, one part after the other, and keeps their features in less memory."""
    sizes = [np.diff(part.candidates.starts) for part in parts]
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *sizes]))))
    nothing = np.zeros((len(FEATURES), 0), np.float16)
    return Examples(
        Candidates(
            np.concatenate([np.zeros(0, np.int32), *(part.candidates.items for part in parts)]),
            np.concatenate([nothing, *(part.candidates.features.astype(np.float16) for part in parts)], axis=1),
            starts,
        ),
        np.concatenate([np.zeros(0, np.int32), *(part.targets for part in parts)]),
    )


class Combiner(nn.Module):
    """Scores candidates. Before it has learned anything, its scores rank them as the network does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(len(FEATURES), HIDDEN)
        self.second = nn.Linear(HIDDEN, HIDDEN)
        self.last = nn.Linear(HIDDEN, 1)
        self.linear = nn.Linear(len(FEATURES), 1, bias=False)
        self.outside = nn.Parameter(torch.zeros(1))  # `none_logit`: the name is a key in files of versions
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        with torch.no_grad():
            self.linear.weight.zero_()[0, FEATURES.index("log_probability")] = 1

    @property
    def none_logit(self) -> nn.Parameter:
        """The score of "none of these"."""
        return self.outside

    @torch.no_grad()
    def without(self, columns: Sequence[int]) -> Combiner:
        """Makes it blind to some of the features, and returns it."""
        for layer in (self.first, self.linear):
            layer.weight[:, list(columns)] = 0
        return self

    def forward(self, features: Tensor) -> Tensor:
        """Returns the scores (T,) of candidates with features (F, T)."""
        hidden = F.relu(_layer(self.second, F.relu(_layer(self.first, features), inplace=True)), inplace=True)
        scores: Tensor = _layer(self.last, hidden).addmm(self.linear.weight, features).squeeze(0)
        return scores


def _layer(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """Applies a layer to inputs (in, T); (out, T)."""
    return torch.addmm(layer.bias[:, None], layer.weight, inputs)


def identity_combiner() -> Combiner:
    """Returns a combiner that keeps the network's ranking and, among candidates, its probabilities."""
    with torch.random.fork_rng(devices=[]):
        combiner = Combiner().requires_grad_(False)
    for layer in (combiner.first, combiner.second):  # unused as `last` is zero; not random, so that files are the same
        layer.weight.zero_()
        layer.bias.zero_()
    combiner.linear.weight.mul_(float(LOG_PROBABILITY_SCALE))
    combiner.none_logit.fill_(_NEVER)
    return combiner.eval()


@dataclass(frozen=True, slots=True)
class CombinerConfig:
    """How to fit a combiner."""

    examples: int = 150_000  # to go through in all, over all epochs: a few are repeated more often than many
    least_epochs: int = 4
    most_epochs: int = 24
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    least: int = 200  # examples that are worth a fit

    def epochs(self, examples: int) -> int:
        """Returns how often to go through so many examples."""
        return epochs_over(examples, self.examples, least=self.least_epochs, most=self.most_epochs)


def fit_combiner(
    examples: Examples,
    config: CombinerConfig,
    *,
    seed: int,
    start: Combiner | None = None,
    progress: Callable[[int, int, float], None] = lambda _step, _steps, _loss: None,
) -> Combiner:
    """Fits a combiner to N examples.

    It starts from a copy of `start` where that was fitted, else from random weights. `progress` is called with step,
    steps and loss, and may raise to end the fit. A seed fixes the result.
    """
    randomness = np.random.default_rng(seed)
    if not len(examples):
        return identity_combiner()
    sample = randomness.choice(len(examples), min(1000, len(examples)), replace=False)
    scaling = _moments(examples.select(sample).candidates)
    combiner = _warm_start(start, *scaling) if start is not None and is_fitted(start) else _initialised(seed)
    _descend(combiner, examples, scaling, config, randomness, progress)
    _fold_in_scaling(combiner, *scaling)
    return combiner.eval()


def is_fitted(combiner: Combiner) -> bool:
    """Tells whether a combiner can learn: the units of an identity combiner are all zero and get no gradient."""
    return bool(combiner.first.weight.any())


def _initialised(seed: int) -> Combiner:
    """Returns a combiner whose random weights the seed alone fixes, whatever the caller drew before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Combiner()


def _descend(
    combiner: Combiner,
    examples: Examples,
    scaling: tuple[Tensor, Tensor],
    config: CombinerConfig,
    randomness: np.random.Generator,
    progress: Callable[[int, int, float], None],
) -> None:
    batches_per_epoch = -(-len(examples) // config.batch)
    steps = config.epochs(len(examples)) * batches_per_epoch
    optimizer = torch.optim.AdamW(combiner.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    for step in range(steps):
        if step % batches_per_epoch == 0:
            batches = np.array_split(randomness.permutation(len(examples)), batches_per_epoch)
        batch = batches[step % batches_per_epoch]
        chosen = examples.select(batch)
        loss = _loss(combiner, chosen.candidates, chosen.targets, *scaling)
        loss = loss + _lost_by_evidence(combiner, chosen.candidates, randomness, *scaling)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress(step + 1, steps, float(loss.detach()))


def _loss(
    combiner: Combiner, candidates: Candidates, targets: NDArray[np.int32], means: Tensor, spreads: Tensor
) -> Tensor:
    """Computes the mean negative log-likelihood of the targets, or of "none of these" where no candidate is right."""
    scores = combiner((torch.from_numpy(candidates.features) - means) / spreads)
    answers, starts = candidates.answers, candidates.starts
    columns, none = np.arange(len(answers)) - starts[answers], int(np.diff(starts).max())
    right = np.flatnonzero(candidates.items == targets[answers])
    labels = np.full(len(targets), none)
    labels[answers[right]] = columns[right]
    table = scores.new_full((len(targets), none + 1), float("-inf"))
    table[torch.from_numpy(answers), torch.from_numpy(columns)] = scores
    table[:, none] = combiner.none_logit
    return F.cross_entropy(table, torch.from_numpy(labels))


def _lost_by_evidence(
    combiner: Combiner, candidates: Candidates, randomness: np.random.Generator, means: Tensor, spreads: Tensor
) -> Tensor:
    """Computes the mean of what scores of some candidates lose when more users went to them: a fit should make it 0."""
    columns = randomness.integers(0, candidates.features.shape[1], _COMPARED)
    before = torch.from_numpy(candidates.features[:, columns])
    after, more = before.clone(), torch.from_numpy(randomness.random((3, _COMPARED), np.float32))
    for row, feature in enumerate(_EVIDENCE):
        after[feature] += (_MOST_EVIDENCE - before[feature]).clamp(min=0) * more[row]
    after[FEATURES.index("popularity")] += _POPULAR * more[0] * (more[2] < 0.5)
    lost = combiner((before - means) / spreads) - combiner((after - means) / spreads)
    return F.relu(lost).mean()


def _moments(candidates: Candidates) -> tuple[Tensor, Tensor]:
    """Computes means and standard deviations of features, (F, 1) each."""
    features = torch.from_numpy(candidates.features)
    return features.mean(1, keepdim=True), features.std(1, keepdim=True) + _LEAST_DEVIATION


@torch.no_grad()
def _fold_in_scaling(combiner: Combiner, means: Tensor, spreads: Tensor) -> None:
    """Turns a combiner of standardised features into one of features as they are."""
    for layer in (combiner.first, combiner.linear):
        layer.weight.div_(spreads.T)
    combiner.first.bias.sub_((combiner.first.weight @ means)[:, 0])
    # The other scores rose by as much: `linear` has no bias.
    combiner.none_logit.add_((combiner.linear.weight @ means)[0])


@torch.no_grad()
def _warm_start(fitted: Combiner, means: Tensor, spreads: Tensor) -> Combiner:
    """Returns a combiner of standardised features with the scores of a fitted one: undoes `_fold_in_scaling`."""
    combiner = deepcopy(fitted).requires_grad_(True).train()
    combiner.first.bias.add_((combiner.first.weight @ means)[:, 0])
    combiner.none_logit.sub_((combiner.linear.weight @ means)[0])
    for layer in (combiner.first, combiner.linear):
        layer.weight.mul_(spreads.T)
    return combiner
