"""The ranking that is served: the network and the evidence of the log together, weighed by the combiner.

Constant time per answer, whatever the length of the history: the last RECENT actions, a bounded number of candidates.
Shapes: N answers, C candidates of the answer at hand, T of all of them, F features, k ranked items.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.recent import Recent
from model.fusion.candidates import (
    CANDIDATES,
    Candidates,
    NetworkBest,
    SeenIndex,
    allocate,
    collect,
    collect_answer,
    seen_index,
)
from model.fusion.combiner import Combiner
from model.fusion.combiner_kernel import CombinerWeights, combiner_weights, score_candidates
from model.fusion.item_statistics import ItemStatistics
from model.kernels.compiled import Floats, compiled
from model.search.shortlist import rank_highest


class Fusion:
    """Evidence and combiner of one version. Not for two threads at once."""

    def __init__(self, statistics: ItemStatistics, combiner: Combiner) -> None:
        self.statistics = statistics
        self.combiner = combiner
        self._weights = combiner_weights(combiner)
        self._marks = seen_index(len(statistics.popularity))
        self._room = allocate(1)  # kept from call to call: fresh memory costs as much as filling it

    def for_another_thread(self) -> Fusion:
        """The same evidence and combiner, with room of its own."""
        return Fusion(self.statistics, self.combiner)

    def collect(self, recent: Recent, best: NetworkBest) -> Candidates:
        """Candidates of N answers, with their features."""
        return collect(recent, best, self.statistics, self._marks)

    def rank(self, recent: Recent, best: NetworkBest, k: int) -> tuple[NDArray[np.int64], Floats]:
        """The k best items of N answers, best first, and their log-probabilities, (N, k) each.

        Probabilities are of the next action on an item, all items that are no candidates included. k is cut to the
        size of the catalogue, and at most as many as the network named.
        """
        n, k = len(recent.starts), min(k, best.items.shape[1])
        items, log_probabilities = np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
        outside = np.float32(self.combiner.outside.item())
        _rank(recent, best, self.statistics, self._marks, self._room, self._weights, outside, items, log_probabilities)
        return items, log_probabilities

    def score(self, candidates: Candidates) -> Floats:
        """Scores of candidates, (T,)."""
        scores = np.empty(len(candidates.items), np.float32)
        _score(candidates, self._weights, scores)
        return scores


@compiled
def _score(candidates: Candidates, weights: CombinerWeights, scores: Floats) -> None:
    for n in range(len(candidates.starts) - 1):
        begin, end = candidates.starts[n], candidates.starts[n + 1]
        score_candidates(candidates.features[:, begin:end], weights, scores[begin:end])


@compiled
def _rank(
    recent: Recent,
    best: NetworkBest,
    statistics: ItemStatistics,
    seen_index: SeenIndex,
    allocate: Candidates,
    weights: CombinerWeights,
    outside: np.float32,
    items: NDArray[np.int64],
    log_probabilities: Floats,
) -> None:
    """Answer by answer, so that what is collected of one is weighed while it is in the nearest cache."""
    candidates, scores = allocate.items[:CANDIDATES], np.empty(CANDIDATES, np.float32)
    for n in range(len(items)):
        count = collect_answer(recent, best, statistics, seen_index, n, candidates, allocate.features, 0)
        score_candidates(allocate.features[:, :count], weights, scores)
        rank_highest(scores[:count], outside, items[n], log_probabilities[n])
        for place in range(items.shape[1]):
            items[n, place] = candidates[items[n, place]]
