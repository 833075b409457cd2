"""Ranking of the items of an answer in a worker: by network and statistics together, or by the network alone.

Shapes: N answers, I items of the catalogue, D width, k ranked items. Items are numbered as in `LiveItems`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Final, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.recent import RecentActions
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import NETWORK_BEST, CandidateSources, NetworkBest
from model.fusion.fusion import Fusion, FusionRanking
from model.fusion.given_items import given_log_probabilities, network_log_probabilities
from model.fusion.live_items import LiveItems
from model.fusion.related_items import RelatedItems, items_beside, number_of, related_items
from model.profile.why.explain import ExplainWeights, Reasons, explain, explain_weights, joined_reasons
from model.profile.why.reasons import ReasonWeights
from model.search.catalogue import Catalogue
from model.serving.answers import RANKED
from model.statistics.statistics_table import StatisticsTable

T = TypeVar("T")
_LEAST: Final = 64  # answers per shard: fewer are ranked before another thread is awake

RankedBy = Literal["network-and-log", "network"]
Items = tuple[NDArray[np.int64], NDArray[np.float32]]  # (N, k) numbers, best first, and log-probabilities
_NOTHING: Final = np.zeros(0, np.int64)
_QUERY_NORM: Final = np.float32(16)  # of queries that search for what is like an item: users' are about as long


class ServedRanking(Protocol):
    """Ranks items for a batch, in as many threads as it was given. One thread at a time may call it."""

    @property
    def names(self) -> Sequence[str]:
        """The ids of the items by number; the list may grow, but numbers keep their ids."""

    @property
    def item_keys(self) -> NDArray[np.uint64]:
        """The keys of the items by number; there may be more than items."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors of the items by number, (I or more, D), on the CPU."""

    def follow(self, statistics: StatisticsTable | None) -> NDArray[np.int64]:
        """Ranks by these live statistics from now on, as they are now; None: by those of the version.

        Returns the numbers of items that the catalogue lacks whose vectors are other ones now.
        """

    def rank(self, recent: RecentActions, queries: Tensor, k: int) -> Items:
        """Ranks the k best items of N answers, to users with these last actions and network queries (N, D).

        k is cut to the size of the catalogue.
        """

    def rank_and_explain(
        self, recent: RecentActions, queries: Tensor, k: int, explained: int
    ) -> tuple[Items, Reasons | None]:
        """Ranks as `rank` does, and returns why the first items of each answer are there; None: it cannot tell."""

    def score(
        self, recent: RecentActions, queries: Tensor, item_keys: Sequence[NDArray[np.uint64]]
    ) -> list[NDArray[np.float32]]:
        """Returns the log-probabilities (G,) of items given for each of N answers, by their distinct keys (G,).

        They are those of `rank`, for what it would rank; UNKNOWN of items of which nothing is known.
        """

    def related(self, item_key: int, k: int) -> RelatedItems | None:
        """Ranks at most k items that go with another one; None: nothing is known of that one."""


