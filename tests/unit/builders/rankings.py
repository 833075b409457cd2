"""Vectors to search, and what every search must find."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from model.search.catalogue import RankedItems


def unit_vectors(count: int, width: int, device: torch.device | str = "cpu", *, clusters: int = 0) -> Tensor:
    """Draws vectors of length one; in clusters, they lie so close together that many must be scored exactly."""
    generator = torch.Generator().manual_seed(count)
    vectors = torch.randn(count, width, generator=generator)
    if clusters:
        vectors = vectors[torch.randint(0, clusters, (count,), generator=generator)] + 0.003 * vectors
    return normalize(vectors, dim=1).to(device)


def check(ranked: RankedItems, vectors: Tensor, queries: Tensor, k: int, tolerance: float = 1e-4) -> None:
    """Compares with torch.topk and log_softmax. Ties may come in any order, so the scores of the items are compared."""
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


def check_sure(
    answer: tuple[Tensor, Tensor, Tensor], vectors: Tensor, queries: Tensor, k: int, tolerance: float = 1e-4
) -> Tensor:
    """Checks the queries that shortlists were sure of; returns which ones overflowed."""
    items, log_probabilities, overflowed = answer
    sure = ~overflowed
    if sure.any():
        check(RankedItems(items[sure], log_probabilities[sure]), vectors, queries[sure], k, tolerance)
    return overflowed
