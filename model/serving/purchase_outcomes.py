"""Whether predicted purchases came: one prediction per user at a time, settled when its time is over.

Settled means that PURCHASE_WITHIN_MS have passed, whatever came: were a purchase counted when it happens and its
absence later, there would be too many purchases until then. The user's next event after that shows it; of users who
leave, the time of their partition does. Then the next answer's prediction is tracked. When to begin depends on the past
only, so predictions and outcomes must agree on average if the probabilities are right.

Shapes: N events, S slots, P partitions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import FUTURE_MS
from model.data.events import PURCHASE, PURCHASE_HORIZON, PURCHASE_WITHIN_MS
from model.kernels.compiled import uncounted
from model.state.history_rings import grown

# A partition's time is the latest clock among its users, and a clock may be that far ahead.
_LEFT_MS: Final = PURCHASE_WITHIN_MS + FUTURE_MS
_LOOK_EVERY: Final = 64  # batches between two looks for users who have left
_PREDICTION: Final = np.dtype(
    [
        ("begun", np.int64),  # ms, by the user's clock
        ("begun_in_partition", np.int64),  # ms, by the partition's time
        ("partition", np.int32),
        ("predicted", np.float32),
        ("version", np.uint32),
        ("events_left", np.uint8),
        ("bought", np.bool_),
        ("open", np.bool_),  # else no prediction of the user is tracked
    ]
)


class PurchaseOutcomes(NamedTuple):
    """Predictions that a batch settled, R of them."""

    predicted: NDArray[np.float32]  # (R,) probabilities
    bought: NDArray[np.bool_]  # (R,)
    versions: NDArray[np.uint32]  # (R,) numbers of the versions that predicted them

    @classmethod
    def room(cls, size: int) -> PurchaseOutcomes:
        """Returns so many, with nothing in them."""
        return cls(np.empty(size, np.float32), np.empty(size, np.bool_), np.empty(size, np.uint32))

    def select(self, rows: slice | NDArray[np.bool_]) -> PurchaseOutcomes:
        """Returns some of them."""
        return PurchaseOutcomes(self.predicted[rows], self.bought[rows], self.versions[rows])


class _EventColumns(NamedTuple):
    """Applied events in log order, for the compiled loop."""

    slots: NDArray[np.int64]  # (N,)
    partitions: NDArray[np.int32]  # (N,)
    types: NDArray[np.uint8]  # (N,) codes
    times: NDArray[np.int64]  # (N,) ms, the users' clocks
    probabilities: NDArray[np.float32]  # (N,) of a purchase, in the answers after them


class _Horizon(NamedTuple):
    """Given to the loop, not read from a module: what was compiled outlives a change of another file."""

    events: int
    within_ms: int


_HORIZON: Final = _Horizon(PURCHASE_HORIZON, PURCHASE_WITHIN_MS)


class PurchaseOutcomeTracker:
    """Tracks one prediction per user until it is settled, whichever version serves then; held in memory only."""

    def __init__(self) -> None:
        self._predictions: NDArray[np.void] = np.zeros(0, _PREDICTION)  # (S,)
        self._now: NDArray[np.int64] = np.zeros(0, np.int64)  # (P,) ms
        self._batches = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the predictions."""
        return self._predictions.nbytes

    def follow(
        self,
        slots: NDArray[np.int64],
        partitions: NDArray[np.int32],
        types: NDArray[np.uint8],
        times: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        version: int,
    ) -> PurchaseOutcomes:
        """Settles what N applied events in log order show, and tracks their predictions where none is tracked.

        `times` (N,): the users' clocks, ms; `probabilities` (N,): of a purchase, in the answers after the events, which
        are of the version with this number. There must be room for the slots: see `grow`.
        """
        most = int(partitions.max(initial=0)) + 1
        if len(self._now) < most:
            self._now = grown(self._now, most)
        events = _EventColumns(slots, partitions, types, times, probabilities)
        settled = PurchaseOutcomes.room(len(slots))
        count = _settle(events, np.uint32(version), _HORIZON, self._predictions, self._now, settled)
        settled = settled.select(slice(count))
        self._batches += 1
        if self._batches % _LOOK_EVERY:
            return settled
        left = self._settle_left()
        return PurchaseOutcomes(*(np.concatenate(columns) for columns in zip(settled, left, strict=True)))

    def _settle_left(self) -> PurchaseOutcomes:
        """Settles the predictions of users who have not come back."""
        rows = self._predictions
        left = rows["open"] & (self._now[rows["partition"]] > rows["begun_in_partition"] + _LEFT_MS)
        rows["open"][left] = False
        return PurchaseOutcomes(rows["predicted"][left], rows["bought"][left], rows["version"][left])

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Drops the predictions of slots that go to other users."""
        self._predictions["open"][slots[slots < len(self._predictions)]] = False

    def grow(self, capacity: int) -> None:
        """Makes room for so many slots."""
        if len(self._predictions) < capacity:
            self._predictions = grown(self._predictions, capacity)


@uncounted
def _settle(
    events: _EventColumns,
    version: np.uint32,
    horizon: _Horizon,
    predictions: NDArray[np.void],
    now: NDArray[np.int64],
    settled: PurchaseOutcomes,
) -> int:
    """Fills in what is settled and changes predictions (S,) and the partitions' times (P,); returns how many are
    settled."""
    count = 0
    for n in range(len(events.slots)):
        user, partition, time = predictions[events.slots[n]], events.partitions[n], events.times[n]
        now[partition] = max(now[partition], time)
        if user.open and time - user.begun > horizon.within_ms:
            settled.predicted[count], settled.bought[count] = user.predicted, user.bought
            settled.versions[count] = user.version
            count += 1
            user.open = False
        if user.open:
            if user.events_left > 0:
                user.events_left -= 1
                user.bought |= events.types[n] == PURCHASE
        else:
            user.partition, user.begun, user.begun_in_partition = partition, time, now[partition]
            user.predicted, user.events_left = events.probabilities[n], horizon.events
            user.bought, user.open, user.version = False, True, version
    return count
