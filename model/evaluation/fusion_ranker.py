"""The fusion as a ranker: what a worker serves, on a log that is complete beforehand.

Shapes: N targets, T candidates of all of them, F features, D width, K items of a list.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from model.fusion.fusion import Fusion, FusionRanking
from model.fusion.live_items import LiveItems
from model.network.network import Network
from model.search.catalogue import Catalogue

_AT_ONCE: Final = 256  # targets scored together while the statistics stay as they are


@dataclass(frozen=True, slots=True)
class FusionInputs:
    """What network and log say about N targets, before the statistics join."""

    item_keys: NDArray[np.uint64]  # (N,) of the targets
    recent: RecentActions
    best: NetworkBest

    def select(self, indices: NDArray[np.int64]) -> FusionInputs:
        """Returns what is said about some of the targets."""
        return FusionInputs(self.item_keys[indices], self.recent.select(indices), self.best.select(indices))


class FusionRanker:
    """A network in evaluation mode, on its device, and a fusion; a target that is not a candidate is not ranked."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        fusion: Fusion,
        device: torch.device,
        *,
        hidden: NDArray[np.bool_] | None = None,
    ) -> None:
        """`hidden`: see `LiveItems`."""
        self._network = network.to(device).eval()
        self._vocabulary = vocabulary
        self._device = device
        with torch.inference_mode():
            item_vectors = network.item_vectors()
            self._catalogue = Catalogue(item_vectors)
            vectors = item_vectors.cpu().contiguous().numpy()
            attributes = network.contexts.weight.detach().cpu().contiguous().numpy()
        self._live = LiveItems(vocabulary, vectors, attributes, fusion.statistics, nameless=True, hidden=hidden)
        self.ranking = FusionRanking(self._live, fusion.combiner)

    @torch.inference_mode()
    def inputs_of(self, holdout: Holdout) -> FusionInputs:
        """Collects all that the fusion scores for each target."""
        queries = queries_of(self._network, self._vocabulary, holdout, self._device)
        ranked = self._catalogue.rank(queries, NETWORK_BEST)
        sequences = holdout.sequences
        items = catalogue_items(self._vocabulary, sequences.item_keys, sequences.contexts)
        best = (ranked.items.cpu().numpy(), ranked.log_probabilities.cpu().numpy(), queries.cpu().numpy())
        recent = RecentActions(items, sequences.contexts, holdout.starts, holdout.positions, sequences.item_keys)
        return FusionInputs(
            item_keys=holdout.item_keys,
            recent=recent.with_words(sequences.queries),
            best=NetworkBest(*best),
        )

    def collect(self, inputs: FusionInputs) -> tuple[Candidates, NDArray[np.int32]]:
        """Returns the candidates of N answers by the statistics as they are now, and the rows of the targets (N,); -1:
        it has none."""
        self._live.follow()
        return self.ranking.collect(inputs.recent, inputs.best), self._live.rows_of(inputs.item_keys)

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by the scores of the combiner; the statistics stay as they are."""
        return self._ranked(self.inputs_of(holdout), chunks_of(len(holdout)))

    def _ranked(self, inputs: FusionInputs, chunks: Iterator[NDArray[np.int64]]) -> RankedTargets:
        n = len(inputs.item_keys)
        ranks, top = np.full(n, MISSED), np.zeros((n, LIST_SIZE), np.uint64)
        for chunk in chunks:
            ranked = self.rank_some(inputs.select(chunk))
            ranks[chunk], top[chunk] = ranked.ranks, ranked.top
        return RankedTargets(ranks, top)

    def rank_some(self, inputs: FusionInputs) -> RankedTargets:
        """Ranks N targets by the statistics as they are now."""
        candidates, targets = self.collect(inputs)
        scores = self.ranking.score(candidates)
        best, keys = _best(scores, candidates), self._live.table.arrays.items.keys
        top = np.where(best < 0, np.uint64(0), keys[candidates.items[best]])
        return RankedTargets(_ranks(scores, candidates, targets), top)


def chunks_of(targets: int) -> Iterator[NDArray[np.int64]]:
    """Yields the indices of so many targets, some at a time."""
    for start in range(0, targets, _AT_ONCE):
        yield np.arange(start, min(start + _AT_ONCE, targets))


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
