"""The blocked cross-entropy against the same thing in one piece, by NumPy and by autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.training.sampled_softmax import Pairs, cross_entropy


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Pairs, Pairs, Tensor]:
    """Seven steps and five candidates; a step has no label, one, or two."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.tensor([0, 2, 2, 2, 3, 6]), torch.tensor([1, 0, 4, 4, 3, 2])  # one pair is there twice
    return (
        torch.randn(7, 3, generator=draw).requires_grad_(),
        torch.randn(5, 3, generator=draw).requires_grad_(),
        -3 * torch.rand(5, generator=draw),
        Pairs(rows, columns),
        Pairs(torch.tensor([0, 0, 1, 2, 4, 5, 5, 6]), torch.tensor([0, 3, 1, 4, 2, 2, 2, 0])),
        torch.rand(8, generator=draw),
    )


@pytest.mark.parametrize("block", [1, 10, 1 << 20])
def test_loss_and_gradients_are_those_of_the_plain_way(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.sampled_softmax._BLOCK_ON_CPU", block)
    queries, candidates, log_q, always, labels, weights = problem()
    result = 2 * cross_entropy(queries, candidates, log_q, always, labels, weights)
    gradients = torch.autograd.grad(result, (queries, candidates))
    correction = log_q.repeat(7, 1)
    correction[always.rows, always.columns] = 0
    log_p = (queries @ candidates.T - correction).log_softmax(1)
    plain = -2 * (weights * log_p[labels.rows, labels.columns]).sum()
    torch.testing.assert_close(result, plain)
    torch.testing.assert_close(gradients, torch.autograd.grad(plain, (queries, candidates)))


def test_the_loss_is_that_of_the_textbook() -> None:
    queries, candidates, log_q, always, labels, weights = problem(1)
    certain = set(zip(always.rows.tolist(), always.columns.tolist(), strict=True))
    expected = 0.0
    for row, label, weight in zip(labels.rows.tolist(), labels.columns.tolist(), weights.tolist(), strict=True):
        q = [1.0 if (row, column) in certain else np.exp(log_q[column].item()) for column in range(5)]
        odds = np.exp(candidates.detach().numpy() @ queries[row].detach().numpy()) / q
        expected -= weight * np.log(odds[label] / odds.sum())
    assert cross_entropy(queries, candidates, log_q, always, labels, weights).item() == pytest.approx(expected)


def test_no_labels_no_loss() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    queries, candidates = torch.zeros(0, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    none = Pairs(nothing, nothing)
    loss = cross_entropy(queries, candidates, torch.zeros(2), none, none, torch.zeros(0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert candidates.grad is not None
    assert not candidates.grad.any()
