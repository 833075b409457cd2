"""Every user's last L actions, as rings in two arrays to which whole batches are appended and from which they are read.

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
    """A ring of item keys and contexts for each slot, and how many actions each slot has ever had."""

    def __init__(self, length: int, slots: int) -> None:
        self.length = length
        self.item_keys: NDArray[np.uint64] = np.zeros((slots, length), np.uint64)
        self.contexts: NDArray[np.uint32] = np.zeros((slots, length), np.uint32)
        self.counts: NDArray[np.int64] = np.zeros(slots, np.int64)
        # Actions that were lost before the slot was restored: this ring can be longer than the one that was stored.
        self._lost: NDArray[np.int64] = np.zeros(slots, np.int64)

    def append(
        self,
        slots: NDArray[np.int64],
        ranks: NDArray[np.int64],
        item_keys: NDArray[np.uint64],
        contexts: NDArray[np.uint32],
    ) -> NDArray[np.int64]:
        """Adds N actions; `ranks` (N,) says how many actions of the same slot come before each one in the batch.

        Returns how many actions the slot has ever had after each one, (N,).
        """
        counts = self.counts[slots] + ranks
        positions = counts % self.length
        # Positions repeat when a user has more than L actions in a batch: NumPy keeps the last, which is the newest.
        self.item_keys[slots, positions] = item_keys
        self.contexts[slots, positions] = contexts
        np.maximum.at(self.counts, slots, counts + 1)
        return counts + 1

    def gather(
        self, slots: NDArray[np.int64], last: int | None = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.int64]]:
        """Returns item keys and contexts (U, last), oldest first and left-aligned, and how many of each row count."""
        last = last or self.length
        counts = self.counts[slots]
        lengths = np.minimum(counts - self._lost[slots], last)
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

        Only the newest L of a row fit; `counts` (U,) says how many actions each user has ever had.
        """
        sizes = sizes.astype(np.int64)
        ages = (counts[:, None] - 1 - np.arange(self.length)) % self.length  # of each position: 0 is the newest
        columns = np.maximum(sizes[:, None] - 1 - ages, 0)  # positions beyond the sequence get anything, as never read
        self.item_keys[slots] = np.take_along_axis(item_keys, columns, 1)
        self.contexts[slots] = np.take_along_axis(contexts, columns, 1)
        self.counts[slots] = counts
        self._lost[slots] = counts - sizes

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Forgets the actions of slots."""
        self.counts[slots] = 0
        self._lost[slots] = 0

    def grow(self, slots: int) -> None:
        """Makes room for `slots` slots in all; the old ones keep their actions."""
        self.item_keys = grown(self.item_keys, slots)
        self.contexts = grown(self.contexts, slots)
        self.counts = grown(self.counts, slots)
        self._lost = grown(self._lost, slots)


def grown(array: NDArray[Scalar], slots: int) -> NDArray[Scalar]:
    """Copies an array into one of `slots` rows; new rows are zero."""
    bigger = np.zeros((slots, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


def ranks_within(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts, for each action of a batch, the actions of the same slot before it, (N,)."""
    order, indices = np.argsort(slots, kind="stable"), np.arange(len(slots))
    firsts = np.maximum.accumulate(np.where(group_starts(slots[order]), indices, 0))
    ranks = np.empty(len(slots), np.int64)
    ranks[order] = indices - firsts
    return ranks


@compiled
def _gather(
    item_keys: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
    slots: NDArray[np.int64],
    counts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    gathered_keys: NDArray[np.uint64],
    gathered_contexts: NDArray[np.uint32],
) -> None:
    """Copies the last `lengths` actions of `slots` (U,), which have had `counts` actions, and fills up with zeros."""
    for user in range(len(slots)):
        ring, ring_contexts = item_keys[slots[user]], contexts[slots[user]]
        into, into_contexts = gathered_keys[user], gathered_contexts[user]
        position = (counts[user] - lengths[user]) % len(ring)
        for step in range(lengths[user]):
            into[step], into_contexts[step] = ring[position], ring_contexts[position]
            position = position + 1 if position + 1 < len(ring) else 0
        into[lengths[user] :] = np.uint64(0)
        into_contexts[lengths[user] :] = np.uint32(0)
