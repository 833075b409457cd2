"""Finds the best items by scoring all of them in float32: tensor operations only, on any device.

The faster searches are held to this one, and hand over the queries that they cannot answer.
Shapes: N queries, I items (padded to whole blocks), D width, k results.
"""

from __future__ import annotations

from copy import copy
from typing import Final

import torch
from torch import Tensor

from model.search.top_k import BLOCK, top_k

_ROWS: Final = 256  # queries scored at once, which bounds the size of the score matrix


class PlainSearch:
    """Item vectors, transposed and padded to whole blocks. Not for two threads at once."""

    def __init__(self, vectors: Tensor) -> None:
        self.size, width = vectors.shape
        padded = -(-self.size // BLOCK) * BLOCK
        self._vectors = vectors.new_zeros(width, padded)
        self._vectors[:, : self.size] = vectors.T
        self.free_buffers()

    @property
    def transposed(self) -> Tensor:
        """The vectors as columns, (D, I)."""
        return self._vectors[:, : self.size]

    def free_buffers(self) -> None:
        """Frees the buffers, which are kept from call to call: fresh memory costs as much as computing the scores."""
        self._scores = self._weights = self._vectors.new_empty(0, self._vectors.shape[1])

    def for_another_thread(self) -> PlainSearch:
        """Returns a search of the same items with buffers of its own."""
        other = copy(self)
        other.free_buffers()
        return other

    def rank(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Returns items and log-probabilities (N, k), best first."""
        self._reserve(min(len(queries), _ROWS))
        ranked = [self._rank_rows(rows, k) for rows in torch.split(queries, _ROWS)]
        items, log_probabilities = (torch.cat(column) for column in zip(*ranked, strict=True))
        return items, log_probabilities

    def _reserve(self, rows: int) -> None:
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
