"""What a version brings for scores: the weights of small heads, or rates.

Shapes: R rows of features, H hidden units.
"""

from __future__ import annotations

import msgspec
import numpy as np


class ScoreHead(msgspec.Struct, frozen=True):
    """The weights of a head, and the line that makes its logits probabilities."""

    table: list[list[float]]  # (R, H)
    biases: list[float]  # (H,)
    last: list[float]  # (H,)
    linear: list[float]  # (R,)
    bias: float
    slope: float
    intercept: float


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one thing is foreseen."""

    rate: float  # of the log: how often it happened
    head: ScoreHead | None = None  # None: the log was too short to fit one

    def check(self, name: str) -> None:
        """Raises ValueError for numbers that do not fit together."""
        head = self.head
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the {name} score has a rate of {self.rate}")
        if head is None:
            return
        if {len(row) for row in head.table} != {len(head.biases)} or len(head.last) != len(head.biases):
            raise ValueError(f"the {name} score's head has layers of different lengths")
        if len(head.table) != len(head.linear):
            raise ValueError(f"the {name} score's head has weights for {len(head.table)} and {len(head.linear)} rows")
        numbers = [head.bias, head.slope, head.intercept, *head.biases, *head.last, *head.linear]
        if not (np.isfinite(numbers).all() and np.isfinite(head.table).all()):
            raise ValueError(f"the {name} score has a weight that is not finite")


class Scores(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a version foresees of users beside their actions."""

    leave: Score
    returns: Score | None = None  # None: the log was shorter than two weeks

    def check(self) -> None:
        """Raises ValueError for numbers that do not fit together."""
        self.leave.check("leave")
        if self.returns is not None:
            self.returns.check("return")
