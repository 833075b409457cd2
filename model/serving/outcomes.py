"""Whether what was predicted came, say a purchase: one prediction per user at a time, settled when its time is over.

Settled means that the time has passed, whatever came: were a purchase counted when it happens and its absence later,
there would be too many purchases until then. The user's next event after that shows it; of users who leave, the time of
their partition does. Then the next answer's prediction is tracked. When to begin depends on the past only, so
predictions and outcomes must agree on average if the probabilities are right.

Shapes: N events, S slots, P partitions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import FUTURE_MS
from model.kernels.compiled import uncounted
from model.state.history_rings import grown

_LOOK_EVERY: Final = 64  # batches between two looks for users who have left
_PREDICTION: Final = np.dtype(
    [
        ("begun", np.int64),  # ms, by the user's clock
        ("begun_in_partition", np.int64),  # ms, by the partition's time
        ("partition", np.int32),
        ("predicted", np.float32),
        ("version", np.uint32),
        ("events_left", np.uint8),
        ("came", np.bool_),
        ("open", np.bool_),  # else no prediction of the user is tracked
    ]
)


class Outcomes(NamedTuple):
    """Predictions that a batch settled, R of them."""

    predicted: NDArray[np.float32]  # (R,) probabilities
    came: NDArray[np.bool_]  # (R,)
    versions: NDArray[np.uint32]  # (R,) numbers of the versions that predicted them

    @classmethod
    def room(cls, size: int) -> Outcomes:
        """Returns so many, with nothing in them."""
        return cls(np.empty(size, np.float32), np.empty(size, np.bool_), np.empty(size, np.uint32))

    def of(self, version: int) -> Outcomes:
        """Returns those of a version."""
        return self.select(self.versions == version)

    def select(self, rows: slice | NDArray[np.bool_]) -> Outcomes:
        """Returns some of them."""
        return Outcomes(self.predicted[rows], self.came[rows], self.versions[rows])


class Foretold(NamedTuple):
    """What became of predictions so far."""

    outcomes: int  # predictions that are settled
    probability: float  # sum of what they said
    came: int

    def with_more(self, settled: Outcomes) -> Foretold:
        """Returns this with more predictions that are settled."""
        count, came = len(settled.came), int(settled.came.sum())
        return Foretold(self.outcomes + count, self.probability + float(settled.predicted.sum()), self.came + came)

    @property
    def opposite(self) -> Foretold:
        """The same of what comes where this does not."""
        return Foretold(self.outcomes, self.outcomes - self.probability, self.outcomes - self.came)


NOTHING_FORETOLD: Final = Foretold(0, 0.0, 0)


class EventColumns(NamedTuple):
    """N applied events in log order."""

    slots: NDArray[np.int64]  # (N,)
    partitions: NDArray[np.int32]  # (N,)
    times: NDArray[np.int64]  # (N,) ms, the users' clocks


class _Said(NamedTuple):
    """What N events are, and what is said after them, for the compiled loop."""

    wanted: NDArray[np.bool_]  # (N,)
    probabilities: NDArray[np.float32]  # (N,)
    version: np.uint32


class _Horizon(NamedTuple):
    """Given to the loop, not read from a module: what was compiled outlives a change of another file."""

    events: int
    within_ms: int


class OutcomeTracker:
    """Tracks one prediction per user until it is settled, whichever version serves then; held in memory only."""

    def __init__(self, events: int, within_ms: int) -> None:
        """Predicted is that one of a user's next so many events (at most 255), within this time, is a wanted one."""
        self._horizon = _Horizon(events, within_ms)
        # A partition's time is the latest clock among its users, and a clock may be that far ahead.
        self._left_ms = within_ms + FUTURE_MS
        self._predictions: NDArray[np.void] = np.zeros(0, _PREDICTION)  # (S,)
        self._now: NDArray[np.int64] = np.zeros(0, np.int64)  # (P,) ms
        self._batches = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the predictions."""
        return self._predictions.nbytes

    def follow(
        self, events: EventColumns, wanted: NDArray[np.bool_], probabilities: NDArray[np.float32], version: int
    ) -> Outcomes:
        """Settles what N events show, and tracks their predictions where none is tracked.

        `wanted` (N,): whether they are what is predicted; `probabilities` (N,): of that, in the answers after them,
        which are of the version with this number. There must be room for the slots: see `grow`.
        """
        most = int(events.partitions.max(initial=0)) + 1
        if len(self._now) < most:
            self._now = grown(self._now, most)
        settled = Outcomes.room(len(wanted))
        said = _Said(wanted, probabilities, np.uint32(version))
        count = _settle(events, said, self._horizon, self._predictions, self._now, settled)
        settled = settled.select(slice(count))
        self._batches += 1
        if self._batches % _LOOK_EVERY:
            return settled
        left = self._settle_left()
        return Outcomes(*(np.concatenate(columns) for columns in zip(settled, left, strict=True)))

    def _settle_left(self) -> Outcomes:
        """Settles the predictions of users who have not come back."""
        rows = self._predictions
        left = rows["open"] & (self._now[rows["partition"]] > rows["begun_in_partition"] + self._left_ms)
        rows["open"][left] = False
        return Outcomes(rows["predicted"][left], rows["came"][left], rows["version"][left])

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Drops the predictions of slots that go to other users."""
        self._predictions["open"][slots[slots < len(self._predictions)]] = False

    def grow(self, capacity: int) -> None:
        """Makes room for so many slots."""
        if len(self._predictions) < capacity:
            self._predictions = grown(self._predictions, capacity)


@uncounted
def _settle(
    events: EventColumns,
    said: _Said,
    horizon: _Horizon,
    predictions: NDArray[np.void],
    now: NDArray[np.int64],
    settled: Outcomes,
) -> int:
    """Fills in what is settled and changes predictions (S,) and the partitions' times (P,); returns how many are
    settled."""
    count = 0
    for n in range(len(events.slots)):
        user, partition, time = predictions[events.slots[n]], events.partitions[n], events.times[n]
        now[partition] = max(now[partition], time)
        if user.open and time - user.begun > horizon.within_ms:
            settled.predicted[count], settled.came[count] = user.predicted, user.came
            settled.versions[count] = user.version
            count += 1
            user.open = False
        if user.open:
            if user.events_left > 0:
                user.events_left -= 1
                user.came |= said.wanted[n]
        else:
            user.partition, user.begun, user.begun_in_partition = partition, time, now[partition]
            user.predicted, user.events_left = said.probabilities[n], horizon.events
            user.came, user.open, user.version = False, True, said.version
    return count
