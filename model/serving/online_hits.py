"""Scores rankings online: whether the next item of a user was in the answer before it.

Shapes: N events, k ranked items, S slots.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import uncounted
from model.serving.answers import RANKED
from model.state.history_rings import grown


class _AnsweredEvents(NamedTuple):
    """Events in log order and the answers after them, for the compiled loop."""

    slots: NDArray[np.int64]  # (N,)
    item_keys: NDArray[np.uint64]  # (N,); 0: an event without an item
    scored: NDArray[np.bool_]  # (N,): which score the answers before them
    ranked: NDArray[np.uint64]  # (N, k) keys of the items in the answers after them
    answered: NDArray[np.bool_]  # (N,): which got an answer


class ScoredRanks(NamedTuple):
    """Events that scored the answers before them, R of them."""

    slots: NDArray[np.int64]  # (R,) of their users
    ranks: NDArray[np.int64]  # (R,) of their items in these answers, from 1; 0: not in it


class OnlineHitRate:
    """The last ranking given to each user, so that the next event can score it; held in memory only."""

    def __init__(self) -> None:
        # 32 bits of an item's key tell items apart well enough for a metric; 0: there is no k-th item.
        self._ranked: NDArray[np.uint32] = np.zeros((0, RANKED), np.uint32)
        self._answered: NDArray[np.bool_] = np.zeros(0, np.bool_)

    @property
    def nbytes(self) -> int:
        """Bytes of the kept answers."""
        return self._ranked.nbytes + self._answered.nbytes

    def score(
        self,
        slots: NDArray[np.int64],
        item_keys: NDArray[np.uint64],
        scored: NDArray[np.bool_],
        ranked: NDArray[np.uint64],
        answered: NDArray[np.bool_],
        capacity: int,
    ) -> ScoredRanks:
        """Scores N events by the answers before them, and keeps the answers after them.

        All arrays are in log order: `scored` says which events have an item, `ranked` (N, k) are the item keys of the
        answers after each event, `answered` which events got one. Returns the events that could be scored.
        """
        self._grow(capacity)
        of_scored = ScoredRanks(np.empty(len(slots), np.int64), np.empty(len(slots), np.int64))
        events = _AnsweredEvents(slots, item_keys, scored, ranked, answered)
        count = _score(events, self._ranked, self._answered, of_scored)
        return ScoredRanks(of_scored.slots[:count], of_scored.ranks[:count])

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Drops the answers of slots that go to other users."""
        self._answered[slots[slots < len(self._answered)]] = False

    def forget_all(self) -> None:
        """Drops all answers."""
        self._answered[:] = False

    def _grow(self, capacity: int) -> None:
        if len(self._answered) < capacity:
            self._ranked = grown(self._ranked, capacity)
            self._answered = grown(self._answered, capacity)


@uncounted
def count_hits(ranks: NDArray[np.int64]) -> tuple[int, float]:
    """Returns how many ranks are hits, that is not 0, and the sum of 1 / rank of these."""
    hits, reciprocals = 0, 0.0
    for rank in ranks:
        if rank > 0:
            hits += 1
            reciprocals += np.divide(1.0, rank)
    return hits, reciprocals


@uncounted
def _score(
    events: _AnsweredEvents,
    kept: NDArray[np.uint32],
    kept_answered: NDArray[np.bool_],
    of_scored: ScoredRanks,
) -> int:
    """Fills in the events that are scored by the kept answers (S, RANKED), and keeps the answers after them.

    An answer is about its user's next event only. Returns how many events are scored.
    """
    count, width = 0, events.ranked.shape[1]
    for n in range(len(events.slots)):
        slot = events.slots[n]
        answer, wanted = kept[slot], np.uint32(events.item_keys[n])
        if events.scored[n] and kept_answered[slot]:
            of_scored.slots[count], of_scored.ranks[count] = slot, 0
            for rank in range(len(answer)):
                if answer[rank] == wanted and wanted != 0:
                    of_scored.ranks[count] = rank + 1
                    break
            count += 1
        answer[:] = 0
        for rank in range(width):
            answer[rank] = np.uint32(events.ranked[n, rank])
        kept_answered[slot] = events.answered[n]
    return count
