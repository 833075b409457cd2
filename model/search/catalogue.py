"""The items that can be recommended, and the exact best k of them for a batch of queries.

All ways lead to the same items. The plain one scores everything in float32 and lets tensor operations search. The
others search for the few items that rough scores leave possible, and score these exactly: on the CPU in a compiled loop
(`rough_scores`, `shortlist`), on a GPU by its tensor cores (`gpu_shortlist`); queries with too many of them go the
plain way.
Shapes: N queries, I items (padded to whole blocks on the plain way), D width, k results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Final

from torch import Tensor
from torch.nn.functional import normalize

from model.kernels.int8_matmul import can_multiply
from model.search.coarse_scores import CoarseScores, Float32Scores, Shortlists, TorchInt8Scores, VnniInt8Scores
from model.search.gpu_shortlist import GpuShortlists
from model.search.plain_search import PlainSearch

_TRIALS: Final = 5
_HOPELESS: Final = 3  # times as long as the best so far: not tried again
_TRIAL_QUERIES: Final = 64
_TRIAL_K: Final = 20
_USUAL_NORM: Final = 16.0  # of queries, for a trial run


@dataclass(frozen=True, slots=True)
class RankedItems:
    """The best k items of each query, best first."""

    items: Tensor  # (N, k) int64, indices into the catalogue
    log_probabilities: Tensor  # (N, k), of a softmax over the whole catalogue; within 0.01 by shortlists


class Catalogue:
    """Item vectors (I, D). Not for two threads at once."""

    def __init__(self, vectors: Tensor, clock: Callable[[], float] = time.thread_time) -> None:
        """`clock` in seconds, to find out which way is the fastest here: of this thread, as others may be busy."""
        self._plain = PlainSearch(vectors)
        self.shortlists: Shortlists | GpuShortlists | None = None
        if vectors.device.type == "cpu":
            self.shortlists = _fastest(vectors, self._plain, clock)
        elif GpuShortlists.suits(vectors):
            self.shortlists = GpuShortlists(vectors)

    @property
    def size(self) -> int:
        """I."""
        return self._plain.size

    def for_another_thread(self) -> Catalogue:
        """The same items, with room of its own for scores."""
        other = copy(self)
        other._plain = self._plain.for_another_thread()
        other.shortlists = self.shortlists.for_another_thread() if self.shortlists else None
        return other

    def rank(self, queries: Tensor, k: int) -> RankedItems:
        """Exact top-k of queries (N, D) over all items; k is cut to the size of the catalogue."""
        k = min(k, self.size)
        if self.shortlists is not None and self.shortlists.can_rank(queries, k):
            items, log_probabilities, overflowed = self.shortlists.rank(queries, k)
            if overflowed.any():
                items[overflowed], log_probabilities[overflowed] = self._plain.rank(queries[overflowed], k)
        else:
            items, log_probabilities = self._plain.rank(queries, k)
        return RankedItems(items, log_probabilities)


def _fastest(vectors: Tensor, plain: PlainSearch, clock: Callable[[], float]) -> Shortlists | None:
    """The shortlists that rank in the least time here; None: the plain way is faster still."""
    if not len(vectors):
        return None
    vectors = vectors.contiguous()
    queries = _usual_queries(vectors)
    best, shortest = None, _seconds(plain.rank, queries, clock)
    eight_bits = VnniInt8Scores if can_multiply(vectors.shape[1]) else TorchInt8Scores
    kinds: tuple[Callable[[], CoarseScores], ...] = (
        lambda: Float32Scores(plain.transposed),
        lambda: eight_bits(vectors),
    )
    for kind in kinds:
        way = Shortlists(vectors, kind())
        if way.can_rank(queries, _TRIAL_K) and way.scores.is_exact():
            way.rank(queries[:1], _TRIAL_K)  # compiles the search
            needed = _seconds(way.rank, queries, clock, shortest)
            if needed < shortest:
                best, shortest = way, needed
    if best is not None:
        plain.free_room()
    return best


def _usual_queries(vectors: Tensor) -> Tensor:
    """Between two items each, as users are: right on an item the rough scores tell it from all others too easily."""
    middles = vectors[:_TRIAL_QUERIES] + vectors.flip(0)[:_TRIAL_QUERIES]
    return _USUAL_NORM * normalize(middles, dim=1)


def _seconds(
    way: Callable[[Tensor, int], object], queries: Tensor, clock: Callable[[], float], to_beat: float = math.inf
) -> float:
    """The shortest of a few runs; of one, where that takes much longer than what is to be beaten."""
    shortest = math.inf
    for _ in range(_TRIALS):
        start = clock()
        way(queries, _TRIAL_K)
        shortest = min(shortest, clock() - start)
        if shortest > _HOPELESS * to_beat:
            break
    return shortest
