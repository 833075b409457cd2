"""Whether purchases that were foretold came: one foretelling per user at a time, settled when its time is over.

Settled means that PURCHASE_WITHIN_MS have passed, whatever came: were a purchase counted when it happens and its
absence later, there would be too many purchases until then. The user's next event after that shows it; of users who
leave, the time of their partition does. Then the next answer is followed. When to begin depends on the past only, so
what is foretold and what comes must agree on average if the probabilities are right.

Shapes: N events, S slots, P partitions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import FUTURE_MS
from model.data.events import PURCHASE, PURCHASE_HORIZON, PURCHASE_WITHIN_MS
from model.kernels.compiled import compiled
from model.state.history_rings import grown

# A partition's time is the latest clock among its users, and a clock may be that far ahead.
_LEFT_MS: Final = PURCHASE_WITHIN_MS + FUTURE_MS
_LOOK_EVERY: Final = 64  # batches, between two looks at who has left
_FOLLOWED: Final = np.dtype(
    [
        ("begun", np.int64),  # ms, by the user's clock
        ("begun_there", np.int64),  # ms, by the partition's time
        ("partition", np.int32),
        ("predicted", np.float32),
        ("events_left", np.uint8),
        ("bought", np.bool_),
        ("open", np.bool_),  # else nothing is followed
    ]
)


class PurchaseOutcomes(NamedTuple):
    """What was foretold and settled by now."""

    predicted: NDArray[np.float32]  # (R,) probabilities
    bought: NDArray[np.bool_]  # (R,)


class PurchaseOutcomeTracker:
    """The foretelling that is followed for each user; held in memory only."""

    def __init__(self) -> None:
        self._followed: NDArray[np.void] = np.zeros(0, _FOLLOWED)
        self._now: NDArray[np.int64] = np.zeros(0, np.int64)  # (P,) ms
        self._batches = 0

    @property
    def nbytes(self) -> int:
        """Bytes of what is followed."""
        return self._followed.nbytes

    def follow(
        self,
        slots: NDArray[np.int64],
        partitions: NDArray[np.int32],
        types: NDArray[np.uint8],
        times: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        capacity: int,
    ) -> PurchaseOutcomes:
        """Settles what N applied events in log order show, and follows their answers where nothing is followed.

        `times` (N,): the users' clocks, ms.
        """
        self._make_room(capacity, int(partitions.max(initial=0)) + 1)
        predicted, bought = np.empty(len(slots), np.float32), np.empty(len(slots), np.bool_)
        horizon = PURCHASE_HORIZON, PURCHASE_WITHIN_MS
        settled = _follow(
            slots, partitions, types, times, probabilities, *horizon, self._followed, self._now, predicted, bought
        )
        left = self._settle_left()
        return PurchaseOutcomes(
            np.concatenate((predicted[:settled], left.predicted)), np.concatenate((bought[:settled], left.bought))
        )

    def _settle_left(self) -> PurchaseOutcomes:
        """Settles, now and then, what is followed for users who have not come back."""
        self._batches += 1
        if self._batches % _LOOK_EVERY:
            return PurchaseOutcomes(np.zeros(0, np.float32), np.zeros(0, np.bool_))
        followed = self._followed
        left = followed["open"] & (self._now[followed["partition"]] > followed["begun_there"] + _LEFT_MS)
        followed["open"][left] = False
        return PurchaseOutcomes(followed["predicted"][left], followed["bought"][left])

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Follows nothing for slots any more, which go to other users."""
        self._followed["open"][slots[slots < len(self._followed)]] = False

    def _make_room(self, slots: int, partitions: int) -> None:
        if len(self._followed) < slots:
            self._followed = grown(self._followed, slots)
        if len(self._now) < partitions:
            self._now = grown(self._now, partitions)


@compiled
def _follow(
    slots: NDArray[np.int64],
    partitions: NDArray[np.int32],
    types: NDArray[np.uint8],
    times: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    events: int,
    within_ms: int,  # given and not read from the module: what was compiled outlives a change of another file
    followed: NDArray[np.void],
    now: NDArray[np.int64],
    predicted: NDArray[np.float32],
    bought: NDArray[np.bool_],
) -> int:
    settled = 0
    for place in range(len(slots)):
        user, partition = followed[slots[place]], partitions[place]
        now[partition] = max(now[partition], times[place])
        if user.open and times[place] - user.begun > within_ms:
            predicted[settled], bought[settled] = user.predicted, user.bought
            settled += 1
            user.open = False
        if user.open:
            if user.events_left > 0:
                user.events_left -= 1
                user.bought |= types[place] == PURCHASE
        else:
            user.partition, user.begun, user.begun_there = partition, times[place], now[partition]
            user.predicted, user.events_left = probabilities[place], events
            user.bought, user.open = False, True
    return settled
