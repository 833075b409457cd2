"""A canary: some users stay with the version before, so that both are measured at the same time, on live events.

Reports come every few seconds, and each is looked at: a test of fixed size would cry wolf. So the evidence is that of a
mixture sequential probability ratio test (Robbins, 1970; Johari, Koomen, Pekelis and Walsh, 2022): how much likelier
what was seen is if the new version is worse, by any amount that one would expect, than if both are equal. If they are
equal, that it ever reaches 1 / e has a chance of e at most, whenever and however often one looks. The variance
counts users, not events (`hit_moments`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import stable_hash
from model.serving.hit_moments import HitMoments, total_moments
from model.serving.serving import Serving

ERROR: Final = 0.0025  # chance to blame an equal version, of each metric and phase; of two by two at most 1 %
_USUAL_DROP: Final = 0.05  # of hit@20, and of MRR@20, where a version is worse: the scale of the mixture
_LEAST_SCORED: Final = 100  # events of each version: below, a normal distribution says little about a share
_LEAST_USERS: Final = 20  # of each version
_ALIKE: Final = 4  # events of a user, all hits or all misses, are assumed where a worker of an earlier nextact reports
_BUCKETS: Final = 10_000  # of users: a share is a multiple of one in so many


@dataclass(frozen=True, slots=True)
class Canary:
    """Who stays with which version: by a hash of the user id, so the same users in every worker."""

    before: Serving
    share: float
    salt: str = ""  # of the hash: with another one it is other users

    def stays(self, users: Sequence[str]) -> NDArray[np.bool_]:
        """Which of N users stay with the version before, (N,)."""
        buckets = np.array([stable_hash(self.salt + user) % _BUCKETS for user in users], np.float64)
        return buckets < self.share * _BUCKETS


class HitCounts(NamedTuple):
    """How well a version's answers did."""

    scored: int = 0
    hits: int = 0  # among the 20 best
    reciprocal_ranks: float = 0.0

    @property
    def recall(self) -> float:
        """Hit@20."""
        return self.hits / max(1, self.scored)

    @property
    def mrr(self) -> float:
        """MRR@20."""
        return self.reciprocal_ranks / max(1, self.scored)


def total(counts: Iterable[HitCounts]) -> HitCounts:
    """Adds up the counts of several workers."""
    columns = list(zip(*counts, strict=True)) or [(0,), (0,), (0.0,)]
    return HitCounts(sum(columns[0]), sum(columns[1]), sum(columns[2]))


class Arm(NamedTuple):
    """How one of the two versions did."""

    counts: HitCounts
    moments: HitMoments

    @classmethod
    def of(cls, counts: HitCounts, moments: HitMoments | None) -> Arm:
        """Puts counts and moments together; assumes that users are much alike where a worker did not tell."""
        return cls(counts, _assumed_moments(counts) if moments is None else moments)

    def variance(self, mean: float, of_product: float, of_square: float) -> float:
        """Returns the variance of a mean per event, from the sums over users of its products and squares."""
        users = self.moments.users
        squares = of_square - 2 * mean * of_product + mean * mean * self.moments.nn
        # As if one more user had been different: where all were the same so far, the next one need not be.
        return (max(0.0, squares) * users / max(1.0, users - 1) + 1) / max(1, self.counts.scored) ** 2


def total_arm(arms: Iterable[Arm]) -> Arm:
    """Adds up what several workers report."""
    listed = list(arms)
    return Arm(total(arm.counts for arm in listed), total_moments(arm.moments for arm in listed))


def regression_message(new: Arm, before: Arm, margin: float) -> str | None:
    """Says how the new version is worse than the one before, by more than `margin` and surely; None: it is not, or too
    few events say so."""
    if min(new.counts.scored, before.counts.scored) < _LEAST_SCORED:
        return None
    if min(new.moments.users, before.moments.users) < _LEAST_USERS:
        return None
    for name, ours, theirs, variance in _comparisons(new, before):
        if theirs - ours > margin and evidence(theirs - ours, variance) > 1 / ERROR:
            return (
                f"live {name} {ours:.4f} on {new.counts.scored:,} events, {theirs:.4f} on the "
                f"{before.counts.scored:,} events of the users who stayed with the version before"
            )
    return None


def evidence(drop: float, variance: float, usual: float = _USUAL_DROP) -> float:
    """Returns how many times likelier a drop with this variance is if there is one than if both versions are equal.

    The true drop is taken to be the absolute value of a normal variable with standard deviation `usual`.
    """
    spread = variance + usual * usual
    score = drop * usual / math.sqrt(variance * spread)
    likelihood = 2 * math.sqrt(variance / spread) * NormalDist().cdf(score)
    return likelihood * math.exp(min(score * score / 2, 700.0))  # what is larger would be no number


def _comparisons(new: Arm, before: Arm) -> Iterable[tuple[str, float, float, float]]:
    """Yields the name of each metric, its value for both versions, and the variance of the difference."""
    hits = (arm.variance(arm.counts.recall, arm.moments.hn, arm.moments.hh) for arm in (new, before))
    yield "hit@20", new.counts.recall, before.counts.recall, sum(hits)
    ranks = (arm.variance(arm.counts.mrr, arm.moments.rn, arm.moments.rr) for arm in (new, before))
    yield "MRR@20", new.counts.mrr, before.counts.mrr, sum(ranks)


def _assumed_moments(counts: HitCounts) -> HitMoments:
    """Returns the moments of users with so many events each that all hit, at the same rank, or all miss."""
    scored, hits, reciprocals = counts
    return HitMoments(scored / _ALIKE, *(_ALIKE * each for each in (scored, hits, hits, reciprocals, reciprocals)))
