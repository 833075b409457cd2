"""What the model, or the rules before there is one, say after each event; and how well the last answer did.

Shapes: N answers, k ranked items, K event types, S slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import group_starts
from model.data.events import SEARCH
from model.kernels.compiled import compiled
from model.state.history_rings import grown

RANKED = 20  # items ranked per answer, published or not: the k of hit@k and MRR@k


@dataclass(frozen=True, slots=True)
class Answers:
    """N answers, each after one event."""

    version: str
    names: Sequence[str]  # item ids, by catalogue index
    items: NDArray[np.int64]  # (N, k) catalogue indices, best first; -1: there is no k-th item
    probabilities: NDArray[np.float32]  # (N, k), of the item among next actions with an item
    next_type: NDArray[np.float32]  # (N, K)
    type_given_item: NDArray[np.float32]  # (N, k, K)
    purchase: NDArray[np.float32]  # (N,)


def next_actions(answers: Answers, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The most probable actions: types (N, count), places among the ranked items (-1: a search), probabilities.

    P(search) comes from the type; any other action is P(not a search) P(item) P(type | item).
    """
    n, k, types = answers.type_given_item.shape
    shape = n, min(count, k * types + 1)
    kinds, places = np.empty(shape, np.int64), np.empty(shape, np.int64)
    chances = np.full(shape, -1, np.float32)
    _choose(answers.next_type[:, SEARCH], answers.probabilities, answers.type_given_item, kinds, places, chances)
    return kinds, places, chances


@compiled
def _choose(
    search: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    type_given_item: NDArray[np.float32],
    kinds: NDArray[np.int64],
    places: NDArray[np.int64],
    chances: NDArray[np.float32],
) -> None:
    """Fills in `next_actions`; of equal ones the first item's first type comes first, a search last."""
    n, k, types = type_given_item.shape
    for row in range(n):
        for place in range(k):
            on_item = (np.float32(1) - search[row]) * probabilities[row, place]
            for kind in range(types):
                _enter(kinds[row], places[row], chances[row], kind, place, on_item * type_given_item[row, place, kind])
        _enter(kinds[row], places[row], chances[row], SEARCH, -1, search[row])


@compiled
def _enter(
    kinds: NDArray[np.int64],
    places: NDArray[np.int64],
    chances: NDArray[np.float32],
    kind: int,
    place: int,
    chance: np.float32,
) -> None:
    """Puts an action where it belongs among the best of one answer."""
    at = len(chances) - 1
    if chance <= chances[at]:
        return
    while at > 0 and chances[at - 1] < chance:
        kinds[at], places[at], chances[at] = kinds[at - 1], places[at - 1], chances[at - 1]
        at -= 1
    kinds[at], places[at], chances[at] = kind, place, chance


class Scoreboard:
    """The last ranking given to each user, so that the next event can score it; held in memory only."""

    def __init__(self) -> None:
        # 32 bits of an item's hash tell items apart well enough for a metric; 0: no item.
        self._ranked: NDArray[np.uint32] = np.zeros((0, RANKED), np.uint32)
        self._answered: NDArray[np.bool_] = np.zeros(0, np.bool_)

    @property
    def nbytes(self) -> int:
        """Bytes of the kept answers."""
        return self._ranked.nbytes + self._answered.nbytes

    def score(
        self,
        slots: NDArray[np.int64],
        objects: NDArray[np.uint64],
        scored: NDArray[np.bool_],
        ranked: NDArray[np.uint64],
        answered: NDArray[np.bool_],
        capacity: int,
    ) -> NDArray[np.int64]:
        """Ranks of events in the answers before them, and keeps the new answers.

        All arrays are in log order: `scored` says which events have an item, `ranked` (N, k) are the item objects
        of the answers after each event, `answered` which events got one. Returns for each event that
        could be scored the place of its item in the answer before, from 1; 0: not in it.
        """
        self._make_room(capacity)
        before, known = self._before(slots, ranked.astype(np.uint32), answered)
        wanted = objects.astype(np.uint32)
        hits = (before == wanted[:, None]) & (wanted != 0)[:, None]
        places = np.where(hits.any(1), hits.argmax(1) + 1, 0)
        # An answer is about the next event only. Repeated indices keep the last value, the newest.
        self._ranked[slots] = 0
        self._ranked[slots, : ranked.shape[1]] = ranked.astype(np.uint32)
        self._answered[slots] = answered
        return places[scored & known]

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Drops the answers of slots that go to other users."""
        self._answered[slots[slots < len(self._answered)]] = False

    def forget_all(self) -> None:
        """Drops all answers."""
        self._answered[:] = False

    def _before(
        self, slots: NDArray[np.int64], ranked: NDArray[np.uint32], answered: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """For each event the answer its user had before it: the batch's own if there is one, else the kept one."""
        before = self._ranked[slots].copy()
        known = self._answered[slots].copy()
        order = np.argsort(slots, kind="stable")
        again = np.flatnonzero(~group_starts(slots[order]))
        places, earlier = order[again], order[again - 1]
        before[places] = 0
        before[places, : ranked.shape[1]] = ranked[earlier]
        known[places] = answered[earlier]
        return before, known

    def _make_room(self, capacity: int) -> None:
        if len(self._answered) < capacity:
            self._ranked = grown(self._ranked, capacity)
            self._answered = grown(self._answered, capacity)
