"""The fusion as a ranker: exactly what a worker serves, on a log that is at hand as a whole.

Shapes: N targets, I items, D width, C candidates, K places of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.candidates import NETWORK_BEST, Candidates, NetworkBest, Recent
from model.catalogue import Catalogue
from model.fusion import Fusion
from model.network import Network
from model.network_ranking import queries_of
from model.ranking import LISTED, MISSED, Holdout, Ranked
from model.recent import catalogue_items
from model.vocabulary import Vocabulary

_AT_ONCE: Final = 256  # targets


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What network and log say about N targets, before anything weighs it."""

    targets: NDArray[np.int32]  # (N,) catalogue indices; -1: not in the vocabulary
    recent: Recent
    best: NetworkBest

    def collect(self, fusion: Fusion, chosen: NDArray[np.int64]) -> Candidates:
        """Candidates of some of the targets."""
        recent, best = self.recent, self.best
        return fusion.collect(
            recent._replace(starts=recent.starts[chosen], stops=recent.stops[chosen]),
            NetworkBest(best.items[chosen], best.log_probabilities[chosen], best.queries[chosen], best.vectors),
        )


class FusedRanker:
    """A network in evaluation mode, on its device, and a fusion; a target that is no candidate is not ranked."""

    def __init__(self, network: Network, vocabulary: Vocabulary, fusion: Fusion, device: torch.device) -> None:
        self._network = network.to(device).eval()
        self._vocabulary = vocabulary
        self._fusion = fusion
        self._device = device
        with torch.inference_mode():
            item_vectors = network.item_vectors()
            self._catalogue = Catalogue(item_vectors)
            self._vectors = item_vectors.cpu().contiguous().numpy()

    @torch.inference_mode()
    def foresee(self, holdout: Holdout) -> Foreseen:
        """All that the fusion weighs for each target."""
        queries = queries_of(self._network, self._vocabulary, holdout, self._device)
        ranked = self._catalogue.rank(queries, NETWORK_BEST)
        sequences = holdout.sequences
        items = catalogue_items(self._vocabulary, sequences.objects, sequences.contexts)
        best = (ranked.items.cpu().numpy(), ranked.log_probabilities.cpu().numpy(), queries.cpu().numpy())
        return Foreseen(
            targets=items[holdout.places],
            recent=Recent(items, sequences.contexts, holdout.starts, holdout.places),
            best=NetworkBest(*best, self._vectors),
        )

    @torch.inference_mode()
    def rank(self, holdout: Holdout) -> Ranked:
        """By the scores of the combiner."""
        foreseen = self.foresee(holdout)
        ranks, top = np.full(len(holdout), MISSED), np.zeros((len(holdout), LISTED), np.uint64)
        for start in range(0, len(holdout), _AT_ONCE):
            chosen = np.arange(start, min(start + _AT_ONCE, len(holdout)))
            candidates = foreseen.collect(self._fusion, chosen)
            scores = self._fusion.score(candidates).numpy()
            ranks[chosen] = _ranks(scores, candidates.items, foreseen.targets[chosen])
            best = np.argsort(-scores, axis=1, kind="stable")[:, :LISTED]
            listed = self._vocabulary.objects[np.take_along_axis(candidates.items, best, 1)]
            top[chosen, : best.shape[1]] = np.where(np.isfinite(np.take_along_axis(scores, best, 1)), listed, 0)
        return Ranked(ranks, top)


def _ranks(scores: NDArray[np.float32], items: NDArray[np.int32], targets: NDArray[np.int32]) -> NDArray[np.int64]:
    """Ranks (N,) of targets among candidates with scores (N, C), minus infinity where there is none."""
    right = (items[:, : scores.shape[1]] == targets[:, None]) & np.isfinite(scores)
    own = np.where(right, scores, -np.inf).max(1, keepdims=True, initial=-np.inf)
    return np.where(right.any(1), (scores >= own).sum(1), MISSED)
