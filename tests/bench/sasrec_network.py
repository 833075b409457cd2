"""The network of SASRec (Kang and McAuley, 2018), written plainly: items and places, causal self-attention, products.

Shapes: B sequences, T steps, D width, I items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.data.batches import STEPS
from model.data.vocabulary import ITEM_BUCKETS

WIDTH: Final = 128  # as ours
BLOCKS: Final = 2
HEADS: Final = 2
_SPREAD: Final = 0.02  # standard deviation of embeddings to begin with


@dataclass(frozen=True, slots=True)
class SasRecSize:
    """The number of items, under the name that the loss reads it by."""

    items: int


class SasRec(nn.Module):
    """Two blocks of causal self-attention over the embeddings of items and of their places."""

    def __init__(self, items: int, dropout: float) -> None:
        super().__init__()
        self.config, self.width = SasRecSize(items), WIDTH
        self.items = nn.Embedding(items + 1, WIDTH)  # row 0: padding, searches and items that training does not have
        self.places = nn.Embedding(STEPS, WIDTH)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=_SPREAD)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(dropout) for _ in range(BLOCKS)])
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, items: Tensor) -> Tensor:
        """Returns what follows each step of sequences (B, T), padded at the right, as vectors (B, T, D)."""
        vectors = self.items(items) * WIDTH**0.5 + self.places(torch.arange(items.shape[1]))
        vectors = self.dropout(vectors)
        for block in self.blocks:
            vectors = block(vectors)
        return self.norm(vectors)  # type: ignore[no-any-return]

    def queries(self, vectors: Tensor) -> Tensor:
        """Returns vectors as they are: their products with item vectors are the logits."""
        return vectors

    def item_vectors(self, rows: Tensor | None = None) -> Tensor:
        """Returns the vectors (I, D) of all items, or of rows of a vocabulary, which has buckets before its items."""
        weights: Tensor = self.items.weight
        return weights[1:] if rows is None else weights[rows - ITEM_BUCKETS + 1]


class Block(nn.Module):
    """Self-attention, then two layers at each step; both see normalised inputs and are added to what came in."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.before_attention, self.before_layers = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.projections, self.joined = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.layers = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(dropout), nn.Linear(WIDTH, WIDTH), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, T, D) -> outputs (B, T, D); a step sees itself and the steps before it."""
        vectors = inputs + self.dropout(self._attend(self.before_attention(inputs)))
        return vectors + self.layers(self.before_layers(vectors))  # type: ignore[no-any-return]

    def _attend(self, inputs: Tensor) -> Tensor:
        parts = self.projections(inputs).unflatten(-1, (3, HEADS, WIDTH // HEADS))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # (B, heads, T, D / heads) each
        dropout = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=True)
        return self.joined(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
