"""The items that can be recommended, and the exact best k of them for a batch of queries.

Two ways lead to the same items. The plain one scores everything in float32. The other scores everything in bfloat16,
which processors with instructions for it do several times faster, keeps a shortlist, scores that in float32, and
proves for each query from the rounding errors that nothing outside the shortlist can belong to the best k; queries
for which the proof fails go the plain way.
Shapes: N queries, I items (padded to whole blocks), D width, k results, C shortlisted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

_BLOCK: Final = 64  # items
_ROWS: Final = 256  # queries scored at once, so that the score matrix stays in bounds
_SPARE: Final = 12  # shortlisted beyond k
_SHORTLIST: Final = 64  # items, at most
_HALF_ULP: Final = 2.0**-9  # relative, of bfloat16
_EXP_ERROR: Final = 2.0**-7  # of a bfloat16 exponential in its logarithm: an ulp, and its rounding
_TRIALS: Final = 4
_TRIAL_SCORES: Final = 2_560_000  # in one trial run
_USUAL_NORM: Final = 16.0  # of queries, for a trial run
_LARGEST_LOGIT: Final = 80.0  # e to this is still a number in bfloat16


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best k items of each query, best first."""

    items: Tensor  # (N, k) int64, indices into the catalogue
    log_probabilities: Tensor  # (N, k), of a softmax over the whole catalogue; within 0.01 where shortlisted


class Catalogue:
    """Item vectors (I, D), kept transposed and padded to whole blocks. Not for two threads at once."""

    def __init__(self, vectors: Tensor, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` in seconds, to find out which way is faster here."""
        self.size, width = vectors.shape
        padded = -(-self.size // _BLOCK) * _BLOCK
        self._rows = vectors
        self._vectors = vectors.new_zeros(width, padded)
        self._vectors[:, : self.size] = vectors.T
        self._coarse = self._vectors.bfloat16()
        self._residual = float((vectors - vectors.bfloat16().float()).norm(dim=1).max()) if self.size else 0.0
        self._longest = float(self._coarse.float().norm(dim=0).max()) if self.size else 0.0
        # Kept from call to call: fresh memory for so many scores would cost as much as computing them.
        self._scores = vectors.new_empty(_ROWS, padded)
        self._weights = vectors.new_empty(_ROWS, padded)
        self._coarse_weights = self._coarse.new_empty(_ROWS, padded)
        self._candidates = vectors.new_empty(_ROWS * _SHORTLIST, width)
        self._ones = self._coarse.new_ones(padded, 1)
        self._ones[self.size :] = 0
        self.shortlists = self._shortlist_is_faster(clock)

    def rank(self, queries: Tensor, k: int) -> Ranked:
        """Exact top-k of queries (N, D) over all items; k is cut to the size of the catalogue."""
        k = min(k, self.size)
        shortlists = self.shortlists and self._can_shortlist(k) and self._is_in_range(queries)
        way = self._shortlisted if shortlists else self._plain
        parts = [way(rows, k) for rows in torch.split(queries, _ROWS)]
        return Ranked(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))

    def _plain(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        n = len(queries)
        scores = torch.mm(queries, self._vectors, out=self._scores[:n])
        scores[:, self.size :] = float("-inf")
        best, items = _top(scores, k)
        highest = best[:, :1]
        weights = torch.sub(scores, highest, out=self._weights[:n]).exp_()
        return items, best - highest - weights.sum(1, keepdim=True).log()

    def _shortlisted(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        coarse = queries.bfloat16()
        weights = torch.mm(coarse, self._coarse, out=self._coarse_weights[: len(queries)]).exp_()
        weights[:, self.size :] = 0
        kept, items = _top_positive(weights, k + _SPARE)
        candidates = self._candidates[: items.numel()]
        torch.index_select(self._rows, 0, items.flatten(), out=candidates)
        exact = torch.bmm(candidates.view(*items.shape, -1), queries.unsqueeze(2)).squeeze(2)
        best, places = torch.topk(exact, k)
        # A product with ones adds up in float32, many times faster than a sum over bfloat16.
        total = torch.mm(weights, self._ones).float() - kept.sum(1, keepdim=True) + exact.exp().sum(1, keepdim=True)
        items, log_probabilities = items.gather(1, places), best - total.log()
        unproven = best[:, -1] < kept.amin(1).log() + self._error(queries, coarse)
        if unproven.any():
            items[unproven], log_probabilities[unproven] = self._plain(queries[unproven], k)
        return items, log_probabilities

    def _error(self, queries: Tensor, coarse: Tensor) -> Tensor:
        """How far a coarse logit can lie from the exact one, (N,): Cauchy-Schwarz on both residuals, and rounding."""
        norms = queries.norm(dim=1)
        residuals = norms * self._residual + (queries - coarse.float()).norm(dim=1) * self._longest
        # A tenth more than the rounding of the product, for its float32 additions.
        error: Tensor = residuals + 1.1 * _HALF_ULP * norms * self._longest + _EXP_ERROR
        return error

    def _can_shortlist(self, k: int) -> bool:
        return k + _SPARE <= min(_SHORTLIST, self._vectors.shape[1] // _BLOCK - 1)

    def _is_in_range(self, queries: Tensor) -> bool:
        """Whether no logit can leave the range of the exponential."""
        return not len(queries) or float(queries.norm(dim=1).max()) * self._longest < _LARGEST_LOGIT

    def _shortlist_is_faster(self, clock: Callable[[], float]) -> bool:
        if self._vectors.device.type != "cpu" or not self._can_shortlist(_SPARE):
            return False
        queries = self._rows[: max(_TRIAL_SCORES // self.size, 1)][:_ROWS] * _USUAL_NORM

        def seconds(way: Callable[[Tensor, int], tuple[Tensor, Tensor]]) -> float:
            times = [clock()]
            for _ in range(_TRIALS):
                way(queries, _SPARE)
                times.append(clock())
            return min(after - before for before, after in pairwise(times))

        return seconds(self._shortlisted) < seconds(self._plain)


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


def _top_positive(weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`_top` for bfloat16 numbers that are not negative: their bits, read as integers, have the same order."""
    best, items = _top(weights.view(torch.int16), k)
    return best.view(torch.bfloat16).float(), items
