"""What a model says of items after pasts, each encoded anew from its beginning and ranked anew: the oracle of reasons.

Shapes: N pasts, D width. Items are rows of the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.query_table import QueryTable
from model.evaluation.ranking import LIST_SIZE, MISSED
from model.fusion.candidate_features import NETWORK_BEST, CandidateSources, NetworkBest
from model.fusion.fusion import FusionRanking
from model.fusion.live_items import LiveItems
from model.profile_fit.removal import Past, queries_after, recent_of
from model.rounds.fit_model import Model
from model.search.catalogue import Catalogue

CPU: Final = torch.device("cpu")
_AT_ONCE: Final = 2_000  # pasts


class ExactRemoval:
    """A model that is asked after any pasts."""

    def __init__(self, model: Model, searches: QueryTable) -> None:
        self.model, self._searches = model, searches
        network = model.network.eval()
        with torch.inference_mode():
            self._vectors = network.item_vectors()
            self._catalogue = Catalogue(self._vectors)
            attributes = network.contexts.weight.detach().numpy()
            vectors = self._vectors.contiguous().numpy()
        self.live = LiveItems(model.vocabulary, vectors, attributes, model.fusion.statistics, nameless=True)
        self.live.follow()
        self.ranking = FusionRanking(self.live, model.fusion.combiner)

    def sources(self, pasts: Sequence[Past]) -> CandidateSources:
        """What the answers after N pasts come from."""
        return self._asked(pasts)[0]

    @torch.inference_mode()
    def _asked(self, pasts: Sequence[Past]) -> tuple[CandidateSources, Tensor]:
        vocabulary = self.model.vocabulary
        queries = queries_after(self.model.network, vocabulary, pasts, self._searches, CPU)
        ranked = self._catalogue.rank(queries, NETWORK_BEST)
        best = NetworkBest(ranked.items.numpy(), ranked.log_probabilities.numpy(), queries.numpy())
        return self.ranking.sources(recent_of(vocabulary, pasts, self._searches), best), queries

    def log_probabilities(
        self, pasts: Sequence[Past], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The log-probabilities of items (N, k) after N pasts, and their ranks.

        An item that is no candidate has the network's share of what falls to "none of these", and no rank.
        """
        parts = [
            self._some(pasts[begin : begin + _AT_ONCE], items[begin : begin + _AT_ONCE])
            for begin in range(0, len(pasts), _AT_ONCE)
        ]
        logs, ranks = zip(*parts, strict=True)
        return np.concatenate(logs), np.concatenate(ranks)

    @torch.inference_mode()
    def _some(self, pasts: Sequence[Past], items: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        sources, queries = self._asked(pasts)
        candidates = self.ranking.collect(sources.recent, sources.best)
        scores = self.ranking.score(candidates).astype(np.float64)
        none = float(self.model.fusion.combiner.none_logit)
        network = torch.log_softmax(queries @ self._vectors.T, 1).numpy()
        numbers = self.live.arrays.numbers[items]
        logs, ranks = np.empty(items.shape), np.full(items.shape, MISSED)
        for n in range(len(pasts)):
            answer = slice(candidates.starts[n], candidates.starts[n + 1])
            total = np.logaddexp(np.logaddexp.reduce(scores[answer]), none)
            for j, item in enumerate(items[n].tolist()):
                hit = np.flatnonzero(candidates.items[answer] == item)
                if len(hit):
                    score = scores[answer][hit[0]]
                    logs[n, j], ranks[n, j] = score - total, int((scores[answer] >= score).sum())
                else:
                    logs[n, j] = none - total + network[n, numbers[n, j]]
        return logs, ranks


def in_list(ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether items of these ranks are among those that are ranked in an answer."""
    return ranks <= LIST_SIZE
