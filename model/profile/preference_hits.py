"""How often users turn to what their last prediction said they like: kept per user, scored by the next event.

Shapes: N events, S slots, F fields (categories, brands).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled
from model.profile.counting import FIELDS, alike
from model.profile.preference_shares import SHOWN
from model.state.history_rings import grown

PREFERENCE_FIELDS: Final = ("category", "brand")


class PreferenceHits:
    """The largest shares that each user was last told to have."""

    def __init__(self) -> None:
        self._shown: NDArray[np.uint64] = np.zeros((0, FIELDS, SHOWN), np.uint64)

    @property
    def nbytes(self) -> int:
        """The bytes of what is kept."""
        return self._shown.nbytes

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Forgets the users who had these slots."""
        self._shown[slots[slots < len(self._shown)]] = 0

    def score(
        self, slots: NDArray[np.int64], turned_to: NDArray[np.uint64], shown: NDArray[np.uint64], capacity: int
    ) -> NDArray[np.int64]:
        """Scores events (N,) of users in slots, who turned to a category and a brand (N, F; 0: to none that is known),
        and keeps what they are shown then (N, F, SHOWN).

        Returns how many were scored and how many of these hit, (F, 2); users who were shown nothing do not count.
        """
        if len(self._shown) < capacity:
            self._shown = grown(self._shown, capacity)
        counts = np.zeros((FIELDS, 2), np.int64)
        _score(self._shown, slots, turned_to, shown, counts)
        return counts


@compiled
def _score(
    kept: NDArray[np.uint64],
    slots: NDArray[np.int64],
    turned_to: NDArray[np.uint64],
    shown: NDArray[np.uint64],
    counts: NDArray[np.int64],
) -> None:
    for n in range(len(slots)):
        for field in range(turned_to.shape[1]):
            key, before = turned_to[n, field], kept[slots[n], field]
            if key != 0 and before[0] != 0:
                hit = False
                for rank in range(len(before)):
                    hit |= before[rank] != 0 and alike(before[rank], key, field)
                counts[field, 0] += 1
                counts[field, 1] += hit
            for rank in range(len(before)):
                before[rank] = shown[n, field, rank]
