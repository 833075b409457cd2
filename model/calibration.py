"""Platt scaling: a line through the purchase logits that makes them probabilities (Platt, 1999)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

NEWTON_STEPS: Final = 50
# Keep the slope near 1 and finite where the labels are few or separable: a ridge worth a handful of examples.
RIDGE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """P(purchase) = sigmoid(slope * logit + intercept)."""

    slope: float = 1.0
    intercept: float = 0.0

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities of logits, same shape."""
        return torch.sigmoid(self.slope * logits + self.intercept)


def fit_calibration(logits: Tensor, labels: Tensor) -> Calibration:
    """The line of maximum likelihood for logits (N,) and labels (N,) in 0..1, by Newton's method in float64.

    Labels are moved towards the middle as Platt proposes: labels of one kind only have a finite fit too.
    """
    x = torch.stack((logits.double(), torch.ones_like(logits, dtype=torch.float64)), 1)
    positive = labels.double().sum()
    negative = len(labels) - positive
    targets = torch.where(labels > 0.5, (positive + 1) / (positive + 2), 1 / (negative + 2))
    prior = torch.tensor([1.0, 0.0], dtype=torch.float64)
    ridge = torch.tensor([RIDGE, 1e-6], dtype=torch.float64)
    line = prior.clone()
    for _ in range(NEWTON_STEPS):
        p = torch.sigmoid(x @ line)
        gradient = x.T @ (p - targets) + ridge * (line - prior)
        hessian = (x.T * (p * (1 - p))) @ x + torch.diag(ridge)
        # A full step from far away can overshoot where the sigmoid is flat; steps of bounded size cannot.
        line = line - torch.linalg.solve(hessian, gradient).clamp(-2.0, 2.0)
    return Calibration(float(line[0]), float(line[1]))
