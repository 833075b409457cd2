"""How well a version's answers did, as the users' next events show.

Shapes: N events, S slots, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.data.events import PURCHASE, PURCHASE_HORIZON, PURCHASE_WITHIN_MS
from model.kernels.compiled import uncounted
from model.profile.scores import LEFT_AFTER_MS
from model.serving.answers import Answers
from model.serving.hit_moments import NO_MOMENTS, HitMoments, HitMomentsTracker
from model.serving.new_events import NewEvents
from model.serving.online_hits import OnlineHitRate, count_hits
from model.serving.outcomes import NOTHING_FORETOLD, EventColumns, Foretold, Outcomes, OutcomeTracker


@dataclass(frozen=True, slots=True)
class BatchScores:
    """What the events of a batch say about the answers before them."""

    ranks: NDArray[np.int64]  # of the next items in the answers before them, from 1; 0: not among the ranked
    purchases: Outcomes
    stays: Outcomes  # whether users acted again, as a `leave_probability` foretold
    versions: Sequence[str] = ()  # by number, those that foretold it
    moments: HitMoments = NO_MOMENTS  # what the ranks add to


NOTHING = BatchScores(np.zeros(0, np.int64), Outcomes.room(0), Outcomes.room(0))


class OnlineScores:
    """The users' last answers, until their next events score them; held in memory only."""

    def __init__(self) -> None:
        self._rankings = OnlineHitRate()
        self._moments = HitMomentsTracker()
        self._purchases = OutcomeTracker(PURCHASE_HORIZON, PURCHASE_WITHIN_MS)
        self._stays = OutcomeTracker(1, LEFT_AFTER_MS)
        self._versions = list[str]()  # that have answered in this process, by number

    @property
    def nbytes(self) -> int:
        """Bytes of the kept answers."""
        return self._rankings.nbytes + self._moments.nbytes + self._purchases.nbytes + self._stays.nbytes

    def score(self, events: NewEvents, answers: Answers, ranked: NDArray[np.uint64], capacity: int) -> BatchScores:
        """Scores the answers before N events in log order, and keeps the answers after them.

        `ranked` (N, k) are the keys of the answers' items, 0 where there is no k-th; `capacity` is how many slots
        there are.
        """
        slots = events.slots
        answered = np.ones(len(slots), np.bool_)
        scored = self._rankings.score(slots, events.item_keys, events.scored, ranked, answered, capacity)
        if answers.version not in self._versions:
            self._versions.append(answers.version)
        rows, version = np.flatnonzero(events.applied), self._versions.index(answers.version)
        came = EventColumns(slots[rows], events.partitions[rows], events.times[rows])
        self._purchases.grow(capacity)
        purchases = self._purchases.follow(came, events.types[rows] == PURCHASE, answers.purchase[rows], version)
        stays = NOTHING.stays
        if answers.scores is not None:
            self._stays.grow(capacity)
            stays = self._stays.follow(came, np.ones(len(rows), np.bool_), 1 - answers.scores.leave[rows], version)
        moments = self._moments.add(scored.slots, scored.ranks, capacity)
        return BatchScores(scored.ranks, purchases, stays, self._versions, moments)

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Drops the answers to slots that go to other users."""
        self._rankings.forget(slots)
        self._moments.forget(slots)
        self._purchases.forget(slots)
        self._stays.forget(slots)

    def forget_rankings(self) -> None:
        """Drops all rankings, as another version gives the next ones; what it said of purchases is settled in time."""
        self._rankings.forget_all()
        self._moments.forget_all()


@dataclass(slots=True)
class VersionScore:
    """A version's score so far in this process."""

    scored: int = 0
    hits: int = 0  # among the 20 best
    reciprocal_ranks: float = 0.0
    purchases: Foretold = NOTHING_FORETOLD
    stays: Foretold = NOTHING_FORETOLD  # that users act again within half an hour
    moments: HitMoments = NO_MOMENTS
    recommended: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))  # (I or more,)
    items: int = 0  # I

    @classmethod
    def after(cls, earlier: VersionScore | None) -> VersionScore:
        """Begins anew, but with what became of predictions so far."""
        return cls() if earlier is None else cls(purchases=earlier.purchases, stays=earlier.stays)

    def add(self, answers: Answers, scores: BatchScores) -> None:
        """Adds a batch, but for what was settled, which may be another version's: see `settle`."""
        hits, reciprocal_ranks = count_hits(scores.ranks)
        self.scored += len(scores.ranks)
        self.hits += hits
        self.reciprocal_ranks += reciprocal_ranks
        self.moments += scores.moments
        if len(self.recommended) < (items := len(answers.names)):  # new ones may come
            grown = np.zeros(items + items // 64, np.bool_)
            grown[: len(self.recommended)] = self.recommended
            self.recommended = grown
        _mark(answers.items, self.recommended)
        self.items = len(answers.names)

    def settle(self, purchases: Outcomes, stays: Outcomes) -> None:
        """Adds predictions of this version that are settled."""
        self.purchases = self.purchases.with_more(purchases)
        self.stays = self.stays.with_more(stays)

    @property
    def coverage(self) -> float:
        """Share of the catalogue that was among some user's 20 best."""
        return float(self.recommended.sum()) / self.items if self.items else 0.0


@uncounted
def _mark(items: NDArray[np.int64], recommended: NDArray[np.bool_]) -> None:
    """Marks the items (N, k) of answers; -1: there is no k-th."""
    for row in items:
        for item in row:
            if item >= 0:
                recommended[item] = True
