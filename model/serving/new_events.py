"""The new events of a batch as columns: what the states take in, and what the answers are about.

Shapes: N events of a batch, M new ones, B of them applied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.events import Actions
from model.data.user_clocks import begins_group
from model.kernels.compiled import compiled


@dataclass(frozen=True, slots=True)
class NewEvents:
    """The events of a batch that were never seen before; the others are replays, which are answered already."""

    indices: NDArray[np.int64]  # (M,) in the batch
    slots: NDArray[np.int64]  # (M,) of their users
    partitions: NDArray[np.int32]  # (M,)
    actions: Actions  # (M,); their times are the users' clocks
    applied: NDArray[np.bool_]  # (M,); the others repeat an event id: they are answered, not applied
    late: NDArray[np.bool_]  # (M,) older than the user's clock, so without effect on it
    scored: NDArray[np.bool_]  # (M,) applied and on an item: they score the answers before them

    @property
    def duplicates(self) -> int:
        """How many events are not applied."""
        return len(self.applied) - int(self.applied.sum())


@dataclass(frozen=True, slots=True)
class AppliedEvents:
    """The events among M new ones that change their users' states."""

    slots: NDArray[np.int64]  # (B,) of their users
    actions: Actions  # (B,)
    contexts: NDArray[np.uint32]  # (B,)
    ranks: NDArray[np.int64]  # (B,) how many applied events of the same user come before it in the batch
    sources: NDArray[np.int64]  # (M,) for each new event the applied one whose state it shows; -1: see `source_events`

    def vector_indices(self) -> NDArray[np.int64]:
        """The index of each event's vector (M,), where the vectors of the applied events are followed by those of the
        events without a source, in order."""
        missing = self.sources < 0
        return np.where(missing, len(self.actions) + np.cumsum(missing) - 1, self.sources)


def source_events(slots: NDArray[np.int64], applied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each new event (M,) the applied event whose state it shows, counted among the applied ones.

    That is the event itself or, for a repeat, the user's last applied one before it in the batch; -1: there is none.
    """
    sources = np.empty(len(slots), np.int64)
    _fill_sources(slots.argsort(kind="stable"), slots, applied, sources)
    return sources


@compiled
def _fill_sources(
    order: NDArray[np.int64], slots: NDArray[np.int64], applied: NDArray[np.bool_], sources: NDArray[np.int64]
) -> None:
    """Fills in sources (M,), user by user: `order` (M,) sorts the events by slot and then by log."""
    count = 0
    for n in range(len(slots)):
        sources[n] = count if applied[n] else -1
        count += applied[n]
    last = -1
    for position in range(len(order)):
        n = order[position]
        if begins_group(order, slots, position):
            last = -1
        if applied[n]:
            last = sources[n]
        sources[n] = last
