"""Exact search by scoring everything: tensor operations only, on any device.

Shapes: N queries, I items (padded to whole blocks), D width, k results.
"""

from __future__ import annotations

from copy import copy
from typing import Final

import torch
from torch import Tensor

from model.search.top_k import BLOCK, top_k

_ROWS: Final = 256  # queries scored at once on the plain way, so that the score matrix stays in bounds


class PlainSearch:
    """Item vectors, transposed and padded to whole blocks."""

    def __init__(self, vectors: Tensor) -> None:
        self.size, width = vectors.shape
        padded = -(-self.size // BLOCK) * BLOCK
        self._vectors = vectors.new_zeros(width, padded)
        self._vectors[:, : self.size] = vectors.T
        self.free_room()

    @property
    def transposed(self) -> Tensor:
        """The vectors as columns, (D, I)."""
        return self._vectors[:, : self.size]

    def free_room(self) -> None:
        """Frees the room for scores, which is kept from call to call: fresh memory costs as much as computing them."""
        self._scores = self._weights = self._vectors.new_empty(0, self._vectors.shape[1])

    def for_another_thread(self) -> PlainSearch:
        other = copy(self)
        other.free_room()
        return other

    def rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Items and log-probabilities, (N, k)."""
        self._make_room(min(len(queries), _ROWS))
        parts = [self._rank_rows(rows, k) for rows in torch.split(queries, _ROWS)]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def _make_room(self, rows: int) -> None:
        if len(self._scores) < rows:
            self._scores = self._vectors.new_empty(rows, self._vectors.shape[1])
            self._weights = torch.empty_like(self._scores)

    def _rank_rows(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        n = len(queries)
        scores = torch.mm(queries, self._vectors, out=self._scores[:n])
        scores[:, self.size :] = float("-inf")
        best, items = top_k(scores, k)
        highest = best[:, :1]
        weights = torch.sub(scores, highest, out=self._weights[:n]).exp_()
        return items, best - highest - weights.sum(1, keepdim=True).log()
