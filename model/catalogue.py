"""The items that can be recommended, and the exact best k of them for a batch of queries.

Shapes: N queries, I items, D width, k results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_BLOCK: Final = 64  # items
_ROWS: Final = 512  # queries scored at once, so that the score matrix stays in bounds


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best k items of each query, best first."""

    items: Tensor  # (N, k) int64, indices into the catalogue
    log_probabilities: Tensor  # (N, k), of a softmax over the whole catalogue


class Catalogue:
    """Item vectors (I, D), kept transposed and padded to whole blocks."""

    def __init__(self, vectors: Tensor) -> None:
        self.size, width = vectors.shape
        padded = -(-self.size // _BLOCK) * _BLOCK
        self._vectors = vectors.new_zeros(width, padded)
        self._vectors[:, : self.size] = vectors.T

    def rank(self, queries: Tensor, k: int) -> Ranked:
        """Exact top-k of queries (N, D) over all items; k is cut to the size of the catalogue."""
        parts = [self._rank(rows, min(k, self.size)) for rows in torch.split(queries, _ROWS)]
        return Ranked(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))

    def _rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        scores = queries @ self._vectors
        scores[:, self.size :] = float("-inf")
        best, items = _top(scores, k)
        return items, best - torch.logsumexp(scores, 1, keepdim=True)


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Top-k along rows. Each of the k best lies in one of the k blocks with the highest maxima, so two small
    searches find what one over all items would."""
    n, items = scores.shape
    blocks = items // _BLOCK
    if blocks <= k:
        return torch.topk(scores, k)
    blocked = scores.view(n, blocks, _BLOCK)
    chosen = torch.topk(blocked.amax(2), k).indices
    candidates = blocked.gather(1, chosen.unsqueeze(2).expand(-1, -1, _BLOCK)).flatten(1)
    best, places = torch.topk(candidates, k)
    return best, chosen.gather(1, places // _BLOCK) * _BLOCK + places % _BLOCK
