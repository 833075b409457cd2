"""What every search must find."""

from __future__ import annotations

import torch
from torch import Tensor

from model.search.catalogue import RankedItems


def check(ranked: RankedItems, vectors: Tensor, queries: Tensor, k: int, tolerance: float = 1e-4) -> None:
    """Ties may come in any order, so scores are compared, and that the named items have them."""
    scores = queries @ vectors.T
    k = min(k, len(vectors))
    assert ranked.items.shape == ranked.log_probabilities.shape == (len(queries), k)
    if not k:
        return
    assert ((ranked.items >= 0) & (ranked.items < len(vectors))).all()
    assert all(len(set(row)) == k for row in ranked.items.tolist())
    torch.testing.assert_close(scores.gather(1, ranked.items), scores.topk(k).values, atol=1e-5, rtol=1e-5)
    wanted = scores.log_softmax(1).gather(1, ranked.items)
    torch.testing.assert_close(ranked.log_probabilities, wanted, atol=tolerance, rtol=1e-4)
