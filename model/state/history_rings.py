"""Every user's last L actions: rings in two arrays, appended and gathered for whole batches.

Shapes: S slots, L ring length, N actions of a batch, U distinct slots.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import group_starts
from model.kernels.compiled import compiled

Scalar = TypeVar("Scalar", bound=np.generic)


class Histories:
    """Rings of (object, context) per slot, and how many actions each slot has ever had."""

    def __init__(self, length: int, slots: int) -> None:
        self.length = length
        self.item_keys: NDArray[np.uint64] = np.zeros((slots, length), np.uint64)
        self.contexts: NDArray[np.uint32] = np.zeros((slots, length), np.uint32)
        self.counts: NDArray[np.int64] = np.zeros(slots, np.int64)
        # Actions that were gone when the slot was restored: a ring can be longer than the one that stored them.
        self._gone: NDArray[np.int64] = np.zeros(slots, np.int64)

    def append(
        self,
        slots: NDArray[np.int64],
        ranks: NDArray[np.int64],
        item_keys: NDArray[np.uint64],
        contexts: NDArray[np.uint32],
    ) -> NDArray[np.int64]:
        """Adds N actions; `ranks` counts the actions of the same slot before each one in the batch.

        Returns the number of actions of the slot after each one, (N,).
        """
        counts = self.counts[slots] + ranks
        places = counts % self.length
        # Indices can repeat when one user sends more than L actions in a batch: NumPy keeps the last, the newest.
        self.item_keys[slots, places] = item_keys
        self.contexts[slots, places] = contexts
        np.maximum.at(self.counts, slots, counts + 1)
        return counts + 1

    def gather(
        self, slots: NDArray[np.int64], last: int | None = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.int64]]:
        """Objects and contexts (U, last), oldest first and left-aligned, and how many of them count (U,)."""
        last = last or self.length
        counts = self.counts[slots]
        lengths = np.minimum(counts - self._gone[slots], last)
        item_keys, contexts = np.empty((len(slots), last), np.uint64), np.empty((len(slots), last), np.uint32)
        _gather(self.item_keys, self.contexts, slots, counts, lengths, item_keys, contexts)
        return item_keys, contexts, lengths

    def restore(
        self,
        slots: NDArray[np.int64],
        item_keys: NDArray[np.uint64],
        contexts: NDArray[np.uint32],
        sizes: NDArray[np.integer],
        counts: NDArray[np.int64],
    ) -> None:
        """Puts stored sequences into slots (U,): `sizes` actions of each row (U, n > 0), oldest first and left-aligned.

        Only the newest L of a row are kept; `counts` are all actions that each user has ever had.
        """
        sizes = sizes.astype(np.int64)
        ages = (counts[:, None] - 1 - np.arange(self.length)) % self.length  # of each place: 0 is the newest
        columns = np.maximum(sizes[:, None] - 1 - ages, 0)  # places beyond the sequence get anything: none reads them
        self.item_keys[slots] = np.take_along_axis(item_keys, columns, 1)
        self.contexts[slots] = np.take_along_axis(contexts, columns, 1)
        self.counts[slots] = counts
        self._gone[slots] = counts - sizes

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Forgets the actions of slots."""
        self.counts[slots] = 0
        self._gone[slots] = 0

    def grow(self, slots: int) -> None:
        """Makes room for `slots` slots in all; the old ones keep what they hold."""
        self.item_keys = grown(self.item_keys, slots)
        self.contexts = grown(self.contexts, slots)
        self.counts = grown(self.counts, slots)
        self._gone = grown(self._gone, slots)


def grown(array: NDArray[Scalar], slots: int) -> NDArray[Scalar]:
    """A copy of an array with room for `slots` rows; new rows are zero."""
    bigger = np.zeros((slots, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


def ranks_within(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each action of a batch: how many actions of the same slot come before it, (N,)."""
    order, places = np.argsort(slots, kind="stable"), np.arange(len(slots))
    firsts = np.maximum.accumulate(np.where(group_starts(slots[order]), places, 0))
    ranks = np.empty(len(slots), np.int64)
    ranks[order] = places - firsts
    return ranks


@compiled
def _gather(
    item_keys: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
    slots: NDArray[np.int64],
    counts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    found_objects: NDArray[np.uint64],
    found_contexts: NDArray[np.uint32],
) -> None:
    """Copies the last `lengths` actions of the rings of `slots` (U,), which have had `counts` actions; then zeros."""
    for user in range(len(slots)):
        ring, ring_contexts = item_keys[slots[user]], contexts[slots[user]]
        into, into_contexts = found_objects[user], found_contexts[user]
        place = (counts[user] - lengths[user]) % len(ring)
        for step in range(lengths[user]):
            into[step], into_contexts[step] = ring[place], ring_contexts[place]
            place = place + 1 if place + 1 < len(ring) else 0
        into[lengths[user] :] = np.uint64(0)
        into_contexts[lengths[user] :] = np.uint32(0)
