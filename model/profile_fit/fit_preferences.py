"""Fits how preferences are weighed: a read-out of the network for what is frequent, and how it is blended with counts.

Both are fitted by the log-loss of what users turned to next. The read-out is a softmax; of examples that the blend is
fitted to it has seen other users only.
Shapes: N examples, C classes, K kinds of actions, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.data.disk_log import NO_NAMES, FrequentNames
from model.data.event_log import EventLog, active_sequences
from model.data.vocabulary import Vocabulary
from model.kernels.compiled import Floats
from model.network.network import Network
from model.profile.counting import ENTRIES, KINDS
from model.profile.fitted_preferences import (
    LEVELS,
    MOST_CLASSES,
    SOURCES,
    UNFITTED,
    FieldWeights,
    FittedPreferences,
    Readout,
)
from model.profile_fit.preference_examples import FieldExamples, field_examples, preference_examples, targets_at
from model.training.fit_run import FitRun

LEAST_EXAMPLES: Final = 500  # of a field that is fitted
_MOST_EXAMPLES: Final = 20_000
_LEAST_OF_CLASS: Final = 10  # examples
_FOLDS: Final = 2  # of the users
_STEPS: Final = 60  # of L-BFGS
_DECAY: Final = 20.0  # of the read-out's weights, to the log-loss of all examples in sum
_SMALLEST: Final = 1e-6  # of a probability, in a logarithm
_DIGITS: Final = 4  # of a weight that are kept

Shares = NDArray[np.float64]


def fit_preferences(
    network: Network,
    vocabulary: Vocabulary,
    log: EventLog,
    run: FitRun,
    names: FrequentNames = NO_NAMES,
) -> FittedPreferences:
    """Fits all fields to the newest actions; one with too few examples stays unfitted."""
    if not len(log):
        return msgspec.structs.replace(UNFITTED, category_names=names.categories, brand_names=names.brands)
    share = min(1.0, 4 * _MOST_EXAMPLES / len(log))
    sequences = active_sequences(log, log.newest(share))
    positions = sequences.targets_from()
    newest = np.argsort(sequences.times[positions], kind="stable")[-_MOST_EXAMPLES:]
    positions = positions[np.sort(newest)]
    examples = preference_examples(network, vocabulary, sequences, positions, run.device)
    targets, folds = targets_at(sequences, positions), sequences.users_at(positions) % _FOLDS
    with torch.random.fork_rng(devices=[]):
        categories, brands, prices = [
            _fitted(field_examples(examples, targets, number), folds[targets[:, number] > 0]) for number in range(3)
        ]
    return FittedPreferences(categories, brands, prices, *names)


def _fitted(field: FieldExamples, folds: NDArray[np.int64]) -> FieldWeights:
    if len(field.targets) < LEAST_EXAMPLES or len(np.unique(field.targets)) < 2:
        return UNFITTED.categories
    classes = _classes(field.targets)
    expected = np.zeros(len(field.targets), np.float32)  # of the target, by a read-out that has not seen its user
    for fold in range(_FOLDS):
        others = folds != fold
        if others.any() and (~others).any():
            layer = fit_readout(field.vectors[others], field.targets[others], classes)
            shares = expected_shares(layer, field.vectors[~others], field.targets, int(field.targets.max()) + 1)
            expected[~others] = shares[np.arange(len(shares)), field.targets[~others]]
    layer = fit_readout(field.vectors, field.targets, classes)
    return _blend(field, expected, layer)


def _classes(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the most frequent targets, rising."""
    counts = np.bincount(targets)
    frequent = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    return np.sort(frequent[counts[frequent] >= _LEAST_OF_CLASS])


def fit_readout(vectors: Floats, targets: NDArray[np.int64], classes: NDArray[np.int64]) -> Readout:
    """Fits a softmax layer from vectors (N, D) to classes (C,) and one for everything else."""
    numbers = _numbers(targets, classes)
    frequencies = np.bincount(numbers, minlength=len(classes) + 1) + 0.5
    inputs, labels = torch.from_numpy(vectors), torch.from_numpy(numbers)
    weights = torch.zeros(len(classes) + 1, vectors.shape[1], requires_grad=True)
    biases = torch.from_numpy(np.log(frequencies / frequencies.sum())).float().requires_grad_(True)

    def loss() -> Tensor:
        return F.cross_entropy(inputs @ weights.T + biases, labels) + _DECAY / len(labels) * weights.square().sum()

    _minimise([weights, biases], loss)
    return Readout(classes.tolist(), _rows(weights), _rounded(biases))


