"""Finds the exact best k items on a GPU, and scores only a few of them in float32.

Coarse scores are products of halves, within an error bound of the exact ones. Items are grouped, and of each group the
highest coarse score is kept. The members of the groups with the highest are scored exactly; where the k-th best of them
reaches the highest of all other groups plus the bound, nothing else can belong to the best k.
Shapes: N queries, I items, D width, G groups, M chosen groups of a query, k results.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

from model.search.coarse_scores import ErrorBound
from model.search.gpu_tiles import BLOCK, BLOCKS, LANES, MEMBERS, ROWS, SCORED, WIDEST, rows_of_a_tile
from model.search.top_k import top_k

_EXTRA_GROUPS: Final = 44  # groups chosen beside k, so that the others lie behind by more than the error bound
ARITHMETIC: Final = {"enable_fp_fusion": True}  # given, as Triton's default is about to change
TILING: Final[dict[str, Any]] = {"num_warps": 8, "num_stages": 2, **ARITHMETIC}
_MAXIMA: Final = 1 << 26  # numbers held at once; their indices take 32 bits
_LARGEST_LOGIT: Final = 40.0  # e to twice this is still a number
_LARGEST_HALF: Final = 6e4  # a half holds a little more
_CAPABILITY: Final = (8, 0)  # of a GPU; before it, tensor cores are slower and have less memory beside them


class GpuShortlists:
    """Item vectors (I, D) as they are, and as halves."""

    kind = "halves"

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors.contiguous()
        self._items, width = vectors.shape
        self._width = max(16, 1 << (width - 1).bit_length())  # of halves, padded
        tile = BLOCK * BLOCKS
        self._halves = vectors.new_zeros(-(-self._items // tile) * tile, self._width, dtype=torch.float16)
        self._halves[: self._items, :width] = vectors
        self._error_bound = ErrorBound(vectors, self._halves[: self._items, :width].float())

    @staticmethod
    def suits(vectors: Tensor) -> bool:
        """Returns whether these items (I, D) can be searched so on their device."""
        if vectors.device.type != "cuda" or torch.cuda.get_device_capability(vectors.device) < _CAPABILITY:
            return False
        return 0 < vectors.numel() <= len(vectors) * WIDEST and _has_triton()

    def for_another_thread(self) -> GpuShortlists:
        """Returns the same shortlists: they keep no buffer from call to call."""
        return self

    def can_rank(self, queries: Tensor, k: int) -> bool:
        """Returns whether there is something to rank, and no logit leaves the range of the exponential or of halves."""
        if not len(queries) or not 0 < k <= self._items:
            return False
        longest, longest_item = float(queries.norm(dim=1).max()), self._error_bound.longest
        return longest * longest_item < _LARGEST_LOGIT and max(longest, longest_item) < _LARGEST_HALF

    def rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns items and log-probabilities (N, k), best first, and which queries (N,) had too many candidates."""
        rows = max(ROWS, _MAXIMA // self._groups // ROWS * ROWS)
        ranked = [self._rank_rows(some.contiguous(), k) for some in torch.split(queries, rows)]
        items, log_probabilities, overflowed = (torch.cat(column) for column in zip(*ranked, strict=True))
        return items, log_probabilities, overflowed

    @property
    def _groups(self) -> int:
        return len(self._halves) // MEMBERS

    def _rank_rows(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        norms = queries.norm(dim=1)
        bounds = norms * self._error_bound.longest
        halves, maxima, total = self._group_maxima(queries, bounds)
        best, chosen = top_k(maxima, min(k + _EXTRA_GROUPS, self._groups))
        exact, coarse = self._member_scores(queries, chosen)
        logits, columns = torch.topk(exact, k)
        residuals = (queries - halves[: len(queries), : queries.shape[1]]).norm(dim=1)
        overflowed = logits[:, -1] < best[:, -1] + self._error_bound.of(norms, residuals)
        if chosen.shape[1] == self._groups:
            overflowed.zero_()
        log_probabilities = logits - _log_sum_exp(total, exact, coarse, bounds)
        # The sum is off a little, so what stands alone could come out above 1; NaN stays as it is.
        return _items_at(chosen, columns), log_probabilities.clamp_(max=0), overflowed

    def _group_maxima(self, queries: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries as halves, (N, D) and padding; maxima (N, G); sums of exp(coarse score - bound), (N,)."""
        n, width = queries.shape
        rows = rows_of_a_tile(self._width)
        padded = -(-n // rows) * rows
        halves = queries.new_zeros(padded, self._width, dtype=torch.float16)
        halves[:n, :width] = queries
        programs = len(self._halves) // (BLOCK * BLOCKS)
        maxima, sums = queries.new_empty(padded, self._groups), queries.new_empty(padded, programs)
        _kernels().group_maxima[(padded // rows, programs)](
            halves,
            self._halves,
            torch.nn.functional.pad(bounds, (0, padded - n)),
            maxima,
            sums,
            self._items,
            width=self._width,
            **TILING,
        )
        return halves, maxima[:n], sums[:n].sum(1)

    def _member_scores(self, queries: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Returns exact and coarse scores (N, M * MEMBERS) of the members of the chosen groups (N, M)."""
        n, groups = chosen.shape
        scores = queries.new_empty(2, n, groups * MEMBERS)
        _kernels().member_scores[(n, -(-scores.shape[2] // SCORED))](
            queries,
            self._vectors,
            chosen,
            scores,
            self._items,
            groups,
            width=queries.shape[1],
            **ARITHMETIC,
        )
        return scores[0], scores[1]


def _items_at(chosen: Tensor, columns: Tensor) -> Tensor:
    """Returns the items in columns (N, k) of the members of chosen groups (N, M)."""
    groups = chosen.gather(1, columns // MEMBERS)
    first = groups // LANES * BLOCK + groups % LANES
    return first + columns % MEMBERS * LANES


def _log_sum_exp(total: Tensor, exact: Tensor, coarse: Tensor, bounds: Tensor) -> Tensor:
    """Returns the log of the sum of all exponentials (N, 1), of exact scores where they are known, else of coarse ones.

    `total` (N,) is the sum of exp(coarse score - bound) over all items.
    """
    bound = bounds.unsqueeze(1)
    others = (total - (coarse - bound).exp().sum(1)).clamp(min=0)
    return (others + (exact - bound).exp().sum(1)).log().unsqueeze(1) + bound


def _has_triton() -> bool:
    try:
        _kernels()
    except ImportError:  # PyTorch brings it on Linux only
        return False
    return True


def _kernels() -> ModuleType:
    from model.search import gpu_kernels

    return gpu_kernels
