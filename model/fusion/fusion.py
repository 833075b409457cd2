"""The ranking that is served: the network and the live statistics together, scored by the combiner.

Constant time per answer, whatever the length of the history: the user's last RECENT_LENGTH actions, a bounded number of
candidates.
Shapes: N answers, A actions of their users, C candidates of the answer at hand, T of all of them, F features, k ranked
items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import types_of
from model.data.events import SEARCH
from model.data.recent import NO_ITEM, RecentActions
from model.fusion.candidate_features import CandidateSources, Levels, NetworkBest
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
from model.fusion.live_items import NO_NUMBER, LiveItems
from model.kernels.compiled import Floats, compiled
from model.search.shortlist import rank_highest
from model.statistics.statistics_table import StatisticsTable

LEAST_SHOWN: Final = 0.1  # weight from which on an item that the vocabulary lacks is recommended to everybody


@dataclass(frozen=True, slots=True)
class Fusion:
    """What a version carries beside its network: how far to trust it, and the statistics as they were."""

    statistics: StatisticsTable  # served where none are live
    combiner: Combiner
    live: bool = True  # whether it was fitted to statistics that learn as the log passes


class FusionRanking:
    """Ranks by a combiner among the items of a version and of a table. Not for two threads at once."""

    def __init__(self, live: LiveItems, combiner: Combiner) -> None:
        self.live = live
        self.combiner = combiner
        self.weights = combiner_weights(combiner)
        self._seen_index = new_seen_index(0)
        self._buffer = allocate_candidates(1)  # kept from call to call: fresh memory costs as much as filling it

    def for_another_thread(self) -> FusionRanking:
        """Returns the same items and combiner with buffers of their own."""
        return FusionRanking(self.live, self.combiner)

    def sources(self, recent: RecentActions, best: NetworkBest) -> CandidateSources:
        """Returns what the candidates of N answers come from, as the statistics are now."""
        live, table = self.live, self.live.table
        rows = np.where(types_of(recent.contexts) == SEARCH, NO_ITEM, live.rows_of(recent.item_keys)).astype(np.int32)
        cells = table.source_index.cells
        return CandidateSources(recent, rows, best, live.arrays, table.arrays, cells, levels_of(live))

    def collect(self, recent: RecentActions, best: NetworkBest) -> Candidates:
        """Collects the candidates of N answers, with their features."""
        sources = self.sources(recent, best)
        return collect_candidates(sources, self._index_for(sources))

    def rank(self, recent: RecentActions, best: NetworkBest, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Ranks the k best items of N answers: see `rank_from`."""
        return self.rank_from(self.sources(recent, best), k)

    def rank_from(self, sources: CandidateSources, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Returns the numbers of the k best items of N answers, best first, and their log-probabilities, (N, k) each.

        The probabilities are of the next action on an item, with a share for all items that are not candidates. k is
        cut to the size of the catalogue, and to as many items as the network named.
        """
        n, k = len(sources.recent.starts), min(k, sources.best.items.shape[1])
        items, log_probabilities = np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
        _rank(sources, self._index_for(sources), self._buffer, self.weights, items, log_probabilities)
        return items, log_probabilities

    def _index_for(self, sources: CandidateSources) -> SeenIndex:
        """Returns an index with room for all rows that there are now."""
        rows = len(sources.table.changes)
        if len(self._seen_index.seen) < rows:
            self._seen_index = new_seen_index(rows)
        return self._seen_index

    def score(self, candidates: Candidates) -> Floats:
        """Returns the combiner's scores of candidates, (T,)."""
        scores = np.empty(len(candidates.items), np.float32)
        _score(candidates, self.weights, scores)
        return scores


def levels_of(live: LiveItems) -> Levels:
    """Returns what the levels of items are compared with now."""
    arrays = live.table.arrays
    mean, late = np.log2(np.maximum(arrays.sums, 1e-30) / max(1, live.count)) + arrays.sum_bases
    least = arrays.clocks[0] - 1.0
    least_late = np.float32(live.table.least_late)
    shown = np.float32(arrays.clocks[0] + math.log2(LEAST_SHOWN))
    return Levels(np.float32(max(mean, least)), np.float32(least), np.float32(late), least_late, shown)


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
    scratch = new_scratch(sources.live.vectors.shape[1])
    for n in range(len(items)):
        count = collect_answer(sources, n, seen_index, candidates, buffer.features, 0, scratch)
        score_candidates(buffer.features[:, :count], weights, scores)
        ranked = min(count, items.shape[1])
        rank_highest(scores[:count], weights.none_logit[0], items[n, :ranked], log_probabilities[n, :ranked])
        for rank in range(ranked):
            items[n, rank] = sources.live.numbers[candidates[items[n, rank]]]
        for rank in range(ranked, items.shape[1]):  # memory had no room for rows of more items
            items[n, rank], log_probabilities[n, rank] = NO_NUMBER, -np.inf
