"""How well a version's answers did, as the users' next events show.

Shapes: N events, S slots, I items.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import uncounted
from model.serving.answers import Answers
from model.serving.new_events import NewEvents
from model.serving.online_hits import OnlineHitRate, count_hits
from model.serving.purchase_outcomes import PurchaseOutcomes, PurchaseOutcomeTracker


@dataclass(frozen=True, slots=True)
class BatchScores:
    """What the events of a batch say about the answers before them."""

    ranks: NDArray[np.int64]  # of the next items in the answers before them, from 1; 0: not among the ranked
    purchases: PurchaseOutcomes


NOTHING = BatchScores(np.zeros(0, np.int64), PurchaseOutcomes(np.zeros(0, np.float32), np.zeros(0, np.bool_)))


class OnlineScores:
    """The users' last answers, until their next events score them; held in memory only."""

    def __init__(self) -> None:
        self._rankings = OnlineHitRate()
        self._purchases: dict[str, PurchaseOutcomeTracker] = {}  # by version: there are two while some users stay

    @property
    def nbytes(self) -> int:
        """Bytes of the kept answers."""
        return self._rankings.nbytes + sum(tracker.nbytes for tracker in self._purchases.values())

    def score(self, events: NewEvents, answers: Answers, ranked: NDArray[np.uint64], capacity: int) -> BatchScores:
        """Scores the answers before N events in log order, and keeps the answers after them.

        `ranked` (N, k) are the keys of the answers' items, 0 where there is no k-th; `capacity` is how many slots
        there are.
        """
        slots, applied = events.slots, events.applied
        answered = np.ones(len(slots), np.bool_)
        ranks = self._rankings.score(slots, events.item_keys, events.scored, ranked, answered, capacity)
        tracker = self._purchases.setdefault(answers.version, PurchaseOutcomeTracker())
        purchases = tracker.follow(
            slots[applied],
            events.partitions[applied],
            events.types[applied],
            events.times[applied],
            answers.purchase[applied],
            capacity,
        )
        return BatchScores(ranks, purchases)

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Drops the answers to slots that go to other users."""
        self._rankings.forget(slots)
        for tracker in self._purchases.values():
            tracker.forget(slots)

    def forget_all(self) -> None:
        """Drops all answers: another version gives the next ones."""
        self._rankings.forget_all()
        self._purchases.clear()


@dataclass(slots=True)
class VersionScore:
    """A version's score so far in this process."""

    scored: int = 0
    hits: int = 0  # among the 20 best
    reciprocal_ranks: float = 0.0
    outcomes: int = 0  # purchase probabilities that are settled
    purchases_predicted: float = 0.0  # sum of these probabilities
    purchases: int = 0
    recommended: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))  # (I,)

    def add(self, answers: Answers, scores: BatchScores) -> None:
        """Adds a batch."""
        hits, reciprocal_ranks = count_hits(scores.ranks)
        self.scored += len(scores.ranks)
        self.hits += hits
        self.reciprocal_ranks += reciprocal_ranks
        if len(scores.purchases.bought):
            self.outcomes += len(scores.purchases.bought)
            self.purchases_predicted += float(scores.purchases.predicted.sum())
            self.purchases += int(scores.purchases.bought.sum())
        if len(self.recommended) < len(answers.names):
            self.recommended = np.zeros(len(answers.names), np.bool_)
        _mark(answers.items, self.recommended)

    @property
    def coverage(self) -> float:
        """Share of the catalogue that was among some user's 20 best."""
        return float(self.recommended.mean()) if len(self.recommended) else 0.0


@uncounted
def _mark(items: NDArray[np.int64], recommended: NDArray[np.bool_]) -> None:
    """Marks the items (N, k) of answers; -1: there is no k-th."""
    for row in items:
        for item in row:
            if item >= 0:
                recommended[item] = True
