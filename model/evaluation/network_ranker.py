"""The network as a ranker: full ranking over its vocabulary.

Shapes: N targets, I items, D width, K items of a list.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.batches import batches
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, RankedTargets
from model.network.network import Network
from model.search.catalogue import Catalogue

TOKENS: Final = 8192  # steps of a batch
_SCORES: Final = 16_000_000  # scores in memory at once


class NetworkRanker:
    """A network in evaluation mode, on its device."""

    def __init__(self, network: Network, vocabulary: Vocabulary, device: torch.device) -> None:
        self._network = network.to(device).eval()
        self._vocabulary = vocabulary
        self._device = device
        with torch.inference_mode():
            self._items = network.item_vectors()
            self._catalogue = Catalogue(self._items)

    @torch.inference_mode()
    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by the logits; an item that is not in the vocabulary is not ranked."""
        queries = queries_of(self._network, self._vocabulary, holdout, self._device)
        top = np.zeros((len(holdout), LIST_SIZE), np.uint64)
        best = self._catalogue.rank(queries, LIST_SIZE).items.cpu().numpy()
        top[:, : best.shape[1]] = self._vocabulary.item_keys[best]
        return RankedTargets(self._ranks(queries, self._vocabulary.rows_of(holdout.item_keys) - ITEM_BUCKETS), top)

    def _ranks(self, queries: Tensor, items: NDArray[np.int64]) -> NDArray[np.int64]:
        ranks, known = np.full(len(items), MISSED), items >= 0
        on_device = torch.from_numpy(known).to(self._device)
        ranks[known] = exact_ranks(queries[on_device], self._items, torch.from_numpy(items[known]).to(self._device))
        return ranks


def queries_of(network: Network, vocabulary: Vocabulary, holdout: Holdout, device: torch.device) -> Tensor:
    """Computes the network's query to the catalogue for each of N targets, (N, D) on the device."""
    queries = torch.zeros(len(holdout), network.config.width, device=device)
    ends = np.append(holdout.positions, -1)
    for batch in batches(holdout.sequences, tokens=TOKENS):
        targets = np.searchsorted(holdout.positions, batch.positions + 1)
        of_targets = batch.has_next & (ends[targets] == batch.positions + 1)
        if of_targets.any():
            _, vectors = network(vocabulary.tokens(batch.item_keys, batch.contexts, batch.queries).to(device))
            rows = torch.from_numpy(targets[of_targets]).to(device)
            queries[rows] = network.queries(vectors[torch.from_numpy(of_targets).to(device)])
    return queries


def exact_ranks(queries: Tensor, item_vectors: Tensor, targets: Tensor) -> NDArray[np.int64]:
    """Ranks target items (N,) by queries (N, D) among all items (I, D), a bounded block at a time; returns (N,)."""
    block = max(1, _SCORES // max(1, len(item_vectors)))
    ranks = []
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ item_vectors.T
        # The target's own score is read from the same product, so it counts exactly once.
        own = scores.gather(1, targets[start : start + block].unsqueeze(1))
        # Written so that a score that is not a number counts against the target, and that of the target for nothing.
        ranks.append((~(scores < own.where(own.isfinite(), -torch.inf))).sum(1).cpu().numpy())
    return np.concatenate(ranks) if ranks else np.zeros(0, np.int64)
