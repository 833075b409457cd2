"""Cross-entropy over many candidates that keeps no matrix of logits: loss and gradient in one pass, block by block.

A batch has millions of logits. Taken as one matrix they leave the cache between any two operations on them, and the
allocator with holes after hours; a block of some rows stays in the cache from the product to its share of the gradient.
Shapes: P targets, C candidates, D width, O pairs (target, candidate).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK_ON_CPU: Final = 1 << 19  # logits at once: 2 MiB, about a core's cache
_BLOCK: Final = 1 << 24  # on a device with many cores


@dataclass(frozen=True, slots=True)
class Pairs:
    """Places of the matrix of logits, by rising row; a row may have several or none."""

    rows: Tensor  # (O,)
    columns: Tensor  # (O,)

    def part(self, start: int, stop: int) -> slice:
        """Where the pairs in rows start..stop-1 are."""
        low, high = torch.searchsorted(self.rows, self.rows.new_tensor([start, stop])).tolist()
        return slice(low, high)


def cross_entropy(
    queries: Tensor, candidates: Tensor, log_q: Tensor, always: Pairs, labels: Pairs, weights: Tensor
) -> Tensor:
    """Sum over labels (O,) of weight times -log softmax(logit - log Q) at the label; a scalar.

    Queries (P, D), candidates (C, D); log Q (C,) is that of being a candidate, and counts as 0 at the pairs in
    `always`. Queries and candidates get gradients, the others none.
    """
    loss: Tensor = _CrossEntropy.apply(queries, candidates, log_q, always, labels, weights)
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, candidates: Tensor, log_q: Tensor, always: Pairs, labels: Pairs, weights: Tensor
    ) -> Tensor:
        loss = queries.new_zeros(())
        of_queries, of_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        limit = _BLOCK_ON_CPU if queries.device.type == "cpu" else _BLOCK
        height = max(1, limit // max(1, len(candidates)))
        buffer = queries.new_empty(min(height, len(queries)), len(candidates))
        for start in range(0, len(queries), height):
            block = slice(start, min(start + height, len(queries)))
            logits = torch.addmm(-log_q, queries[block], candidates.T, out=buffer[: block.stop - start])
            whole = len(queries) <= height  # looking for parts means to wait for a GPU
            sure = slice(None) if whole else always.part(start, block.stop)
            labelled = slice(None) if whole else labels.part(start, block.stop)
            rows, columns = always.rows[sure] - start, always.columns[sure]
            logits[rows, columns] = logits[rows, columns] + log_q[columns]  # a pair that is there twice counts once
            loss += _to_gradient(logits, labels.rows[labelled] - start, labels.columns[labelled], weights[labelled])
            torch.mm(logits, candidates, out=of_queries[block])
            of_candidates.addmm_(logits.T, queries[block])
        ctx.save_for_backward(of_queries, of_candidates)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        of_queries, of_candidates = ctx.saved_tensors
        return of_queries * outer, of_candidates * outer, None, None, None, None


def _to_gradient(logits: Tensor, rows: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
    """Turns logits (N, C) in place into the gradient of the loss of their labels, which it returns."""
    normalisers = logits.logsumexp(1)
    loss = weights @ (normalisers[rows] - logits[rows, columns])
    of_rows = logits.new_zeros(len(logits)).index_add_(0, rows, weights)
    logits.sub_(normalisers.unsqueeze(1)).exp_().mul_(of_rows.unsqueeze(1))
    logits.index_put_((rows, columns), -weights, accumulate=True)
    return loss
