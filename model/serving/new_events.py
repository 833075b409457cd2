"""The new events of a batch as columns: what the states take in, and what the answers are about.

An event has one action or several, such as the lines of a basket. States take in actions, answers follow events.
Shapes: N actions of a batch, M of them new, B of these applied, E new events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.events import PURCHASE, Actions, on_wanted_items
from model.data.user_clocks import begins_group
from model.kernels.compiled import compiled


@dataclass(frozen=True, slots=True)
class NewEvents:
    """The events of a batch that were never seen before; the others are replays, which are answered already."""

    indices: NDArray[np.int64]  # (E,) of their last actions in the batch
    slots: NDArray[np.int64]  # (E,) of their users
    partitions: NDArray[np.int32]  # (E,)
    item_keys: NDArray[np.uint64]  # (E,) of their first actions, which score the answers before them
    types: NDArray[np.uint8]  # (E,) codes of their last actions; PURCHASE where any action is one
    times: NDArray[np.int64]  # (E,) ms, their users' clocks after them
    applied: NDArray[np.bool_]  # (E,); the others repeat an event id: they are answered, not applied
    late: NDArray[np.bool_]  # (E,) older than the user's clock, so without effect on it
    scored: NDArray[np.bool_]  # (E,) applied, and their first action is a target: they score the answers before them

    @property
    def duplicates(self) -> int:
        """How many events are not applied."""
        return len(self.applied) - int(self.applied.sum())


@dataclass(frozen=True, slots=True)
class NewActions:
    """The actions of new events."""

    indices: NDArray[np.int64]  # (M,) in the batch
    slots: NDArray[np.int64]  # (M,) of their users
    actions: Actions  # (M,); their times are the users' clocks
    applied: NDArray[np.bool_]  # (M,)
    late: NDArray[np.bool_]  # (M,)

    @property
    def last(self) -> NDArray[np.int64] | None:
        """The last action of each event (E,); None: each event has one action."""
        lines = self.actions.lines
        return np.flatnonzero(np.append(lines[1:] == 0, True)) if lines.any() else None

    def events(self, partitions: NDArray[np.int32]) -> NewEvents:
        """The events of the actions; `partitions` (M,)."""
        actions, last = self.actions, self.last
        first: slice | NDArray[np.int64] = slice(None)
        ends: slice | NDArray[np.int64] = slice(None)
        types = actions.types
        if last is not None:
            first, ends = np.flatnonzero(actions.lines == 0), last
            bought = np.maximum.reduceat(types == PURCHASE, first)
            types = np.where(bought, np.uint8(PURCHASE), types[last])
        applied = self.applied[ends]
        return NewEvents(
            indices=self.indices[ends],
            slots=self.slots[ends],
            partitions=partitions[ends],
            item_keys=actions.item_keys[first],
            types=types,
            times=actions.times[ends],
            applied=applied,
            late=self.late[ends],
            scored=on_wanted_items(actions.types[first]) & applied,
        )


@dataclass(frozen=True, slots=True)
class AppliedActions:
    """The actions among M new ones that change their users' states."""

    slots: NDArray[np.int64]  # (B,) of their users
    actions: Actions  # (B,)
    contexts: NDArray[np.uint32]  # (B,)
    ranks: NDArray[np.int64]  # (B,) how many applied actions of the same user come before it in the batch
    sources: NDArray[np.int64]  # (E,) for each event the applied action whose state it shows; -1: `source_actions`
    one_each: bool  # whether each event is one applied action

    def vector_indices(self) -> NDArray[np.int64]:
        """The index of each event's vector (E,), where the vectors of the applied actions are followed by those of the
        events without a source, in order."""
        missing = self.sources < 0
        return np.where(missing, len(self.actions) + np.cumsum(missing) - 1, self.sources)


def source_actions(slots: NDArray[np.int64], applied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each new action (M,) the applied one whose state it shows, counted among the applied ones.

    That is the action itself or, for a repeat, the user's last applied one before it in the batch; -1: there is none.
    """
    sources = np.empty(len(slots), np.int64)
    _fill_sources(slots.argsort(kind="stable"), slots, applied, sources)
    return sources


@compiled
def _fill_sources(
    order: NDArray[np.int64], slots: NDArray[np.int64], applied: NDArray[np.bool_], sources: NDArray[np.int64]
) -> None:
    """Fills in sources (M,), user by user: `order` (M,) sorts the actions by slot and then by log."""
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
