"""Merges two sequences of one user by time: that of an anonymous user, and that of who they turn out to be.

A ring does not keep times, but of each action the bucket of the time since the action before. So an action's time is
estimated, back from the time of the last one, by a typical time for each bucket: the middle of the bucket, and nothing
for the lowest, in which the lines of a basket are. The newest actions, where sequences meet, are so known best.
Shapes: A anonymous and K known actions, M merged ones, oldest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import (
    BOUNDARY_SHIFT,
    FIRST_GAP,
    GAP_BUCKETS,
    GAP_SHIFT,
    begins_session,
    gap_bucket_of,
    unpack_contexts,
)
from model.data.events import NO_TIME

_MIDDLES: Final = 1000 * (2 ** (0.8 * (np.arange(GAP_BUCKETS) + 0.5)) - 1)  # milliseconds, in the middle of each bucket
_LONGEST: Final = FIRST_GAP - 1  # has no end, so it counts as the one before it; so does an unknown gap
TYPICAL_GAPS: Final = np.concatenate(([0], _MIDDLES[1:_LONGEST], [_MIDDLES[_LONGEST]] * 2)).astype(np.int64)
REPLACED: Final = ~np.uint32(1 << BOUNDARY_SHIFT | (GAP_BUCKETS - 1) << GAP_SHIFT)  # what stays of a context
_NO_SESSION: Final = np.uint64(0)


@dataclass(frozen=True, slots=True)
class UserSequence:
    """A user's last n actions, oldest first."""

    item_keys: NDArray[np.uint64]  # (n,)
    contexts: NDArray[np.uint32]  # (n,)
    last_time: int  # of the last action, milliseconds since the epoch, or NO_TIME
    session: int  # the last session id given, a hash; 0: none

    def times(self) -> NDArray[np.int64]:
        """Estimates when each action was, (n,), milliseconds since the epoch; the last one's time is known."""
        gaps = TYPICAL_GAPS[unpack_contexts(self.contexts).gaps]
        times: NDArray[np.int64] = self.last_time - (gaps.sum() - gaps.cumsum())
        return times


def merged(anonymous: UserSequence, known: UserSequence, length: int) -> UserSequence:
    """Returns the newest `length` actions of both by time; of equal times the anonymous user's comes first.

    The order within each sequence stays, whatever their times. An action that follows another one than before gets the
    gap to it and, after half an hour, opens a session; all others keep their contexts. Where the times of a sequence
    are not known, the anonymous one is the beginning.
    """
    item_keys = np.concatenate((anonymous.item_keys, known.item_keys))
    contexts = np.concatenate((anonymous.contexts, known.contexts))
    if NO_TIME in (anonymous.last_time, known.last_time):
        order = np.arange(len(item_keys))
    else:
        times = np.concatenate((anonymous.times(), known.times()))
        order = times.argsort(kind="stable")
        contexts = _followed(contexts, times, order, len(anonymous.item_keys))
    order = order[-length:]
    later = anonymous if anonymous.last_time > known.last_time else known
    return UserSequence(item_keys[order], contexts[order], later.last_time, later.session)


def _followed(
    contexts: NDArray[np.uint32], times: NDArray[np.int64], order: NDArray[np.int64], anonymous: int
) -> NDArray[np.uint32]:
    """Returns contexts (M,) in which those of actions that follow another one than before say so."""
    contexts = contexts.copy()
    before, after = order[:-1], order[1:]
    for index in np.flatnonzero((before != after - 1) | (after == anonymous)).tolist():
        action = after[index]
        gap = int(times[action] - times[before[index]])
        opens = begins_session(gap, _NO_SESSION, _NO_SESSION)
        bits = np.uint32(opens << BOUNDARY_SHIFT | gap_bucket_of(gap) << GAP_SHIFT)
        contexts[action] = contexts[action] & REPLACED | bits
    return contexts
