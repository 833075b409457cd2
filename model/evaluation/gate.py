"""The gate decides whether a challenger may serve, by its predictions of a time that it has not seen.

A challenger is compared with what serves now (the champion or, before there is one, the rules) target by target: the
mean of the differences, with an interval. Targets of one user are alike, so the interval counts users and not targets:
the variance is the cluster-robust one (Liang and Zeger, 1986).

Shapes: N targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from model.data.events import EVENT_TYPES
from model.evaluation.evaluate import Evaluation

DEPTH: Final = 20
_SIDE: Final = 1.645  # standard errors to either side: the chance to be below the interval is 5 %
_BLIND_GUESS: Final = math.log(len(EVENT_TYPES))  # nats

Reason = Literal["better", "no_better", "uncertain", "diverged", "slow"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What a challenger must reach."""

    margin: float = 0.0  # how far Recall@20 must be ahead of what serves
    tolerance: float = 0.02  # how far it, or MRR@20, may be behind at the lower end of the interval
    slowest: float = 2e-3  # seconds per event, in batches


class Difference(NamedTuple):
    """The mean difference of a challenger and what serves, and its 90 % confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision and its figures."""

    reason: Reason
    recall: Difference  # of Recall@20
    mrr: Difference  # of MRR@20
    seconds_per_event: float
    sentence: str  # with the figures

    @property
    def promoted(self) -> bool:
        """Whether the challenger may serve."""
        return self.reason == "better"

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name; ends of an interval that are not finite are left out."""
        figures = {"seconds_per_event": self.seconds_per_event}
        for name, difference in (("recall", self.recall), ("mrr", self.mrr)):
            for field, value in difference._asdict().items():
                figures[f"{name}@{DEPTH}_gain_{field}"] = value
        return {name: value for name, value in figures.items() if math.isfinite(value)}


def judge(challenger: Evaluation, champion: Evaluation | None, seconds_per_event: float, config: GateConfig) -> Verdict:
    """Judges a challenger; both evaluations are of the same targets. Without a champion the rules serve."""
    rival, name = (champion.served_ranks, "the champion's") if champion else (challenger.rules_ranks, "the rules'")
    recall = difference(_hits(challenger.served_ranks) - _hits(rival), challenger.owners)
    mrr = difference(_reciprocals(challenger.served_ranks) - _reciprocals(rival), challenger.owners)
    reason = _reason(challenger, recall, mrr, seconds_per_event, config)
    sentence = (
        f"{'promoted' if reason == 'better' else f'rejected ({reason})'}: Recall@{DEPTH} "
        f"{_hits(challenger.served_ranks).mean():.4f} against {name} {_hits(rival).mean():.4f} on "
        f"{challenger.targets:,} held-out targets: {_points(recall)}; MRR@{DEPTH}: {_points(mrr)}; "
        f"{1e6 * seconds_per_event:.0f} microseconds per event"
    )
    return Verdict(reason, recall, mrr, seconds_per_event, sentence)


def difference(gains: NDArray[np.float64], owners: NDArray[np.int64]) -> Difference:
    """Returns the mean of gains (N,) on targets of users (N,), with its interval; infinite for a single user."""
    mean = float(gains.mean())
    _, users = np.unique(owners, return_inverse=True)
    sums = np.bincount(users, gains - mean)
    if len(sums) < 2:
        return Difference(mean, -math.inf, math.inf)
    error = math.sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1)) / len(gains)
    return Difference(mean, mean - _SIDE * error, mean + _SIDE * error)


def _reason(
    challenger: Evaluation, recall: Difference, mrr: Difference, seconds_per_event: float, config: GateConfig
) -> Reason:
    if not challenger.type_log_loss <= _BLIND_GUESS:  # NaN too
        return "diverged"
    if recall.mean <= config.margin:
        return "no_better"
    if min(recall.low, mrr.low) < -config.tolerance:
        return "uncertain"
    return "slow" if seconds_per_event > config.slowest else "better"


def _hits(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    return (ranks <= DEPTH).astype(np.float64)


def _reciprocals(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    return _hits(ranks) / ranks


def _points(difference: Difference) -> str:
    mean, low, high = (100 * value for value in difference)
    return f"{mean:+.2f} points (90 % interval {low:+.2f} to {high:+.2f})"
