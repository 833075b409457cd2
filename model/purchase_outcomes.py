"""Whether purchases that were foretold came: one foretelling per user at a time, settled by the user's next events.

A purchase among the next PURCHASE_HORIZON events settles it, and so does their end; then the next answer is followed.
When to begin depends on the past only, so what is foretold and what comes must agree on average if the probabilities
are right. Users who leave settle nothing.

Shapes: N events, S slots.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.baselines import PURCHASE_HORIZON
from model.compiled import compiled
from model.events import PURCHASE
from model.history import grown


class Outcomes(NamedTuple):
    """What was foretold and settled by now."""

    foretold: NDArray[np.float32]  # (R,) probabilities
    bought: NDArray[np.bool_]  # (R,)


class PurchaseBoard:
    """The foretelling that is followed for each user; held in memory only."""

    def __init__(self) -> None:
        self._foretold: NDArray[np.float32] = np.zeros(0, np.float32)
        self._events_left: NDArray[np.uint8] = np.zeros(0, np.uint8)  # 0: nothing is followed

    @property
    def nbytes(self) -> int:
        """Bytes of what is followed."""
        return self._foretold.nbytes + self._events_left.nbytes

    def follow(
        self,
        slots: NDArray[np.int64],
        types: NDArray[np.uint8],
        probabilities: NDArray[np.float32],
        capacity: int,
    ) -> Outcomes:
        """Settles what N applied events in log order decide, and follows their answers where nothing is followed."""
        if len(self._events_left) < capacity:
            self._foretold = grown(self._foretold, capacity)
            self._events_left = grown(self._events_left, capacity)
        foretold, bought = np.empty(len(slots), np.float32), np.empty(len(slots), np.bool_)
        settled = _follow(slots, types, probabilities, self._foretold, self._events_left, foretold, bought)
        return Outcomes(foretold[:settled], bought[:settled])

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Follows nothing for slots any more, which go to other users."""
        self._events_left[slots[slots < len(self._events_left)]] = 0

    def forget_all(self) -> None:
        """Follows nothing any more."""
        self._events_left[:] = 0


@compiled
def _follow(
    slots: NDArray[np.int64],
    types: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    followed: NDArray[np.float32],
    events_left: NDArray[np.uint8],
    foretold: NDArray[np.float32],
    bought: NDArray[np.bool_],
) -> int:
    settled = 0
    for place in range(len(slots)):
        slot = slots[place]
        if events_left[slot] > 0:
            events_left[slot] -= 1
            purchase = types[place] == PURCHASE
            if purchase or events_left[slot] == 0:
                foretold[settled], bought[settled] = followed[slot], purchase
                settled += 1
                events_left[slot] = 0
        if events_left[slot] == 0:
            followed[slot], events_left[slot] = probabilities[place], PURCHASE_HORIZON
    return settled
