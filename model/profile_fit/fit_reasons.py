"""Fits how to tell reasons to what exact removal does: actions are cut out of sequences, and the state is encoded anew.

Shapes: N users, k explained items, O own items that can be left out, V pasts without one of them, T terms, F features,
D width.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.event_log import EventLog, parts
from model.data.query_table import QueryTable, joined_tables
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import FEATURES, NETWORK_BEST, NetworkBest
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion, FusionRanking
from model.fusion.live_items import LiveItems
from model.kernels.compiled import Floats
from model.network.network import Network
from model.profile.why.left_out import AGES, AT_ONCE, MOST_LEFT_OUT, TERMS, OwnTerms, own_terms
from model.profile.why.reasons import ReasonWeights
from model.profile_fit.removal import Past, past_of, queries_after, recent_of
from model.search.catalogue import Catalogue
from model.training.fit_run import FitRun

_USERS: Final = 400  # that it is fitted to, at most
_LEAST_ITEMS: Final = 3  # distinct ones that such a user has had to do with
_RIDGE: Final = 3.0  # keeps weights small of which the users say little


def fit_reasons(network: Network, vocabulary: Vocabulary, fusion: Fusion, log: EventLog, run: FitRun) -> ReasonWeights:
    """Fits what tells reasons to users of the log, as they are at its end.

    Where no user has had to do with enough items, nothing is put down to the network.
    """
    network = network.eval()
    pasts, searches = _sample(log, np.random.default_rng(run.seed))
    if not pasts or not len(vocabulary):
        nothing = torch.zeros(len(FEATURES), 1)
        return ReasonWeights([[0.0] * TERMS] * AGES, _slopes(fusion.combiner, nothing))
    with torch.inference_mode():
        explained = _ModelItems(network, vocabulary, fusion, run.device)
        queries = queries_after(network, vocabulary, pasts, searches, run.device)
        recent = recent_of(vocabulary, pasts, searches)
        sources = explained.ranking.sources(recent, explained.best(queries, NETWORK_BEST))
        items, _ = explained.ranking.rank_from(sources, AT_ONCE)
        terms = own_terms(sources, items)
        owners, ranks = np.nonzero(np.arange(MOST_LEFT_OUT) < terms.counts[:, None])
        keys = explained.live.item_keys[terms.own[owners, ranks]]
        cut = [pasts[owner].without(pasts[owner].item_keys == key) for owner, key in zip(owners, keys, strict=True)]
        without = queries_after(network, vocabulary, cut, searches, run.device)
        drops = explained.log_probabilities(queries, items)[owners] - explained.log_probabilities(
            without, items[owners]
        )
        candidates = explained.ranking.collect(recent, sources.best)
        rows = explained.live.arrays.rows[items]
    wanted = (candidates.items[:, None] == rows[candidates.answers]).any(1)
    slopes = _slopes(fusion.combiner, torch.from_numpy(candidates.features[:, wanted]))
    return ReasonWeights(_weights(terms, owners, ranks, drops), slopes)


def _sample(log: EventLog, randomness: np.random.Generator) -> tuple[list[Past], QueryTable]:
    """Returns the pasts of some users who have had to do with enough items, as many of each part of the log."""
    pasts, tables, most = list[Past](), list[QueryTable](), max(1, _USERS // log.part_count)
    for part in parts(log):
        tables.append(part.queries)
        taken = 0
        for user in randomness.permutation(np.flatnonzero(np.diff(part.offsets) >= _LEAST_ITEMS)).tolist():
            past = past_of(part, user)
            if len(np.unique(past.item_keys)) >= _LEAST_ITEMS:
                pasts.append(past)
                taken += 1
            if taken == most:
                break
    return pasts, joined_tables(tables)


class _ModelItems:
    """The items of a model, ranked by the network and by the fusion."""

    def __init__(self, network: Network, vocabulary: Vocabulary, fusion: Fusion, device: torch.device) -> None:
        network = network.to(device)
        self._vectors = network.item_vectors()
        self._catalogue = Catalogue(self._vectors)
        attributes = network.contexts.weight.detach().cpu().contiguous().numpy()
        vectors = self._vectors.cpu().contiguous().numpy()
        self.live = LiveItems(vocabulary, vectors, attributes, fusion.statistics, nameless=True)
        self.live.follow()
        self.ranking = FusionRanking(self.live, fusion.combiner)

    def best(self, queries: Tensor, k: int) -> NetworkBest:
        """Returns the network's best items for N queries."""
        ranked = self._catalogue.rank(queries, k)
        return NetworkBest(ranked.items.cpu().numpy(), ranked.log_probabilities.cpu().numpy(), queries.cpu().numpy())

    def log_probabilities(self, queries: Tensor, items: NDArray[np.int64]) -> Floats:
        """Returns the network's log-probabilities of items (N, k) after N queries."""
        best, vectors = self.best(queries, 1), self.live.arrays.vectors
        totals = np.einsum("nd,nd->n", best.queries, vectors[best.items[:, 0]]) - best.log_probabilities[:, 0]
        logits: Floats = np.einsum("nd,nkd->nk", best.queries, vectors[items]) - totals[:, None]
        return logits


def _weights(terms: OwnTerms, owners: NDArray[np.int64], ranks: NDArray[np.int64], drops: Floats) -> list[list[float]]:
    """Fits the weights of the terms, of each age for itself, to the drops (V, k) without the own items of some ranks of
    some users (V,): least squares with a ridge."""
    weights = np.zeros((AGES, TERMS))
    inputs = terms.terms[owners, :, ranks].astype(np.float64)  # (V, k, T)
    for age in range(AGES):
        of_age = terms.ages[ranks] == age
        x, y = inputs[of_age].reshape(-1, TERMS), drops[of_age].reshape(-1)
        weights[age] = np.linalg.solve(x.T @ x + _RIDGE * np.eye(TERMS), x.T @ y)
    fitted: list[list[float]] = weights.tolist()
    return fitted


def _slopes(combiner: Combiner, features: Tensor) -> list[float]:
    """Returns by how much scores rise with each feature, the mean over columns of features (F, C)."""
    features = features.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(combiner(features).sum(), features)
    slopes: list[float] = gradient.mean(1).tolist()
    return slopes
