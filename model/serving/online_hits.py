"""Scores rankings online: whether the next item of a user was in the answer before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import group_starts
from model.serving.answers import RANKED
from model.state.history_rings import grown


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
    ) -> NDArray[np.int64]:
        """Scores N events by the answers before them, and keeps the answers after them.

        All arrays are in log order: `scored` says which events have an item, `ranked` (N, k) are the item keys of the
        answers after each event, `answered` which events got one. Returns for each event that could be scored the
        rank of its item in the answer before, from 1; 0: not in it.
        """
        self._grow(capacity)
        before, known = self._before(slots, ranked.astype(np.uint32), answered)
        wanted = item_keys.astype(np.uint32)
        hits = (before == wanted[:, None]) & (wanted != 0)[:, None]
        ranks = np.where(hits.any(1), hits.argmax(1) + 1, 0)
        # An answer is about the next event only. Repeated indices keep the last value, the newest.
        self._ranked[slots] = 0
        self._ranked[slots, : ranked.shape[1]] = ranked.astype(np.uint32)
        self._answered[slots] = answered
        return ranks[scored & known]

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Drops the answers of slots that go to other users."""
        self._answered[slots[slots < len(self._answered)]] = False

    def forget_all(self) -> None:
        """Drops all answers."""
        self._answered[:] = False

    def _before(
        self, slots: NDArray[np.int64], ranked: NDArray[np.uint32], answered: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """For each event the answer its user had before it, from this batch or kept, and whether there was one."""
        before = self._ranked[slots].copy()
        known = self._answered[slots].copy()
        order = np.argsort(slots, kind="stable")
        again = np.flatnonzero(~group_starts(slots[order]))
        later, earlier = order[again], order[again - 1]
        before[later] = 0
        before[later, : ranked.shape[1]] = ranked[earlier]
        known[later] = answered[earlier]
        return before, known

    def _grow(self, capacity: int) -> None:
        if len(self._answered) < capacity:
            self._ranked = grown(self._ranked, capacity)
            self._answered = grown(self._answered, capacity)
