"""Platt scaling: a line through the purchase logits that makes them probabilities (Platt, 1999)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

NEWTON_STEPS: Final = 20
MOST_HALVINGS: Final = 30  # of one step
# Keeps the slope near 1 and finite where the labels are few or separable: worth a handful of examples.
RIDGE: Final = 1.0
_UNCHANGED: Final = torch.tensor([1.0, 0.0], dtype=torch.float64)  # slope, intercept


@dataclass(frozen=True, slots=True)
class Calibration:
    """P(purchase) = sigmoid(slope * logit + intercept)."""

    slope: float = 1.0
    intercept: float = 0.0

    def probabilities(self, logits: Tensor) -> Tensor:
        """Returns calibrated probabilities of logits, same shape."""
        return torch.sigmoid(self.slope * logits + self.intercept)


def fit_calibration(logits: Tensor, labels: Tensor) -> Calibration:
    """Fits the line of maximum likelihood to logits (N,) and labels (N,), 0 or 1.

    Newton's method, in float64. Labels are moved towards the middle as Platt proposes, so that labels of one kind only
    have a finite fit too.
    """
    x = torch.stack((logits.double(), torch.ones(len(logits), dtype=torch.float64)), 1)
    positive = int(labels.sum())
    targets = torch.where(labels.bool(), (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2)).double()
    line, ridge = _UNCHANGED, torch.tensor([RIDGE, 1e-6], dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        p = torch.sigmoid(x @ line)
        gradient = x.T @ (p - targets) + ridge * (line - _UNCHANGED)
        hessian = (x.T * (p * (1 - p))) @ x + torch.diag(ridge)
        step = torch.linalg.solve(hessian, gradient)
        line = _line_search(line, step, lambda candidate: _loss(candidate, x, targets, ridge))
    return Calibration(float(line[0]), float(line[1]))


def _line_search(line: Tensor, step: Tensor, loss: Callable[[Tensor], float]) -> Tensor:
    """Returns the line after a step, halved until it helps: where the sigmoid is flat, a whole step overshoots."""
    now = loss(line)
    for halvings in range(MOST_HALVINGS):
        shorter = line - step * 0.5**halvings
        if loss(shorter) < now:
            return shorter
    return line


def _loss(line: Tensor, x: Tensor, targets: Tensor, ridge: Tensor) -> float:
    """Returns the negative log-likelihood of a line (2,) for x (N, 2), plus the ridge."""
    likelihood = F.binary_cross_entropy_with_logits(x @ line, targets, reduction="sum")
    return float(likelihood + 0.5 * (ridge * (line - _UNCHANGED).square()).sum())
