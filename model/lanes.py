"""Ranking for a batch in several threads: each takes a share of the answers and has room of its own to rank them.

The loops that rank run without the interpreter's lock, so shares are ranked at the same time.
Shapes: N answers, D width, k ranked items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.candidates import NETWORK_BEST, NetworkBest, Recent
from model.catalogue import Catalogue, Ranked
from model.fusion import Fusion

T = TypeVar("T")

_LEAST: Final = 64  # answers of a share: fewer are ranked before another thread is awake


class Lanes:
    """As many lanes as threads. The first share is ranked by the thread that asks."""

    def __init__(self, catalogue: Catalogue, vectors: NDArray[np.float32], fusion: Fusion, threads: int) -> None:
        """`vectors` (I, D) are the catalogue's own, on the CPU."""
        others = range(threads - 1)
        self._vectors = vectors
        self._catalogues = [catalogue, *(catalogue.for_another_thread() for _ in others)]
        self._fusions = [fusion, *(fusion.for_another_thread() for _ in others)]
        self._threads = ThreadPoolExecutor(max(1, threads - 1), "ranking", torch.set_num_threads, (1,))

    @property
    def catalogue(self) -> Catalogue:
        """The first lane's."""
        return self._catalogues[0]

    @property
    def fusion(self) -> Fusion:
        """The first lane's."""
        return self._fusions[0]

    def network_best(self, queries: Tensor) -> NetworkBest:
        """What the network says to queries (N, D); on another device than the CPU they are one share."""
        catalogues = self._catalogues if queries.device.type == "cpu" else self._catalogues[:1]
        ranked = self._shares(len(queries), [partial(_best_of, one, queries) for one in catalogues])
        items = np.concatenate([share.items.cpu().numpy() for share in ranked])
        log_probabilities = np.concatenate([share.log_probabilities.cpu().numpy() for share in ranked])
        return NetworkBest(items, log_probabilities, queries.cpu().numpy(), self._vectors)

    def rank(self, recent: Recent, best: NetworkBest, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As `Fusion.rank`."""
        lanes = [partial(_fused, one, recent, best, k) for one in self._fusions]
        ranked = self._shares(len(recent.starts), lanes)
        return np.concatenate([share[0] for share in ranked]), np.concatenate([share[1] for share in ranked])

    def _shares(self, n: int, lanes: Sequence[Callable[[slice], T]]) -> list[T]:
        """What the lanes make of N answers, in order."""
        lanes = lanes[: max(1, n // _LEAST)]
        bounds = np.linspace(0, n, len(lanes) + 1).round().astype(np.int64).tolist()
        parts = [slice(begin, end) for begin, end in pairwise(bounds)]
        later = [self._threads.submit(_inferring, lane, part) for lane, part in zip(lanes[1:], parts[1:], strict=True)]
        return [lanes[0](parts[0]), *(share.result() for share in later)]


def _best_of(catalogue: Catalogue, queries: Tensor, part: slice) -> Ranked:
    return catalogue.rank(queries[part], NETWORK_BEST)


def _fused(
    fusion: Fusion, recent: Recent, best: NetworkBest, k: int, part: slice
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return fusion.rank(recent.part(part), best.part(part), k)


def _inferring(lane: Callable[[slice], T], part: slice) -> T:
    with torch.inference_mode():  # belongs to the thread
        return lane(part)
