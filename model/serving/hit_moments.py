"""How alike the hits of one user are: sums over users, from which the variance of a version's hit rate comes.

Events of one user hit or miss together more often than events of two, so a thousand events of fifty users say less than
a thousand users' first ones. A sum over users of the squares of what each adds up to knows how much less (the
cluster-robust variance, Liang and Zeger, 1986); it changes by a known amount with every event.

Shapes: R scored events, S slots of users.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import uncounted
from model.state.history_rings import grown

_USER: Final = np.dtype([("scored", np.uint32), ("hits", np.uint32), ("reciprocal_ranks", np.float32)])


class HitMoments(NamedTuple):
    """Sums over users of n, a user's scored events, h, those that hit, and r, the sum of their reciprocal ranks."""

    users: float = 0.0
    nn: float = 0.0  # of n * n
    hn: float = 0.0  # of h * n
    hh: float = 0.0  # of h * h
    rn: float = 0.0  # of r * n
    rr: float = 0.0  # of r * r

    def __add__(self, other: object) -> HitMoments:
        """Adds the sums over some users to those over others, or over more events of the same."""
        if not isinstance(other, HitMoments):
            return NotImplemented
        return HitMoments(*(one + more for one, more in zip(self, other, strict=True)))


NO_MOMENTS: Final = HitMoments()


def total_moments(moments: Iterable[HitMoments]) -> HitMoments:
    """Adds up the moments of several workers: a user is on one of them."""
    return sum(moments, NO_MOMENTS)


class HitMomentsTracker:
    """Each user's counts, so that every event knows by how much it changes the sums; held in memory only."""

    def __init__(self) -> None:
        self._counts: NDArray[np.void] = np.zeros(0, _USER)  # (S,)

    @property
    def nbytes(self) -> int:
        """Bytes of the counts."""
        return self._counts.nbytes

    def add(self, slots: NDArray[np.int64], ranks: NDArray[np.int64], capacity: int) -> HitMoments:
        """Counts scored events of users in slots (R,) with ranks (R,), from 1, 0: no hit; returns what it adds."""
        if len(self._counts) < capacity:
            self._counts = grown(self._counts, capacity)
        sums = np.zeros(len(HitMoments._fields))
        _add(slots, ranks, self._counts, sums)
        return HitMoments(*sums.tolist())

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Begins anew with slots that go to other users; what was added stays."""
        self._counts[slots[slots < len(self._counts)]] = 0

    def forget_all(self) -> None:
        """Begins anew with everybody."""
        self._counts[:] = 0


@uncounted
def _add(
    slots: NDArray[np.int64], ranks: NDArray[np.int64], counts: NDArray[np.void], sums: NDArray[np.float64]
) -> None:
    for n in range(len(slots)):
        user = counts[slots[n]]
        scored, hits, reciprocals = np.float64(user.scored), np.float64(user.hits), np.float64(user.reciprocal_ranks)
        hit = 1.0 if ranks[n] > 0 else 0.0
        reciprocal = np.divide(1.0, np.float64(ranks[n])) if ranks[n] > 0 else 0.0
        sums[0] += 1.0 if scored == 0 else 0.0
        sums[1] += 2 * scored + 1
        sums[2] += hits + hit * (scored + 1)
        sums[3] += hit * (2 * hits + 1)
        sums[4] += reciprocals + reciprocal * (scored + 1)
        sums[5] += reciprocal * (2 * reciprocals + reciprocal)
        user.scored += np.uint32(1)
        user.hits += np.uint32(hit)
        user.reciprocal_ranks += np.float32(reciprocal)
