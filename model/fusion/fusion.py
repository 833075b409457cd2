"""The ranking that is served: the network and the item statistics together, scored by the combiner.

Constant time per answer, whatever the length of the history: the user's last RECENT_LENGTH actions, a bounded number of
candidates.
Shapes: N answers, C candidates of the answer at hand, T of all of them, F features, k ranked items.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.recent import RecentActions
from model.fusion.candidate_features import CandidateSources, NetworkBest
from model.fusion.candidates import (
    MAX_CANDIDATES,
    Candidates,
    SeenIndex,
    allocate_candidates,
    collect_answer,
    collect_candidates,
    new_scratch,
    new_seen_index,
)
from model.fusion.combiner import Combiner
from model.fusion.combiner_kernel import CombinerWeights, combiner_weights, score_candidates
from model.fusion.item_statistics import ItemStatistics
from model.kernels.compiled import Floats, compiled
from model.search.shortlist import rank_highest


class Fusion:
    """The item statistics and the combiner of one version. Not for two threads at once."""

    def __init__(self, statistics: ItemStatistics, combiner: Combiner) -> None:
        self.statistics = statistics
        self.combiner = combiner
        self._weights = combiner_weights(combiner)
        self._seen_index = new_seen_index(len(statistics.popularity))
        self._buffer = allocate_candidates(1)  # kept from call to call: fresh memory costs as much as filling it

    def for_another_thread(self) -> Fusion:
        """Returns the same statistics and combiner with buffers of their own."""
        return Fusion(self.statistics, self.combiner)

    def collect(self, recent: RecentActions, best: NetworkBest) -> Candidates:
        """Collects the candidates of N answers, with their features."""
        return collect_candidates(CandidateSources(recent, best, self.statistics), self._seen_index)

    def rank(self, recent: RecentActions, best: NetworkBest, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Returns the k best items of N answers, best first, and their log-probabilities, (N, k) each.

        The probabilities are of the next action on an item, with a share for all items that are not candidates. k is
        cut to the size of the catalogue, and to as many items as the network named.
        """
        n, k = len(recent.starts), min(k, best.items.shape[1])
        items, log_probabilities = np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
        sources = CandidateSources(recent, best, self.statistics)
        _rank(sources, self._seen_index, self._buffer, self._weights, items, log_probabilities)
        return items, log_probabilities

    def score(self, candidates: Candidates) -> Floats:
        """Returns the combiner's scores of candidates, (T,)."""
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
    sources: CandidateSources,
    seen_index: SeenIndex,
    buffer: Candidates,
    weights: CombinerWeights,
    items: NDArray[np.int64],
    log_probabilities: Floats,
) -> None:
    """Ranks answer by answer, so that candidates are scored while their features are in the nearest cache."""
    candidates, scores = buffer.items[:MAX_CANDIDATES], np.empty(MAX_CANDIDATES, np.float32)
    scratch = new_scratch(sources.best.vectors.shape[1])
    for n in range(len(items)):
        count = collect_answer(sources, n, seen_index, candidates, buffer.features, 0, scratch)
        score_candidates(buffer.features[:, :count], weights, scores)
        rank_highest(scores[:count], weights.none_logit[0], items[n], log_probabilities[n])
        for rank in range(items.shape[1]):
            items[n, rank] = candidates[items[n, rank]]
