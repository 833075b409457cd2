"""The exact best k items on a GPU, of which only a few are scored in float32.

Rough scores are products of halves, within `slack` of the exact ones. Items are grouped, and of each group the highest
rough score is kept. The members of the groups with the highest are scored exactly; where the k-th best of them reaches
the highest of all other groups and the slack, nothing else can belong to the best k.
Shapes: N queries, I items, D width, G groups, M chosen groups of a query, k results.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

from model.search.coarse_scores import ErrorBound
from model.search.top_k import top_k

_MORE: Final = 44  # groups that are chosen beside k, to leave the others behind by more than the slack
BLOCK: Final = 128  # items of a tile
BLOCKS: Final = 16  # one after the other by one program
LANES: Final = 8  # groups of a block
_MEMBERS: Final = BLOCK // LANES  # items of a group
_ROWS: Final = 128  # queries of a tile
SCORED: Final = 64  # items scored exactly by one program
ARITHMETIC: Final = {"enable_fp_fusion": True}  # said, as Triton's default is about to change
TILING: Final[dict[str, Any]] = {"num_warps": 8, "num_stages": 2, **ARITHMETIC}
_MAXIMA: Final = 1 << 26  # held at once; places in 32 bits
_WIDEST: Final = 256  # numbers of a vector, of which a tile fits into a multiprocessor's memory
_LARGEST_LOGIT: Final = 40.0  # e to twice this is still a number
_LARGEST_HALF: Final = 6e4
_CAPABILITY: Final = (8, 0)  # of a GPU; before it, tensor cores are slower and have less memory beside them


class GpuShortlists:
    """Item vectors (I, D) as they are, and as halves."""

    kind = "halves"

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors.contiguous()
        self._items, width = vectors.shape
        self._width = max(16, 1 << (width - 1).bit_length())
        tile = BLOCK * BLOCKS
        self._halves = vectors.new_zeros(-(-self._items // tile) * tile, self._width, dtype=torch.float16)
        self._halves[: self._items, :width] = vectors
        self._slack = ErrorBound(vectors, self._halves[: self._items, :width].float())

    @staticmethod
    def suits(vectors: Tensor) -> bool:
        """Whether there is a way to rank these items (I, D) here."""
        if vectors.device.type != "cuda" or torch.cuda.get_device_capability(vectors.device) < _CAPABILITY:
            return False
        return 0 < vectors.numel() <= len(vectors) * _WIDEST and _has_triton()

    def for_another_thread(self) -> GpuShortlists:
        """The same: there is no room that is kept from call to call."""
        return self

    def can_rank(self, queries: Tensor, k: int) -> bool:
        """Whether there is something to rank, and no logit can leave the range of the exponential or of halves."""
        if not len(queries) or not 0 < k <= self._items:
            return False
        longest = float(queries.norm(dim=1).max())
        return longest * self._slack.longest < _LARGEST_LOGIT and max(longest, self._slack.longest) < _LARGEST_HALF

    def rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Items and log-probabilities (N, k), and which queries had too many candidates (N,)."""
        rows = max(_ROWS, _MAXIMA // self._groups // _ROWS * _ROWS)
        parts = [self._rank_rows(part.contiguous(), k) for part in torch.split(queries, rows)]
        items, log_probabilities, overflowed = (torch.cat(column) for column in zip(*parts, strict=True))
        return items, log_probabilities, overflowed

    @property
    def _groups(self) -> int:
        return len(self._halves) // _MEMBERS

    def _rank_rows(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        norms = queries.norm(dim=1)
        bounds = norms * self._slack.longest
        halves, maxima, total = self._group_maxima(queries, bounds)
        best, chosen = top_k(maxima, min(k + _MORE, self._groups))
        exact, rough = self._member_scores(queries, chosen)
        logits, places = torch.topk(exact, k)
        residuals = (queries - halves[: len(queries), : queries.shape[1]]).norm(dim=1)
        overflowed = logits[:, -1] < best[:, -1] + self._slack.of(norms, residuals)
        if chosen.shape[1] == self._groups:
            overflowed.zero_()
        return self._items_at(chosen, places), logits - _log_sum(total, exact, rough, bounds), overflowed

    def _group_maxima(self, queries: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries as halves, (N, D) and padding; maxima (N, G); sums of exp(rough - bound), (N,)."""
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
            rows=rows,
            block=BLOCK,
            lanes=LANES,
            blocks=BLOCKS,
            **TILING,
        )
        return halves, maxima[:n], sums[:n].sum(1)

    def _member_scores(self, queries: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Exact and rough scores (N, M * members) of the chosen groups' (N, M) members."""
        n, groups = chosen.shape
        exact = queries.new_empty(n, groups * _MEMBERS)
        rough = torch.empty_like(exact)
        _kernels().member_scores[(n, -(-exact.shape[1] // SCORED))](
            queries,
            self._vectors,
            chosen,
            exact,
            rough,
            self._items,
            groups,
            queries.shape[1],
            padded=self._width,
            block=BLOCK,
            lanes=LANES,
            scored=SCORED,
            **ARITHMETIC,
        )
        return exact, rough

    def _items_at(self, chosen: Tensor, places: Tensor) -> Tensor:
        """Items by their places (N, k) among the members of chosen groups (N, M)."""
        groups = chosen.gather(1, places // _MEMBERS)
        first = groups // LANES * BLOCK + groups % LANES
        return first + places % _MEMBERS * LANES


def rows_of_a_tile(width: int) -> int:
    """Queries of a width that fit into a multiprocessor's memory beside items."""
    return _ROWS if width <= _ROWS else _ROWS // 2


def _log_sum(total: Tensor, exact: Tensor, rough: Tensor, bounds: Tensor) -> Tensor:
    """Log of the sum of all exponentials (N, 1): of rough scores, `total`, but of exact ones where these are known."""
    bound = bounds.unsqueeze(1)
    others = (total - (rough - bound).exp().sum(1)).clamp(min=0)
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
