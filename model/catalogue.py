"""The items that can be recommended, and the exact best k of them for a batch of queries.

Two ways lead to the same items. The plain one scores everything in float32. The other, on the CPU, scores everything
in 8-bit integers, which processors with instructions for it do several times faster, and scores again in float32 what
the rounding errors leave possible (`shortlist`); queries with too many of those go the plain way.
Shapes: N queries, I items (padded to whole blocks on the plain way), D width, k results.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from model import shortlist

_BLOCK: Final = 64  # items
_ROWS: Final = 256  # queries scored at once on the plain way, so that the score matrix stays in bounds
_COARSE_ROWS: Final = 64  # on the other way: its scores should stay in the processor's caches
_LEVELS: Final = 127  # of an 8-bit integer, on either side of zero
_ROUNDING: Final = 1e-4  # of float32 sums, relative to the lengths of the vectors; generous
_TRIALS: Final = 4
_TRIAL_QUERIES: Final = 64
_TRIAL_K: Final = 20
_USUAL_NORM: Final = 16.0  # of queries, for a trial run
_LARGEST_LOGIT: Final = 80.0  # e to this is still a number


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best k items of each query, best first."""

    items: Tensor  # (N, k) int64, indices into the catalogue
    log_probabilities: Tensor  # (N, k), of a softmax over the whole catalogue; within 0.01 on the 8-bit way


