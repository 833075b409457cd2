"""A table of embeddings of which a step of training reads a few rows, and gets gradients for these and no others.

With a gradient for every row, a step would take as long as the table is long, however few rows it reads.
Shapes: R rows, U rows in use, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RowTable(nn.Embedding):
    """An embedding table (R, D) that can be read through a copy of some of its rows."""

    _in_use: tuple[Tensor, Tensor] | None = None  # row numbers (U,), rising, and what stands for them (U, D)

    @contextmanager
    def reading(self, rows: Tensor, weights: Tensor) -> Iterator[None]:
        """Has `weights` (U, D) read in the place of the rows (U,), rising; no others may be read meanwhile."""
        self._in_use = (rows, weights)
        try:
            yield
        finally:
            self._in_use = None

    def means(self, rows: Tensor) -> Tensor:
        """Returns the means (..., D) of rows (..., n), but for row 0; it has to be among those in use."""
        weights = self.weight
        if self._in_use is not None:
            known, weights = self._in_use
            rows = torch.searchsorted(known, rows)
        bags = F.embedding_bag(rows.flatten(0, -2), weights, mode="mean", padding_idx=0)
        return bags.view(*rows.shape[:-1], self.embedding_dim)

    def forward(self, rows: Tensor) -> Tensor:
        """Returns the embeddings (..., D) of rows (...)."""
        if self._in_use is None:
            return super().forward(rows)
        known, weights = self._in_use
        return F.embedding(torch.searchsorted(known, rows), weights)