class NetworkAlone:
    """Ranks by the network's scores only: a search of the catalogue per answer and nothing else."""

    def __init__(
        self, catalogue: Catalogue, vocabulary: Vocabulary, vectors: NDArray[np.float32], threads: int
    ) -> None:
        """`vectors` (I, D) are the catalogue's own, on the CPU."""
        self.names: Sequence[str] = vocabulary.items
        self.item_keys = vocabulary.item_keys
        self.vectors = vectors
        self._find = vocabulary.table.find
        self._catalogues = [catalogue, *(catalogue.for_another_thread() for _ in range(threads - 1))]
        self.shards = ThreadShards(threads)

    @property
    def catalogue(self) -> Catalogue:
        """The first thread's catalogue."""
        return self._catalogues[0]

    def follow(self, statistics: StatisticsTable | None) -> NDArray[np.int64]:
        """See `ServedRanking.follow`: statistics make no difference."""
        return _NOTHING

    def rank(self, recent: RecentActions, queries: Tensor, k: int) -> Items:
        """See `ServedRanking.rank`; on another device than the CPU all queries are one shard."""
        catalogues = self._catalogues if queries.device.type == "cpu" else self._catalogues[:1]
        return _joined(self.shards.map(len(queries), [partial(_rank_shard, one, queries, k) for one in catalogues]))

    def rank_and_explain(
        self, recent: RecentActions, queries: Tensor, k: int, explained: int
    ) -> tuple[Items, Reasons | None]:
        """See `ServedRanking.rank_and_explain`."""
        return self.rank(recent, queries, k), None

    def score(
        self, recent: RecentActions, queries: Tensor, item_keys: Sequence[NDArray[np.uint64]]
    ) -> list[NDArray[np.float32]]:
        """See `ServedRanking.score`."""
        items, log_probabilities = self.rank(recent, queries, RANKED)
        best = NetworkBest(items, log_probabilities, queries.cpu().numpy())
        return network_log_probabilities(self.vectors, best, [self._find(keys) for keys in item_keys])

    def related(self, item_key: int, k: int) -> RelatedItems | None:
        """See `ServedRanking.related`: by vectors alone."""
        number = int(self._find(np.array([item_key], np.uint64))[0])
        if number < 0:
            return None
        return related_items(self.vectors, number, self.similar(self.vectors[number], k), {}, 0).first(k)

    def similar(self, vector: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Returns the numbers of the k items whose vectors are the most like an item's (D,), and of itself."""
        query = torch.from_numpy(_QUERY_NORM * vector[None]).to(self.catalogue.device)
        return self.catalogue.rank(query, k + 1).items[0].cpu().numpy()


class NetworkAndLog:
    """Ranks by `FusionRanking`, among the candidates that the network and the statistics name."""

    def __init__(
        self,
        network: NetworkAlone,
        vocabulary: Vocabulary,
        attributes: NDArray[np.float32],
        fusion: Fusion,
        reasons: ReasonWeights | None = None,
    ) -> None:
        """`attributes` are the vectors of the network's context table; there are as many threads as the network has."""
        self.network = network
        self._reasons = None if reasons is None else explain_weights(reasons)
        self._vocabulary, self._attributes, self._fusion = vocabulary, attributes, fusion
        self._use(fusion.statistics)

    def _use(self, statistics: StatisticsTable) -> None:
        live = LiveItems(self._vocabulary, self.network.vectors, self._attributes, statistics)
        first = FusionRanking(live, self._fusion.combiner)
        self._rankings = [first, *(first.for_another_thread() for _ in range(self.network.shards.threads - 1))]

    @property
    def live(self) -> LiveItems:
        """The items that can be recommended now."""
        return self._rankings[0].live

    @property
    def ranking(self) -> FusionRanking:
        """The first thread's ranking."""
        return self._rankings[0]

    @property
    def names(self) -> Sequence[str]:
        """See `ServedRanking.names`."""
        return self.live.names

    @property
    def item_keys(self) -> NDArray[np.uint64]:
        """See `ServedRanking.item_keys`."""
        return self.live.item_keys

    @property
    def vectors(self) -> NDArray[np.float32]:
        """See `ServedRanking.vectors`."""
        return self.live.arrays.vectors

    def follow(self, statistics: StatisticsTable | None) -> NDArray[np.int64]:
        """See `ServedRanking.follow`; a version that was not fitted to live statistics keeps its own."""
        own = self._fusion.statistics
        if statistics is None or not self._fusion.live or _begins(statistics, own):
            statistics = own
        if statistics is not self.live.table:
            self._use(statistics)
        return self.live.follow()

    def network_best(self, recent: RecentActions, queries: Tensor) -> NetworkBest:
        """Searches the network's best items for queries (N, D)."""
        items, log_probabilities = self.network.rank(recent, queries, NETWORK_BEST)
        return NetworkBest(items, log_probabilities, queries.cpu().numpy())

    def rank(self, recent: RecentActions, queries: Tensor, k: int) -> Items:
        """See `ServedRanking.rank`."""
        best = self.network_best(recent, queries)
        sources = self.ranking.sources(recent, best)
        rankings = [partial(_fuse_shard, one, sources, k) for one in self._rankings]
        return _joined(self.network.shards.map(len(recent.starts), rankings))

    def rank_and_explain(
        self, recent: RecentActions, queries: Tensor, k: int, explained: int
    ) -> tuple[Items, Reasons | None]:
        """See `ServedRanking.rank_and_explain`; a version that was not fitted to tell reasons does not."""
        if self._reasons is None:
            return self.rank(recent, queries, k), None
        sources = self.ranking.sources(recent, self.network_best(recent, queries))
        explain_shards = [partial(_explain_shard, one, sources, k, explained, self._reasons) for one in self._rankings]
        items, reasons = zip(*self.network.shards.map(len(recent.starts), explain_shards), strict=True)
        return _joined(items), joined_reasons(reasons)

    def score(
        self, recent: RecentActions, queries: Tensor, item_keys: Sequence[NDArray[np.uint64]]
    ) -> list[NDArray[np.float32]]:
        """See `ServedRanking.score`."""
        return given_log_probabilities(self.ranking, recent, self.network_best(recent, queries), item_keys)

    def related(self, item_key: int, k: int) -> RelatedItems | None:
        """See `ServedRanking.related`."""
        live = self.live
        number = number_of(live, item_key)
        if number < 0:
            return self.network.related(item_key, k)
        similar = self.network.similar(live.arrays.vectors[number], k)
        return related_items(live.arrays.vectors, number, similar, *items_beside(live, number)).first(k)


def _begins(statistics: StatisticsTable, own: StatisticsTable) -> bool:
    """Returns whether live statistics know fewer than half of the items that a version's own do: those who count them
    have just begun."""
    return 2 * len(statistics) < len(own)


def _rank_shard(catalogue: Catalogue, queries: Tensor, k: int, rows: slice) -> Items:
    ranked = catalogue.rank(queries[rows], k)
    return ranked.items.cpu().numpy(), ranked.log_probabilities.cpu().numpy()


def _fuse_shard(ranking: FusionRanking, sources: CandidateSources, k: int, rows: slice) -> Items:
    return ranking.rank_from(sources.select(rows), k)


def _explain_shard(
    ranking: FusionRanking, sources: CandidateSources, k: int, explained: int, weights: ExplainWeights, rows: slice
) -> tuple[Items, Reasons]:
    shard = sources.select(rows)
    items, log_probabilities = ranking.rank_from(shard, k)
    reasons = explain(shard, np.ascontiguousarray(items[:, :explained]), ranking.weights, weights)
    return (items, log_probabilities), reasons


def _joined(shards: Sequence[Items]) -> Items:
    if len(shards) == 1:
        return shards[0]
    items, log_probabilities = zip(*shards, strict=True)
    return np.concatenate(items), np.concatenate(log_probabilities)


class ThreadShards:
    """Works on shards of a batch in several threads; the first shard is the calling thread's."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._others = ThreadPoolExecutor(max(1, threads - 1), "ranking", torch.set_num_threads, (1,))

    def map(self, n: int, functions: Sequence[Callable[[slice], T]]) -> list[T]:
        """Calls each function, in a thread of its own, with its shard of N answers; returns the results in order.

        Few answers make fewer shards than there are functions.
        """
        functions = functions[: max(1, n // _LEAST)]
        if len(functions) == 1:
            return [functions[0](slice(0, n))]
        bounds = np.linspace(0, n, len(functions) + 1).round().astype(np.int64).tolist()
        shards = [slice(begin, end) for begin, end in pairwise(bounds)]
        pairs = zip(functions[1:], shards[1:], strict=True)
        others = [self._others.submit(_infer, function, rows) for function, rows in pairs]
        return [functions[0](shards[0]), *(shard.result() for shard in others)]


def _infer(function: Callable[[slice], T], rows: slice) -> T:
    with torch.inference_mode():  # belongs to the thread
        return function(rows)
