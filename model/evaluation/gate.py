"""The gate decides whether a challenger may serve, by its predictions of a time that it has not seen.

A challenger is compared with what serves now (the champion or, before there is one, the rules) target by target: the
mean of the differences, with an interval. Fresh knowledge is worth having, so a challenger need not be ahead of a
champion: it must not be worse, by more than a margin and with a stated confidence (a test of non-inferiority). Targets
of one user are alike, so the interval counts users and not targets: the variance is the cluster-robust one (Liang and
Zeger, 1986).

Shapes: N targets or labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from model.data.events import EVENT_TYPES
from model.evaluation.evaluate import Evaluation, ServedQuality
from model.evaluation.judged_users import standard_error
from model.evaluation.purchase_quality import PurchaseLosses

DEPTH: Final = 20
_BLIND_GUESS: Final = math.log(len(EVENT_TYPES))  # nats
# Where a challenger was never behind, the differences say nothing of how often it will be. Up to three times in N fits
# with that (the rule of three), so three users who lose a hit are counted beside those who were seen.
_UNSEEN: Final = 3.0

Reason = Literal["better", "as_good", "no_better", "worse", "uncertain", "purchases", "diverged", "slow", "spoiled"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
PROMOTED: Final[tuple[Reason, ...]] = ("better", "as_good")


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What a challenger must reach."""

    confidence: float = 0.95  # of each of the three: that a promoted challenger is not worse by more than its margin
    recall_margin: float = 0.01  # of Recall@20
    mrr_margin: float = 0.01  # of MRR@20
    purchase_margin: float = 0.05  # of the purchase probability's log-loss, as a share of that of what serves
    least_purchases: int = 50  # events soon followed by a purchase: with fewer its log-loss is not judged
    ahead: float = 0.0  # how far the Recall@20 of a first version must be ahead of the rules'
    change: float = 0.02  # how far behind what was judged may be what is published, in Recall@20 and MRR@20
    slowest: float = 2e-3  # seconds per event, in batches


