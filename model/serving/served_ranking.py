"""What ranks the items of an answer in a worker: network and log together, or the network alone.

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

from model.data.recent import Recent
from model.fusion.candidates import NETWORK_BEST, NetworkBest
from model.fusion.fusion import Fusion
from model.search.catalogue import Catalogue, RankedItems

T = TypeVar("T")
_LEAST: Final = 64  # answers of a share: fewer are ranked before another thread is awake

RankedBy = Literal["network-and-log", "network"]
Items = tuple[NDArray[np.int64], NDArray[np.float32]]  # (N, k) catalogue indices, best first, and log-probabilities


class ServedRanking(Protocol):
    """Ranks for a batch, in as many threads as it was given. Not for two threads at once."""

    def rank(self, recent: Recent, queries: Tensor, k: int) -> Items:
        """The k best items of N answers: of users with these last actions and network queries (N, D).

        k is cut to the size of the catalogue.
        """


class NetworkAlone:
    """By the network's scores only: a search of the catalogue per answer and nothing else."""

    def __init__(self, catalogue: Catalogue, threads: int) -> None:
        self._catalogues = [catalogue, *(catalogue.for_another_thread() for _ in range(threads - 1))]
        self.lanes = ThreadShards(threads)

    @property
    def catalogue(self) -> Catalogue:
        """The first lane's."""
        return self._catalogues[0]

    def rank(self, recent: Recent, queries: Tensor, k: int) -> Items:
        """As `ServedRanking.rank`; on another device than the CPU the queries are one share."""
        catalogues = self._catalogues if queries.device.type == "cpu" else self._catalogues[:1]
        ranked = self.lanes.shares(len(queries), [partial(_best_of, one, queries, k) for one in catalogues])
        items = np.concatenate([share.items.cpu().numpy() for share in ranked])
        return items, np.concatenate([share.log_probabilities.cpu().numpy() for share in ranked])


class NetworkAndLog:
    """By `Fusion`, among the candidates that the network and the log name."""

    def __init__(self, network: NetworkAlone, vectors: NDArray[np.float32], fusion: Fusion) -> None:
        """`vectors` (I, D) are the catalogue's own, on the CPU; there are as many threads as the network has."""
        self.network, self._vectors = network, vectors
        self._fusions = [fusion, *(fusion.for_another_thread() for _ in range(network.lanes.threads - 1))]

    @property
    def fusion(self) -> Fusion:
        """The first lane's."""
        return self._fusions[0]

    def network_best(self, recent: Recent, queries: Tensor) -> NetworkBest:
        """What the network says to queries (N, D)."""
        items, log_probabilities = self.network.rank(recent, queries, NETWORK_BEST)
        return NetworkBest(items, log_probabilities, queries.cpu().numpy(), self._vectors)

    def rank(self, recent: Recent, queries: Tensor, k: int) -> Items:
        """As `ServedRanking.rank`."""
        best = self.network_best(recent, queries)
        lanes = [partial(_fused, one, recent, best, k) for one in self._fusions]
        ranked = self.network.lanes.shares(len(recent.starts), lanes)
        return np.concatenate([share[0] for share in ranked]), np.concatenate([share[1] for share in ranked])


def _best_of(catalogue: Catalogue, queries: Tensor, k: int, part: slice) -> RankedItems:
    return catalogue.rank(queries[part], k)


def _fused(fusion: Fusion, recent: Recent, best: NetworkBest, k: int, part: slice) -> Items:
    return fusion.rank(recent.part(part), best.part(part), k)


class ThreadShards:
    """Threads for all lanes but the first, which is the thread that asks."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._others = ThreadPoolExecutor(max(1, threads - 1), "ranking", torch.set_num_threads, (1,))

    def shares(self, n: int, lanes: Sequence[Callable[[slice], T]]) -> list[T]:
        """What the lanes make of N answers, each of a share of them, in order."""
        lanes = lanes[: max(1, n // _LEAST)]
        if len(lanes) == 1:
            return [lanes[0](slice(0, n))]
        bounds = np.linspace(0, n, len(lanes) + 1).round().astype(np.int64).tolist()
        parts = [slice(begin, end) for begin, end in pairwise(bounds)]
        later = [self._others.submit(_inferring, lane, part) for lane, part in zip(lanes[1:], parts[1:], strict=True)]
        return [lanes[0](parts[0]), *(share.result() for share in later)]


def _inferring(lane: Callable[[slice], T], part: slice) -> T:
    with torch.inference_mode():  # belongs to the thread
        return lane(part)
