"""Ranks the items that can be recommended: the exact best k of them for a batch of queries.

All searches find the same items. The plain one scores everything in float32 and lets tensor operations find the best.
The others look for the few items that coarse scores leave possible, and score these exactly: on the CPU in a compiled
loop (`coarse_scores`, `shortlist`), on a GPU by its tensor cores (`gpu_shortlist`); queries that leave too many items
possible go to the plain search.
Shapes: N queries, I items, D width, k results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from model.kernels.int8_matmul import can_multiply
from model.search.coarse_scores import CoarseScores, Float32Scores, Shortlists, TorchInt8Scores, VnniInt8Scores
from model.search.gpu_shortlist import GpuShortlists
from model.search.plain_search import PlainSearch

_TRIALS: Final = 5  # timed runs of each search
_GIVE_UP_FACTOR: Final = 3  # a search that takes so many times the best time so far is not run again
_TRIAL_QUERIES: Final = 64
_TRIAL_K: Final = 20
_USUAL_NORM: Final = 16.0  # of queries, in a timed run


@dataclass(frozen=True, slots=True)
class RankedItems:
    """The best k items of each query, best first."""

    items: Tensor  # (N, k) int64, indices into the catalogue
    log_probabilities: Tensor  # (N, k), of a softmax over the whole catalogue; within 0.01 where shortlists found them


class Catalogue:
    """Item vectors (I, D), and the search that is the fastest here. Not for two threads at once."""

    def __init__(self, vectors: Tensor, clock: Callable[[], float] = time.thread_time) -> None:
        """`clock`, in seconds, times the searches: it counts this thread's time only, as others may be busy."""
        self._plain = PlainSearch(vectors)
        self.shortlists: Shortlists | GpuShortlists | None = None
        if vectors.device.type == "cpu":
            self.shortlists = _fastest_search(vectors, self._plain, clock)
        elif GpuShortlists.suits(vectors):
            self.shortlists = GpuShortlists(vectors)

    @property
    def size(self) -> int:
        """The number of items, I."""
        return self._plain.size

    @property
    def device(self) -> torch.device:
        """Where the vectors are, and queries have to be."""
        return self._plain.transposed.device

    def for_another_thread(self) -> Catalogue:
        """Returns a catalogue of the same items with buffers of its own."""
        other = copy(self)
        other._plain = self._plain.for_another_thread()
        other.shortlists = self.shortlists.for_another_thread() if self.shortlists else None
        return other

    def rank(self, queries: Tensor, k: int) -> RankedItems:
        """Returns the exact best k of all items for queries (N, D); k is cut to the size of the catalogue."""
        k = min(k, self.size)
        if self.shortlists is not None and self.shortlists.can_rank(queries, k):
            items, log_probabilities, overflowed = self.shortlists.rank(queries, k)
            if overflowed.any():
                items[overflowed], log_probabilities[overflowed] = self._plain.rank(queries[overflowed], k)
        else:
            items, log_probabilities = self._plain.rank(queries, k)
        return RankedItems(items, log_probabilities)


def _fastest_search(vectors: Tensor, plain: PlainSearch, clock: Callable[[], float]) -> Shortlists | None:
    """Times the searches of a CPU on these vectors; returns the fastest shortlists, or None where `plain` is faster.

    The outcome depends on timing: two loads of one version, on two machines or on one, may choose differently. Which
    items are found does not depend on it; their log-probabilities may differ by up to 0.01. Give `Catalogue` a clock to
    decide it.
    """
    if not len(vectors):
        return None
    vectors = vectors.contiguous()
    queries = _usual_queries(vectors)
    fastest, shortest = None, _shortest_time(plain.rank, queries, clock)
    int8_scores = VnniInt8Scores if can_multiply(vectors.shape[1]) else TorchInt8Scores
    kinds: tuple[Callable[[], CoarseScores], ...] = (
        lambda: Float32Scores(plain.transposed),
        lambda: int8_scores(vectors),
    )
    for kind in kinds:
        shortlists = Shortlists(vectors, kind())
        if shortlists.can_rank(queries, _TRIAL_K) and shortlists.scores.is_exact():
            shortlists.rank(queries[:1], _TRIAL_K)  # compiles the search
            seconds = _shortest_time(shortlists.rank, queries, clock, shortest)
            if seconds < shortest:
                fastest, shortest = shortlists, seconds
    if fastest is not None:
        plain.free_buffers()
    return fastest


def _usual_queries(vectors: Tensor) -> Tensor:
    """Returns queries that lie between two items each, as those of users do.

    A query right on an item would be too easy: its coarse score stands out from all others.
    """
    middles = vectors[:_TRIAL_QUERIES] + vectors.flip(0)[:_TRIAL_QUERIES]
    return _USUAL_NORM * normalize(middles, dim=1)


def _shortest_time(
    rank: Callable[[Tensor, int], object], queries: Tensor, clock: Callable[[], float], to_beat: float = math.inf
) -> float:
    """Returns the seconds of the shortest of a few runs, or of the first that takes much longer than `to_beat`."""
    shortest = math.inf
    for _ in range(_TRIALS):
        start = clock()
        rank(queries, _TRIAL_K)
        shortest = min(shortest, clock() - start)
        if shortest > _GIVE_UP_FACTOR * to_beat:
            break
    return shortest
