"""Adam for a table of which a step reads a few rows: it computes on these only, and gives what Adam on all rows gives.

Adam moves a row on while its gradients are 0, as its mean of gradients fades slowly. That is what makes rows that are
rarely read learn fast, so it is not left out, but put off: a row is brought up to date right before it is read again,
and all are at the end of an epoch. In n steps without a gradient the mean m and the square v become b1^n m and b2^n v,
so that the row moves by m / sqrt(v) times a sum over n rates, the same for all rows that were last read in one step.
Shapes: R rows of the table, U rows in use, D width, S steps of the fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.kernels.cuda import all_on_device
from model.network.row_table import RowTable

FADING: Final = (0.9, 0.999)  # of means and squares per step: what is PyTorch's default, as is EPSILON
EPSILON: Final = 1e-8
_FADED: Final = 300  # steps after which a mean is nothing: 0.9^300 is 2e-14
_BLOCK: Final = 32_768  # rows that are brought up to date at once
# By so much a row moves less with each step without a gradient.
_SLOWING: Final = (FADING[0] / FADING[1] ** 0.5) ** np.arange(_FADED, -1, -1)


@dataclass(frozen=True, slots=True)
class RowsInUse:
    """Rows of the table as a step reads them."""

    numbers: Tensor  # (U,), rising, on the host
    rows: Tensor  # the same on the device
    weights: Tensor  # (U, D); gets gradients
    means: Tensor  # (U, D)
    squares: Tensor  # (U, D)


class RowAdam:
    """The optimizer of one table, on the table's device."""

    def __init__(self, table: RowTable, steps: int) -> None:
        """`steps` are those of the whole fit."""
        self._weights = table.weight.detach()
        self.means = torch.zeros_like(self._weights)  # both as of the step that a row is up to date with
        self.squares = torch.zeros_like(self._weights)
        self._step = 0
        self._last = torch.zeros(len(self._weights), dtype=torch.int64)  # the step that each row is up to date with
        # What rows up to date with each step have still to move by, in units of mean / sqrt(square): (S + 1,).
        self._arrears = np.zeros(steps + 1)

    @property
    def steps(self) -> int:
        """The steps that were done."""
        return self._step

    def read(self, rows: Tensor) -> RowsInUse:
        """Brings rows (U,) up to date, which rise and are on the host; returns them, but does not write them back."""
        device = self._weights.device
        numbers, last = rows, self._last[rows]
        arrears = torch.from_numpy(self._arrears[last.numpy()].astype(np.float32))
        rows, arrears, passed = all_on_device((rows, arrears, (self._step - last).float()), device)
        means, squares = self.means[rows], self.squares[rows]
        moved = means / (squares.sqrt() + self._epsilon) * arrears.unsqueeze(1)
        weights = (self._weights[rows] - moved).requires_grad_()
        means *= FADING[0] ** passed.unsqueeze(1)
        squares *= FADING[1] ** passed.unsqueeze(1)
        return RowsInUse(numbers, rows, weights, means, squares)

    def step(self, used: RowsInUse, rate: float) -> None:
        """Does a step with the gradients of the rows that were read; each step may be done once."""
        gradients, (first, second) = used.weights.grad, FADING
        if gradients is None:
            raise ValueError("the rows have no gradients")
        self._step += 1
        rate *= math.sqrt(1 - second**self._step) / (1 - first**self._step)
        used.means.lerp_(gradients, 1 - first)
        used.squares.mul_(second).addcmul_(gradients, gradients, value=1 - second)
        with torch.no_grad():
            used.weights.addcdiv_(used.means, used.squares.sqrt().add_(self._epsilon), value=-rate)
        since = max(0, self._step - _FADED)
        self._arrears[since : self._step] += rate * _SLOWING[since - self._step - 1 : -1]
        self._write(used)

    def settle(self) -> None:
        """Brings all rows up to date."""
        for rows in torch.nonzero((self._last > 0) & (self._last < self._step)).squeeze(1).split(_BLOCK):  # type: ignore[no-untyped-call]
            self._write(self.read(rows))

    def resume(self, means: Tensor, squares: Tensor, step: int) -> None:
        """Goes on behind a step, from what means and squares were when all rows were up to date with it."""
        self.means.copy_(means)
        self.squares.copy_(squares)
        self._step = step
        self._last.fill_(step)

    @property
    def _epsilon(self) -> float:
        """Returns what keeps a quotient by the root of a square finite, which is not corrected for its beginning."""
        return EPSILON * math.sqrt(1 - FADING[1] ** max(1, self._step))

    def _write(self, used: RowsInUse) -> None:
        for table, rows in ((self._weights, used.weights), (self.means, used.means), (self.squares, used.squares)):
            table.index_copy_(0, used.rows, rows.detach())
        self._last[used.numbers] = self._step
