"""The fusion as a ranker: exactly what a worker serves, on a log that is complete beforehand.

Shapes: N targets, I items, D width, C candidates, K items of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.recent import RecentActions, catalogue_items
from model.data.vocabulary import Vocabulary
from model.evaluation.network_ranker import queries_of
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, RankedTargets
from model.fusion.candidate_features import NETWORK_BEST, NetworkBest
from model.fusion.candidates import Candidates
from model.fusion.fusion import Fusion
from model.network.network import Network
from model.search.catalogue import Catalogue

_AT_ONCE: Final = 256  # targets scored together


@dataclass(frozen=True, slots=True)
class FusionInputs:
    """What network and log say about N targets, before the combiner scores it."""

    targets: NDArray[np.int32]  # (N,) catalogue indices; -1: not in the vocabulary
    recent: RecentActions
    best: NetworkBest

    def collect(self, fusion: Fusion, indices: NDArray[np.int64]) -> Candidates:
        """Returns the candidates of some of the targets."""
        return fusion.collect(self.recent.select(indices), self.best.select(indices))


class FusionRanker:
    """A network in evaluation mode, on its device, and a fusion; a target that is not a candidate is not ranked."""

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
    def inputs_of(self, holdout: Holdout) -> FusionInputs:
        """Collects all that the fusion scores for each target."""
        queries = queries_of(self._network, self._vocabulary, holdout, self._device)
        ranked = self._catalogue.rank(queries, NETWORK_BEST)
        sequences = holdout.sequences
        items = catalogue_items(self._vocabulary, sequences.item_keys, sequences.contexts)
        best = (ranked.items.cpu().numpy(), ranked.log_probabilities.cpu().numpy(), queries.cpu().numpy())
        return FusionInputs(
            targets=items[holdout.positions],
            recent=RecentActions(items, sequences.contexts, holdout.starts, holdout.positions),
            best=NetworkBest(*best, self._vectors),
        )

    @torch.inference_mode()
    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by the scores of the combiner."""
        inputs = self.inputs_of(holdout)
        ranks, top = np.full(len(holdout), MISSED), np.zeros((len(holdout), LIST_SIZE), np.uint64)
        for start in range(0, len(holdout), _AT_ONCE):
            chunk = np.arange(start, min(start + _AT_ONCE, len(holdout)))
            candidates = inputs.collect(self._fusion, chunk)
            scores = self._fusion.score(candidates)
            ranks[chunk] = _ranks(scores, candidates, inputs.targets[chunk])
            best = _best(scores, candidates)
            top[chunk] = np.where(best < 0, 0, self._vocabulary.item_keys[candidates.items[best]])
        return RankedTargets(ranks, top)


def _ranks(scores: NDArray[np.float32], candidates: Candidates, targets: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns the ranks (N,) of targets among candidates with scores (C,)."""
    answers = candidates.answers
    hits = np.flatnonzero(candidates.items == targets[answers])
    own = np.full(len(targets), np.inf, np.float32)
    own[answers[hits]] = scores[hits]
    ranks = np.bincount(answers[~(scores < own[answers])], minlength=len(targets))  # NaN counts against the target
    return np.where(np.isfinite(own), ranks, MISSED)


def _best(scores: NDArray[np.float32], candidates: Candidates) -> NDArray[np.int64]:
    """Returns the indices of the LIST_SIZE best candidates of each answer, (N, LIST_SIZE); -1: it has fewer."""
    order = np.lexsort((-scores, candidates.answers))
    indices = candidates.starts[:-1, None] + np.arange(LIST_SIZE)
    exist = indices < candidates.starts[1:, None]
    return np.where(exist, order[np.where(exist, indices, 0)], -1)
