"""Ranking of the items of an answer in a worker: by network and log together, or by the network alone.

Shapes: N answers, I items of the catalogue, D width, k ranked items.
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
from model.fusion.candidate_features import NETWORK_BEST, NetworkBest
from model.fusion.fusion import Fusion
from model.search.catalogue import Catalogue

T = TypeVar("T")
_LEAST: Final = 64  # answers per shard: fewer are ranked before another thread is awake

RankedBy = Literal["network-and-log", "network"]
Items = tuple[NDArray[np.int64], NDArray[np.float32]]  # (N, k) catalogue indices, best first, and log-probabilities


class ServedRanking(Protocol):
    """Ranks items for a batch, in as many threads as it was given. One thread at a time may call it."""

    def rank(self, recent: RecentActions, queries: Tensor, k: int) -> Items:
        """Ranks the k best items of N answers, to users with these last actions and network queries (N, D).

        k is cut to the size of the catalogue.
        """


class NetworkAlone:
    """Ranks by the network's scores only: a search of the catalogue per answer and nothing else."""

    def __init__(self, catalogue: Catalogue, threads: int) -> None:
        self._catalogues = [catalogue, *(catalogue.for_another_thread() for _ in range(threads - 1))]
        self.shards = ThreadShards(threads)

    @property
    def catalogue(self) -> Catalogue:
        """The first thread's catalogue."""
        return self._catalogues[0]

    def rank(self, recent: RecentActions, queries: Tensor, k: int) -> Items:
        """See `ServedRanking.rank`; on another device than the CPU all queries are one shard."""
        catalogues = self._catalogues if queries.device.type == "cpu" else self._catalogues[:1]
        return _joined(self.shards.map(len(queries), [partial(_rank_shard, one, queries, k) for one in catalogues]))


class NetworkAndLog:
    """Ranks by `Fusion`, among the candidates that the network and the log name."""

    def __init__(self, network: NetworkAlone, vectors: NDArray[np.float32], fusion: Fusion) -> None:
        """`vectors` (I, D) are the catalogue's own, on the CPU; there are as many threads as the network has."""
        self.network, self._vectors = network, vectors
        self._fusions = [fusion, *(fusion.for_another_thread() for _ in range(network.shards.threads - 1))]

    @property
    def fusion(self) -> Fusion:
        """The first thread's fusion."""
        return self._fusions[0]

    def network_best(self, recent: RecentActions, queries: Tensor) -> NetworkBest:
        """Searches the network's best items for queries (N, D)."""
        items, log_probabilities = self.network.rank(recent, queries, NETWORK_BEST)
        return NetworkBest(items, log_probabilities, queries.cpu().numpy(), self._vectors)

    def rank(self, recent: RecentActions, queries: Tensor, k: int) -> Items:
        """See `ServedRanking.rank`."""
        best = self.network_best(recent, queries)
        rankings = [partial(_fuse_shard, one, recent, best, k) for one in self._fusions]
        return _joined(self.network.shards.map(len(recent.starts), rankings))


def _rank_shard(catalogue: Catalogue, queries: Tensor, k: int, rows: slice) -> Items:
    ranked = catalogue.rank(queries[rows], k)
    return ranked.items.cpu().numpy(), ranked.log_probabilities.cpu().numpy()


def _fuse_shard(fusion: Fusion, recent: RecentActions, best: NetworkBest, k: int, rows: slice) -> Items:
    return fusion.rank(recent.select(rows), best.select(rows), k)


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
