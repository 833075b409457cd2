"""Which actions on items count as visited together, and how much: by all that counts co-visitation, live or offline.

Shapes: A actions on items, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

COVISIT_WINDOW: Final = 10  # actions on items apart, at most
COVISIT_WEIGHTS: Final = tuple(1.0 / gap for gap in range(1, COVISIT_WINDOW + 1))  # of a pair, by gap from 1 on


def covisit_pairs(users: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Yields, for each gap up to the window, the gap and the indices (P,) of the earlier and the later action of pairs.

    `users` (A,) are the users of actions on items, one user after the other. A pair that is `gap` apart weighs 1 / gap.
    One gap at a time, as all pairs at once would take ten times the memory.
    """
    for gap in range(1, COVISIT_WINDOW + 1):
        earlier = np.flatnonzero(users[gap:] == users[:-gap])
        yield gap, earlier, earlier + gap