class Difference(NamedTuple):
    """The mean gain of a challenger over what serves, and the bounds that it is above, or below, with confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision and its figures."""

    reason: Reason
    recall: Difference  # of Recall@20
    mrr: Difference  # of MRR@20
    purchases: Difference | None  # nats by which the purchase probability's log-loss is lower; None: not judged
    seconds_per_event: float
    sentence: str  # with the figures

    @property
    def promoted(self) -> bool:
        """Whether the challenger may serve."""
        return self.reason in PROMOTED

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name; ends of an interval that are not finite are left out."""
        figures = {"seconds_per_event": self.seconds_per_event}
        for name, gain in (
            (f"recall@{DEPTH}", self.recall),
            (f"mrr@{DEPTH}", self.mrr),
            ("purchase_log_loss", self.purchases),
        ):
            for field, value in gain._asdict().items() if gain else ():
                figures[f"{name}_gain_{field}"] = value
        return {name: value for name, value in figures.items() if math.isfinite(value)}


def judge(challenger: Evaluation, champion: Evaluation | None, seconds_per_event: float, config: GateConfig) -> Verdict:
    """Judges a challenger; both evaluations are of the same targets. Without a champion the rules serve."""
    rival, name = (champion.served_ranks, "the champion's") if champion else (challenger.rules_ranks, "the rules'")
    served, owners = challenger.served_ranks, challenger.owners
    verdict = Verdict(
        reason="better",
        recall=difference(_hits(served) - _hits(rival), owners, config.confidence, unseen=_UNSEEN),
        mrr=difference(_reciprocals(served) - _reciprocals(rival), owners, config.confidence, unseen=_UNSEEN),
        purchases=_purchase_gain(challenger, champion, config),
        seconds_per_event=seconds_per_event,
        sentence="",
    )
    reason = _reason(verdict, challenger, champion, config)
    figures = (
        f"Recall@{DEPTH} {_hits(served).mean():.4f} against {name} {_hits(rival).mean():.4f} on "
        f"{challenger.targets:,} held-out targets: {_points(verdict.recall, config.recall_margin)}; "
        f"MRR@{DEPTH}: {_points(verdict.mrr, config.mrr_margin)}; {_of_purchases(verdict.purchases)}"
        f"{1e6 * seconds_per_event:.0f} microseconds per event"
    )
    return _worded(replace(verdict, reason=reason, sentence=figures))


def check_published(verdict: Verdict, judged: Evaluation, published: ServedQuality, config: GateConfig) -> Verdict:
    """Returns the verdict again, or a refusal: what is published has learned the held-out time since it was judged.

    So it foretells that time rather better; where it is worse by more than a bound, something went wrong on the way.
    """
    for name, before, after in (
        (f"Recall@{DEPTH}", _hits(judged.served_ranks), _hits(published.ranks)),
        (f"MRR@{DEPTH}", _reciprocals(judged.served_ranks), _reciprocals(published.ranks)),
    ):
        if after.mean() < before.mean() - config.change:
            change = f"but with what it took in since, {name} fell from {before.mean():.4f} to {after.mean():.4f}"
            return _worded(replace(verdict, reason="spoiled", sentence=f"{change}; {_figures(verdict)}"))
    return verdict


def difference(
    gains: NDArray[np.float64], owners: NDArray[np.int64], confidence: float = 0.95, *, unseen: float = 0.0
) -> Difference:
    """Returns the mean of gains (N,) on targets of users (N,), with its bounds; infinite for a single user.

    `unseen` is how many users with a gain of 1 are counted for the bounds beside those who are there.
    """
    mean = float(gains.mean())
    side = NormalDist().inv_cdf(confidence) * standard_error(gains, owners, unseen=unseen)
    return Difference(mean, mean - side, mean + side)


def _purchase_gain(challenger: Evaluation, champion: Evaluation | None, config: GateConfig) -> Difference | None:
    ours = challenger.purchases
    if ours.bought.sum() < config.least_purchases:
        return None
    return difference(_rival_losses(challenger, champion) - ours.losses, ours.owners, config.confidence)


def _rival_losses(challenger: Evaluation, champion: Evaluation | None) -> NDArray[np.float64]:
    purchases: PurchaseLosses = (champion or challenger).purchases
    return purchases.losses if champion else purchases.rules_losses


def _reason(verdict: Verdict, challenger: Evaluation, champion: Evaluation | None, config: GateConfig) -> Reason:
    recall, mrr, purchases = verdict.recall, verdict.mrr, verdict.purchases
    if not challenger.type_log_loss <= _BLIND_GUESS:  # NaN too
        return "diverged"
    if champion is None and recall.mean <= config.ahead:
        return "no_better"
    if not (recall.low >= -config.recall_margin and mrr.low >= -config.mrr_margin):
        return "worse" if min(recall.high, mrr.high) < 0 else "uncertain"
    if purchases and not purchases.low >= -config.purchase_margin * _rival_losses(challenger, champion).mean():
        return "purchases"
    if verdict.seconds_per_event > config.slowest:
        return "slow"
    return "better" if recall.low > 0 else "as_good"


def _worded(verdict: Verdict) -> Verdict:
    """Puts the decision in front of the figures."""
    decision = "promoted" if verdict.promoted else "rejected"
    return replace(verdict, sentence=f"{decision} ({verdict.reason}): {verdict.sentence}")


def _figures(verdict: Verdict) -> str:
    return verdict.sentence.partition(": ")[2]


def _hits(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    return (ranks <= DEPTH).astype(np.float64)


def _reciprocals(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    return _hits(ranks) / ranks


def _points(gain: Difference, margin: float) -> str:
    mean, low = 100 * gain.mean, 100 * gain.low
    return f"{mean:+.2f} points, surely above {low:+.2f} (wanted: {-100 * margin:+.2f})"


def _of_purchases(gain: Difference | None) -> str:
    if gain is None:
        return ""
    return f"log-loss of purchases {-gain.mean:+.4f} nats, surely below {-gain.low:+.4f}; "
