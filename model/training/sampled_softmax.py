"""Cross-entropy over many candidates without a matrix of all logits: loss and gradient in one pass, block by block.

A batch has millions of logits. As one matrix they leave the cache between any two operations on them, and fragment the
allocator's memory after hours; a block of some rows stays in the cache from the product to its share of the gradient.
Shapes: P targets, C candidates, D width, O pairs (target, candidate).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK_ON_CPU: Final = 1 << 19  # logits per block: 2 MiB, about a core's cache
_BLOCK: Final = 1 << 24  # logits per block on a device with many cores


@dataclass(frozen=True, slots=True)
class Pairs:
    """Entries of the matrix of logits, by rising row; a row may have several or none."""

    rows: Tensor  # (O,)
    columns: Tensor  # (O,)

    def in_rows(self, start: int, stop: int) -> slice:
        """Returns the slice of the pairs in rows start..stop-1."""
        low, high = torch.searchsorted(self.rows, self.rows.new_tensor([start, stop])).tolist()
        return slice(low, high)


def cross_entropy(
    queries: Tensor, candidates: Tensor, log_q: Tensor, always: Pairs, labels: Pairs, weights: Tensor
) -> Tensor:
    """Returns the sum over the labels (O,) of weight times -log softmax(logit - log Q) at the label; a scalar.

    Queries (P, D), candidates (C, D); Q is the chance to be a candidate, and log Q (C,) counts as 0 at the pairs in
    `always`. Only queries and candidates get gradients.
    """
    loss: Tensor = _CrossEntropy.apply(queries, candidates, log_q, always, labels, weights)
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, candidates: Tensor, log_q: Tensor, always: Pairs, labels: Pairs, weights: Tensor
    ) -> Tensor:
        loss = queries.new_zeros(())
        query_gradients, candidate_gradients = torch.empty_like(queries), torch.zeros_like(candidates)
        limit = _BLOCK_ON_CPU if queries.device.type == "cpu" else _BLOCK
        height = max(1, limit // max(1, len(candidates)))
        buffer = queries.new_empty(min(height, len(queries)), len(candidates))
        for start in range(0, len(queries), height):
            block = slice(start, min(start + height, len(queries)))
            logits = torch.addmm(-log_q, queries[block], candidates.T, out=buffer[: block.stop - start])
            whole = len(queries) <= height  # the slice of a block's pairs is worth no wait for a GPU then
            certain = slice(None) if whole else always.in_rows(start, block.stop)
            own = slice(None) if whole else labels.in_rows(start, block.stop)
            rows, columns = always.rows[certain] - start, always.columns[certain]
            logits[rows, columns] = logits[rows, columns] + log_q[columns]  # a pair that is there twice counts once
            loss += _to_gradient(logits, labels.rows[own] - start, labels.columns[own], weights[own])
            torch.mm(logits, candidates, out=query_gradients[block])
            candidate_gradients.addmm_(logits.T, queries[block])
        ctx.save_for_backward(query_gradients, candidate_gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        query_gradients, candidate_gradients = ctx.saved_tensors
        return query_gradients * outer, candidate_gradients * outer, None, None, None, None


def _to_gradient(logits: Tensor, rows: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
    """Returns the loss of the labels; turns their logits (N, C) in place into its gradient."""
    normalisers = logits.logsumexp(1)
    loss = weights @ (normalisers[rows] - logits[rows, columns])
    row_weights = logits.new_zeros(len(logits)).index_add_(0, rows, weights)
    logits.sub_(normalisers.unsqueeze(1)).exp_().mul_(row_weights.unsqueeze(1))
    logits.index_put_((rows, columns), -weights, accumulate=True)
    return loss