def expected_shares(layer: Readout, vectors: Floats, known: NDArray[np.int64], buckets: int) -> Floats:
    """Returns the probabilities (N, B) of all buckets by a read-out; what is no class has a share of everything else,
    by how frequent it is among `known` targets."""
    classes = np.array(layer.classes, np.int64)
    logits = vectors @ np.array(layer.weights, np.float32).T + np.array(layer.biases, np.float32)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    others = frequencies(known, buckets).astype(np.float32)
    others[classes] = 0
    shares: Floats = powers[:, -1:] * (others / max(others.sum(), _SMALLEST))
    shares[:, classes] = powers[:, :-1]
    return shares


def frequencies(targets: NDArray[np.int64], buckets: int) -> Shares:
    """Returns how frequent each bucket but 0 is (B,), as far as targets tell: what is not among them has together what
    was met once (Good and Turing)."""
    counts = np.bincount(targets, minlength=buckets).astype(np.float64)
    counts[0] = 0
    unseen = counts == 0
    unseen[0] = False
    new = max(1.0, float((counts == 1).sum())) / (counts.sum() + 1) if unseen.any() else 0.0
    shares: Shares = (1 - new) * counts / max(counts.sum(), 1.0)
    shares[unseen] = new / max(1, unseen.sum())
    return shares


def _numbers(targets: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    at = np.minimum(np.searchsorted(classes, targets), len(classes) - 1)
    return np.where(classes[at] == targets, at, len(classes))


def _blend(field: FieldExamples, expected: Floats, layer: Readout) -> FieldWeights:
    """Fits what kinds of actions are worth, what recency says, and how far each source is trusted."""
    exist = torch.from_numpy(field.keys > 0)
    own = torch.from_numpy(field.keys == field.targets[:, None]).float()
    weights = torch.from_numpy(np.ascontiguousarray(field.weights))
    levels = torch.from_numpy(field.levels)
    network = torch.from_numpy(expected)
    kinds = torch.zeros(len(KINDS), requires_grad=True)
    recency = torch.linspace(0, -3, field.keys.shape[1]).requires_grad_(True)
    mixing = torch.zeros(LEVELS, len(SOURCES), requires_grad=True)
    usable = torch.tensor([0.0, 0.0 if field.by_rank else -np.inf, 0.0])

    def loss() -> Tensor:
        values = weights @ kinds.exp()
        by_counts = (values * own).sum(1) / values.sum(1).clamp_min(_SMALLEST)
        lately = torch.where(exist, recency.exp(), 0.0)
        by_recency = (lately * own).sum(1) / lately.sum(1).clamp_min(_SMALLEST)
        sources = torch.stack((by_counts, by_recency, network), 1)
        shares = ((mixing + usable).softmax(1)[levels] * sources).sum(1)
        prior = 1e-3 * (kinds.square().sum() + mixing.square().sum())
        return -shares.clamp_min(_SMALLEST).log().mean() + prior

    _minimise([kinds, recency, mixing], loss)
    lately = recency.detach().exp()
    by_rank = F.pad(lately, (0, max(0, ENTRIES - len(lately))))
    return FieldWeights(
        _rounded(kinds.detach().exp()), _rounded(by_rank), _rows((mixing.detach() + usable).softmax(1)), layer
    )


def shares_of_sources(weights: FieldWeights, field: FieldExamples) -> tuple[Shares, Shares, Shares]:
    """Returns what fitted weights make of examples: the shares of entries (N, E) by counts and by recency, and how far
    each of SOURCES is trusted (N, SOURCES)."""
    values = field.weights.astype(np.float64) @ np.array(weights.kinds)
    lately = np.where(field.keys > 0, np.array(weights.recency)[: field.keys.shape[1]], 0)
    trust = np.array(weights.mixing)[field.levels]
    return _normed(values), _normed(lately), trust


def _normed(values: Shares) -> Shares:
    normed: Shares = values / np.maximum(values.sum(1, keepdims=True), _SMALLEST)
    return normed


def _minimise(parameters: list[Tensor], loss: Callable[[], Tensor]) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _rounded(numbers: Tensor) -> list[float]:
    rounded: list[float] = np.round(numbers.detach().double().numpy(), _DIGITS).tolist()
    return rounded


def _rows(numbers: Tensor) -> list[list[float]]:
    return [_rounded(row) for row in numbers.detach()]
