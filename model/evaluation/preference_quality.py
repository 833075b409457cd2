"""How well preferences foresee what users turn to: log-loss and Recall@3, beside plainer ways to foresee it.

Every probability is mixed with a little of that by popularity, so that nothing has probability 0; what the plainer ways
need of that is fitted to what is known. Categories and brands are compared by their buckets.
Shapes: N examples, E entries, B buckets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.network.network import Network
from model.profile.counting import BANDS, BUCKETS
from model.profile.fitted_preferences import FieldWeights, FittedPreferences
from model.profile_fit.fit_preferences import expected_shares, frequencies, shares_of_sources
from model.profile_fit.preference_examples import (
    FieldExamples,
    field_examples,
    next_purchases,
    preference_examples,
    targets_at,
)

WEEK_MS: Final = 7 * 24 * 3_600_000
DEPTH: Final = 3
FIELDS: Final = ("category", "brand", "price_band")
CONTENDERS: Final = ("nextact", "counts", "last", "popularity")
_LEAST: Final = 50  # targets that are worth a figure
_MOST: Final = 10_000  # examples
_OF_POPULARITY: Final = 0.002  # of every probability
_STEPS: Final = 30  # of expectation and maximisation

Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Foresight:
    """How well something was foreseen."""

    targets: int
    log_loss: float
    recall: float  # at DEPTH; of price bands at 1


Qualities = dict[str, dict[str, Foresight]]  # by what was to be foreseen, and by contender


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be foreseen: the examples that are known, and those to be judged by."""

    known: FieldExamples
    judged: FieldExamples
    buckets: int

    @property
    def depth(self) -> int:
        return 1 if self.buckets == BANDS + 1 else DEPTH


def preference_quality(
    network: Network, vocabulary: Vocabulary, fitted: FittedPreferences, sequences: Sequences, cut: int
) -> Qualities:
    """Measures on all that users turn to from `cut` (ms) on; what comes before is known."""
    positions = sequences.targets_from()
    later = sequences.times[positions] >= cut
    picked = [_newest(sequences, positions[~later]), _newest(sequences, positions[later])]
    examples = [preference_examples(network, vocabulary, sequences, each, torch.device("cpu")) for each in picked]
    qualities: Qualities = {}
    for what, within in (("next", None), ("purchase", None), ("purchase_week", WEEK_MS)):
        places = [each if what == "next" else next_purchases(sequences, each, within) for each in picked]
        places[0] = np.where(sequences.times[np.maximum(places[0], 0)] < cut, places[0], -1)  # not known before
        targets = [np.where(each[:, None] >= 0, targets_at(sequences, np.maximum(each, 0)), 0) for each in places]
        for number, field in enumerate(FIELDS):
            if (what == "purchase_week") != (field == "price_band" and what != "next"):
                continue
            buckets = int(BUCKETS[number]) if number < len(BUCKETS) else BANDS + 1
            known, judged = (field_examples(one, of, number) for one, of in zip(examples, targets, strict=True))
            if min(len(known.targets), len(judged.targets)) >= _LEAST:
                weights = (fitted.categories, fitted.brands, fitted.prices)[number]
                qualities[f"{what}_{field}"] = _measured(_Task(known, judged, buckets), weights)
    return qualities


def _newest(sequences: Sequences, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    newest = np.argsort(sequences.times[positions], kind="stable")[-_MOST:]
    return positions[np.sort(newest)]


def _measured(task: _Task, weights: FieldWeights) -> dict[str, Foresight]:
    popular = frequencies(task.known.targets, task.buckets)
    return {
        "nextact": _foresight(_by_model(task, weights, popular), task, popular),
        "counts": _foresight(_blended(task, _counts_alone, popular), task, popular),
        "last": _foresight(_blended(task, _last_alone, popular), task, popular),
        "popularity": _foresight(np.tile(popular, (len(task.judged.targets), 1)), task, popular),
    }


def _foresight(probabilities: Shares, task: _Task, popular: Shares) -> Foresight:
    targets = task.judged.targets
    mixed = (1 - _OF_POPULARITY) * probabilities + _OF_POPULARITY * popular
    own = mixed[np.arange(len(targets)), targets]
    ranks = (mixed >= own[:, None]).sum(1)  # ties count against the target
    return Foresight(len(targets), float(-np.log(own).mean()), float((ranks <= task.depth).mean()))


def _by_model(task: _Task, weights: FieldWeights, popular: Shares) -> Shares:
    """Returns the shares (N, B) that a worker would blend."""
    judged = task.judged
    counted, recent, trust = shares_of_sources(weights, judged)
    found = _spread(judged, trust[:, :1] * counted + trust[:, 1:2] * recent, task.buckets)
    if weights.readout is None:
        return found + (1 - found.sum(1, keepdims=True)) * popular  # type: ignore[no-any-return]
    network = expected_shares(weights.readout, judged.vectors, task.known.targets, task.buckets)
    blended: Shares = found + trust[:, 2:] * network
    return blended


def _blended(task: _Task, alone: Callable[[FieldExamples], Shares], popular: Shares) -> Shares:
    """Returns a way's shares (N, B), blended with popularity as far as that foresees best what is known."""
    known = task.known
    own = _of_targets(_spread(known, alone(known), task.buckets), known.targets)
    trust, by_popularity = 0.5, popular[known.targets]
    for _ in range(_STEPS):
        trust = float((trust * own / (trust * own + (1 - trust) * by_popularity)).mean())
    found = _spread(task.judged, alone(task.judged), task.buckets)
    return np.where(found.sum(1, keepdims=True) > 0, trust * found + (1 - trust) * popular, popular)


def _of_targets(shares: Shares, targets: NDArray[np.int64]) -> Shares:
    return shares[np.arange(len(targets)), targets]


def _counts_alone(examples: FieldExamples) -> Shares:
    totals: Shares = examples.weights.sum(2).astype(np.float64)
    return totals / np.maximum(totals.sum(1, keepdims=True), 1e-9)  # type: ignore[no-any-return]


def _last_alone(examples: FieldExamples) -> Shares:
    last: Shares = np.eye(examples.keys.shape[1])[examples.last] * (examples.keys > 0).any(1, keepdims=True)
    return last


def _spread(examples: FieldExamples, shares: Shares, buckets: int) -> Shares:
    """Returns the shares of entries (N, E) by bucket (N, B)."""
    found = np.zeros((len(shares), buckets))
    rows = np.arange(len(shares))
    for entry in range(shares.shape[1]):
        found[rows, examples.keys[:, entry]] += shares[:, entry]
    found[:, 0] = 0
    return found
