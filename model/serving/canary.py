"""A canary: for a while some users stay with the version before, so that both are measured at the same time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import stable_hash
from model.serving.serving import Serving

_LEAST: Final = 100  # scored events of each version: below, a normal distribution says little about a share
_ERRORS: Final = 4.0  # standard errors that a difference must exceed
_BUCKETS: Final = 10_000  # of users: a share is a multiple of one in so many


@dataclass(frozen=True, slots=True)
class Canary:
    """Who stays with which version: by a hash of the user id, so the same users in every worker."""

    before: Serving
    share: float

    def stays(self, users: Sequence[str]) -> NDArray[np.bool_]:
        """Which of N users stay with the version before, (N,)."""
        buckets = np.array([stable_hash(user) % _BUCKETS for user in users], np.float64)
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


def regression_message(new: HitCounts, before: HitCounts, margin: float) -> str | None:
    """Says how the new version is worse than the one before, by more than `margin` and chance; None: it is not, or too
    few events say so."""
    if min(new.scored, before.scored) < _LEAST:
        return None
    for name, ours, theirs in (("hit@20", new.recall, before.recall), ("MRR@20", new.mrr, before.mrr)):
        error = math.sqrt(_variance(ours) / new.scored + _variance(theirs) / before.scored)
        if theirs - ours > max(margin, _ERRORS * error):
            return (
                f"live {name} {ours:.4f} on {new.scored:,} events, {theirs:.4f} on the {before.scored:,} events of "
                "the users who stayed with the version before"
            )
    return None


def _variance(mean: float) -> float:
    """The variance of values between 0 and 1 with this mean: at most that of a share."""
    return mean * (1 - mean)
