"""The fusion as a ranker: exactly what a worker serves, on a log that is at hand as a whole.

Shapes: N targets, I items, D width, C candidates, K places of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.recent import Recent, catalogue_items
from model.data.vocabulary import Vocabulary
from model.evaluation.network_ranker import queries_of
from model.evaluation.ranking import LISTED, MISSED, Holdout, RankedTargets
from model.fusion.candidates import NETWORK_BEST, Candidates, NetworkBest
from model.fusion.fusion import Fusion
from model.network.network import Network
from model.search.catalogue import Catalogue

_AT_ONCE: Final = 256  # targets


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What network and log say about N targets, before anything weighs it."""

    targets: NDArray[np.int32]  # (N,) catalogue indices; -1: not in the vocabulary
    recent: Recent
    best: NetworkBest

    def collect(self, fusion: Fusion, chosen: NDArray[np.int64]) -> Candidates:
        """Candidates of some of the targets."""
        return fusion.collect(self.recent.part(chosen), self.best.part(chosen))


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
        items = catalogue_items(self._vocabulary, sequences.item_keys, sequences.contexts)
        best = (ranked.items.cpu().numpy(), ranked.log_probabilities.cpu().numpy(), queries.cpu().numpy())
        return Foreseen(
            targets=items[holdout.places],
            recent=Recent(items, sequences.contexts, holdout.starts, holdout.places),
            best=NetworkBest(*best, self._vectors),
        )

    @torch.inference_mode()
    def rank(self, holdout: Holdout) -> RankedTargets:
        """By the scores of the combiner."""
        foreseen = self.foresee(holdout)
        ranks, top = np.full(len(holdout), MISSED), np.zeros((len(holdout), LISTED), np.uint64)
        for start in range(0, len(holdout), _AT_ONCE):
            chosen = np.arange(start, min(start + _AT_ONCE, len(holdout)))
            candidates = foreseen.collect(self._fusion, chosen)
            scores = self._fusion.score(candidates)
            ranks[chosen] = _ranks(scores, candidates, foreseen.targets[chosen])
            listed = _listed(scores, candidates)
            top[chosen] = np.where(listed < 0, 0, self._vocabulary.item_keys[candidates.items[listed]])
        return RankedTargets(ranks, top)


def _ranks(scores: NDArray[np.float32], candidates: Candidates, targets: NDArray[np.int32]) -> NDArray[np.int64]:
    """Ranks (N,) of targets among candidates with scores (T,)."""
    answers = candidates.answers
    right = np.flatnonzero(candidates.items == targets[answers])
    own = np.full(len(targets), np.inf, np.float32)
    own[answers[right]] = scores[right]
    ranks = np.bincount(answers[scores >= own[answers]], minlength=len(targets))
    return np.where(np.isfinite(own), ranks, MISSED)


def _listed(scores: NDArray[np.float32], candidates: Candidates) -> NDArray[np.int64]:
    """Where the LISTED best candidates of each answer lie, (N, LISTED); -1: it has fewer."""
    order = np.lexsort((-scores, candidates.answers))
    places = candidates.starts[:-1, None] + np.arange(LISTED)
    there = places < candidates.starts[1:, None]
    return np.where(there, order[np.where(there, places, 0)], -1)
