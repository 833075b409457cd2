"""How fast what was counted loses weight: by clocks that tick once whenever a weight halves.

A half-life is a share of the stream's age, so that a young shop forgets in minutes and an old one in days, up to a
longest one. Weights of that kind are a power of the age ("forward decay": Cormode, Shkapenyuk, Srivastava and Xu,
2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_DAY_MS: Final = 86_400_000
FLOOR_MS: Final = 3_600_000  # the age that a stream has at its beginning
_SHARES: Final = (0.4, 0.03)  # half-lives as shares of the stream's age: of all counts, and of those of late
_LONGEST_MS: Final = (30.0 * _DAY_MS, 1.0 * _DAY_MS)  # half-lives at most

SLOW: Final = 0  # the columns of clocks: of all counts …
FAST: Final = 1  # … and of those of late


@dataclass(frozen=True, slots=True)
class Decay:
    """The clocks of a stream."""

    start: int  # ms, of the first event
    floor: int = FLOOR_MS  # the stream's age at its start, ms

    def clocks(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns how many half-lives had passed at times (N,) since the start, (N, 2): SLOW and FAST."""
        ages = np.maximum(times, self.start).astype(np.float64) - (self.start - self.floor)
        clocks = np.empty((len(times), len(_SHARES)))
        for column, (share, longest) in enumerate(zip(_SHARES, _LONGEST_MS, strict=True)):
            turn = max(float(self.floor), longest / share)  # the age from which on half-lives are the longest
            clocks[:, column] = np.log2(np.minimum(ages, turn) / self.floor) * (math.log(2) / share)
            clocks[:, column] += np.maximum(ages - turn, 0) / longest
        return clocks


def decay_of_span(oldest: int, newest: int) -> Decay:
    """Returns the clocks of a log from its oldest to its newest time (ms): made-up times may be close together."""
    return Decay(oldest, min(FLOOR_MS, 1 + (newest - oldest) // 1000))
