"""How well a version's answers did, told by the user's next events.

Shapes: N events, S slots, I items.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.data.events import Actions
from model.serving.answers import Answers
from model.serving.online_hits import OnlineHitRate
from model.serving.purchase_outcomes import PurchaseOutcomes, PurchaseOutcomeTracker
from model.serving.serving import Serving


@dataclass(frozen=True, slots=True)
class BatchScores:
    """What the events of a batch say about the answers before them."""

    places: NDArray[np.int64]  # where the next items stood, from 1; 0: nowhere
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
        boards = sum(board.nbytes for board in self._purchases.values())
        return self._rankings.nbytes + boards

    def score(
        self,
        serving: Serving,
        answers: Answers,
        slots: NDArray[np.int64],
        partitions: NDArray[np.int32],
        actions: Actions,
        *,
        scored: NDArray[np.bool_],
        applied: NDArray[np.bool_],
        capacity: int,
    ) -> BatchScores:
        """Scores the answers before N events in log order, of users in slots (N,) of partitions (N,), and keeps those
        after them.

        `scored` (N,): on an item; `applied` (N,): no repeats.
        """
        ranked = np.where(answers.items >= 0, serving.item_keys[answers.items], np.uint64(0))
        everyone = np.ones(len(slots), np.bool_)
        places = self._rankings.score(slots, actions.item_keys, scored, ranked, everyone, capacity)
        board = self._purchases.setdefault(answers.version, PurchaseOutcomeTracker())
        purchases = board.follow(
            slots[applied],
            partitions[applied],
            actions.types[applied],
            actions.times[applied],
            answers.purchase[applied],
            capacity,
        )
        return BatchScores(places, purchases)

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Drops the answers to slots that go to other users."""
        self._rankings.forget(slots)
        for board in self._purchases.values():
            board.forget(slots)

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
    outcomes: int = 0  # foretellings of purchases that are settled
    purchases_predicted: float = 0.0  # sum of their probabilities
    purchases: int = 0
    recommended: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))  # (I,)

    def add(self, answers: Answers, found: BatchScores) -> None:
        """Adds a batch."""
        hits = found.places[found.places > 0]
        self.scored += len(found.places)
        self.hits += len(hits)
        self.reciprocal_ranks += float((1.0 / hits).sum())
        self.outcomes += len(found.purchases.bought)
        self.purchases_predicted += float(found.purchases.predicted.sum())
        self.purchases += int(found.purchases.bought.sum())
        if len(self.recommended) < len(answers.names):
            self.recommended = np.zeros(len(answers.names), np.bool_)
        self.recommended[answers.items[answers.items >= 0]] = True

    @property
    def coverage(self) -> float:
        """Share of the catalogue that was among somebody's 20 best."""
        return float(self.recommended.mean()) if len(self.recommended) else 0.0