class Catalogue:
    """Item vectors (I, D), kept transposed and padded to whole blocks. Not for two threads at once."""

    def __init__(self, vectors: Tensor, clock: Callable[[], float] = time.thread_time) -> None:
        """`clock` in seconds, to find out which way is faster here: of this thread, as others may be busy."""
        self.size, width = vectors.shape
        padded = -(-self.size // _BLOCK) * _BLOCK
        self._vectors = vectors.new_zeros(width, padded)
        self._vectors[:, : self.size] = vectors.T
        # Kept from call to call: fresh memory for so many scores would cost as much as computing them.
        self._scores = vectors.new_empty(_ROWS, padded)
        self._weights = vectors.new_empty(_ROWS, padded)
        self._coarse = _Coarse(vectors) if vectors.device.type == "cpu" and self.size else None
        self.shortlists = self._coarse is not None and self._coarse_is_faster(self._coarse, clock)

    def for_another_thread(self) -> Catalogue:
        """The same items, with room of its own for scores."""
        other = copy(self)
        other._scores, other._weights = torch.empty_like(self._scores), torch.empty_like(self._weights)
        if self._coarse is not None:
            other._coarse = self._coarse.for_another_thread()
        return other

    def rank(self, queries: Tensor, k: int) -> Ranked:
        """Exact top-k of queries (N, D) over all items; k is cut to the size of the catalogue."""
        k = min(k, self.size)
        if self.shortlists and self._coarse is not None and self._coarse.can_rank(queries, k):
            items, log_probabilities, gave_up = self._coarse.rank(queries, k)
            if gave_up.any():
                items[gave_up], log_probabilities[gave_up] = self._plain(queries[gave_up], k)
        else:
            items, log_probabilities = self._plain(queries, k)
        return Ranked(items, log_probabilities)

    def _plain(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        parts = [self._plain_rows(rows, k) for rows in torch.split(queries, _ROWS)]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def _plain_rows(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        n = len(queries)
        scores = torch.mm(queries, self._vectors, out=self._scores[:n])
        scores[:, self.size :] = float("-inf")
        best, items = _top(scores, k)
        highest = best[:, :1]
        weights = torch.sub(scores, highest, out=self._weights[:n]).exp_()
        return items, best - highest - weights.sum(1, keepdim=True).log()

    def _coarse_is_faster(self, coarse: _Coarse, clock: Callable[[], float]) -> bool:
        queries = self._vectors.T[: min(self.size, _TRIAL_QUERIES)] * _USUAL_NORM
        if not coarse.can_rank(queries, _TRIAL_K) or not coarse.is_exact():
            return False

        def seconds(way: Callable[[Tensor, int], object]) -> float:
            times = [clock()]
            for _ in range(_TRIALS):
                way(queries, _TRIAL_K)
                times.append(clock())
            return min(after - before for before, after in pairwise(times))

        return seconds(coarse.rank) < seconds(self._plain)


class _Coarse:
    """Item vectors in 8 bits, each with a scale of its own, beside the exact ones."""

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors.contiguous().numpy()
        rounded, scales = _eight_bits(vectors)
        self._rounded = rounded.T.contiguous()
        self._scales = scales.numpy()
        restored = rounded * scales[:, None]
        self._residual = float((vectors - restored).norm(dim=1).max())
        self._longest = float(vectors.norm(dim=1).max())
        self._longest_restored = float(restored.norm(dim=1).max())
        self._scores = torch.empty(_COARSE_ROWS, len(vectors), dtype=torch.int32)

    def for_another_thread(self) -> _Coarse:
        other = copy(self)
        other._scores = torch.empty_like(self._scores)
        return other

    def can_rank(self, queries: Tensor, k: int) -> bool:
        """Whether there are groups enough, and no logit can leave the range of the exponential."""
        largest = float(queries.norm(dim=1).max()) * self._longest if len(queries) else 0.0
        return 0 < k <= len(self._vectors) // shortlist.GROUP and largest < _LARGEST_LOGIT

    def is_exact(self) -> bool:
        """Whether 8-bit products do not overflow here: some processors add up pairs of them in 16 bits."""
        extremes = torch.full((_COARSE_ROWS, len(self._rounded)), _LEVELS, dtype=torch.int8)
        try:
            products = torch._int_mm(extremes, extremes.T)
        except (RuntimeError, AttributeError):  # not for this processor, or no longer in PyTorch
            return False
        return bool((products == _LEVELS**2 * len(self._rounded)).all())

    def rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Items and log-probabilities (N, k), and which queries had too many candidates (N,)."""
        rounded, scales = _eight_bits(queries)
        slack = self._slack(queries, rounded * scales[:, None])
        items, log_probabilities = torch.zeros(len(queries), k, dtype=torch.int64), queries.new_empty(len(queries), k)
        columns = (scales, slack, queries.contiguous(), items, log_probabilities)
        gave_up = [torch.zeros(0, dtype=torch.bool)]
        for start in range(0, len(queries), _COARSE_ROWS):
            part = slice(start, start + _COARSE_ROWS)
            scores = torch._int_mm(rounded[part], self._rounded, out=self._scores[: len(rounded[part])])
            of_queries, slacks, exact, found, chances = (column[part].numpy() for column in columns)
            lost = shortlist.search(
                scores.numpy(), self._scales, of_queries, slacks, exact, self._vectors, found, chances
            )
            gave_up.append(torch.from_numpy(lost))
        return items, log_probabilities, torch.cat(gave_up)

    def _slack(self, queries: Tensor, restored: Tensor) -> Tensor:
        """How far a coarse logit can lie from the exact one, (N,): Cauchy-Schwarz on both residuals."""
        norms = queries.norm(dim=1)
        rounded_off = norms * self._residual + (queries - restored).norm(dim=1) * self._longest_restored
        slack: Tensor = rounded_off + _ROUNDING * norms * self._longest
        return slack


def _eight_bits(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (N, D) as integers from -127 to 127, and what to multiply each with to have it back, (N,)."""
    scales = vectors.abs().amax(1).clamp(min=1e-30) / _LEVELS
    return (vectors / scales[:, None]).round().to(torch.int8), scales


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Top-k along rows. Each of the k best lies in one of the k blocks with the highest maxima, so two small
    searches find what one over all items would."""
    n, items = scores.shape
    if items // _BLOCK <= k:
        best, places = torch.topk(scores, k)
        return best, places
    blocked = scores.view(n, items // _BLOCK, _BLOCK)
    chosen = torch.topk(blocked.amax(2), k, sorted=False).indices
    candidates = blocked.gather(1, chosen.unsqueeze(2).expand(-1, -1, _BLOCK)).flatten(1)
    best, places = torch.topk(candidates, k)
    return best, chosen.gather(1, places // _BLOCK) * _BLOCK + places % _BLOCK
