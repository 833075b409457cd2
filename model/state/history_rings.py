"""Every user's last L actions, as rings in two arrays to which whole batches are appended and from which they are read.

Shapes: S slots, L ring length, N actions of a batch, U distinct slots.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.data.user_clocks import begins_group
from model.kernels.compiled import compiled

Scalar = TypeVar("Scalar", bound=np.generic)


class Rings(NamedTuple):
    """What `Histories` hold, for compiled loops."""

    item_keys: NDArray[np.uint64]  # (S, L)
    contexts: NDArray[np.uint32]  # (S, L)
    counts: NDArray[np.int64]  # (S,) actions that each slot has ever had
    lost: NDArray[np.int64]  # (S,) actions that were lost before the slot was restored, less those that do not count


class Histories:
    """A ring of item keys and contexts for each slot, and how many actions each slot has ever had."""

    def __init__(self, length: int, slots: int) -> None:
        self.length = length
        self.item_keys: NDArray[np.uint64] = np.zeros((slots, length), np.uint64)
        self.contexts: NDArray[np.uint32] = np.zeros((slots, length), np.uint32)
        self.counts: NDArray[np.int64] = np.zeros(slots, np.int64)
        # Actions that were lost before the slot was restored: this ring can be longer than the one that was stored.
        # Less than 0 where it has actions that do not count (`user_joins`).
        self._lost: NDArray[np.int64] = np.zeros(slots, np.int64)

    def append(
        self, slots: NDArray[np.int64], item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32]
    ) -> NDArray[np.int64]:
        """Adds N actions in log order; returns how many each one's slot has ever had after it, (N,)."""
        lengths = np.empty(len(slots), np.int64)
        _append(self.item_keys, self.contexts, self.counts, slots, item_keys, contexts, lengths)
        return lengths

    def gather(
        self, slots: NDArray[np.int64], last: int | None = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.int64]]:
        """Returns item keys and contexts (U, last), oldest first and left-aligned, and how many of each row count."""
        last = last or self.length
        shape, lengths = (len(slots), last), np.empty(len(slots), np.int64)
        item_keys, contexts = np.zeros(shape, np.uint64), np.zeros(shape, np.uint32)
        _gather(self.rings, slots, item_keys, contexts, lengths)
        return item_keys, contexts, lengths

    @property
    def rings(self) -> Rings:
        """The arrays as they are now: they are others after `grow`."""
        return Rings(self.item_keys, self.contexts, self.counts, self._lost)

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

    def sizes(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns how many actions of each slot (U,) can be read, (U,)."""
        sizes: NDArray[np.int64] = np.minimum(self.counts[slots] - self._lost[slots], self.length)
        return sizes

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
    ranks = np.empty(len(slots), np.int64)
    _rank(slots.argsort(kind="stable"), slots, ranks)
    return ranks


@compiled
def _rank(order: NDArray[np.int64], slots: NDArray[np.int64], ranks: NDArray[np.int64]) -> None:
    """Fills in ranks (N,); `order` (N,) sorts the actions by slot and then by log."""
    rank = 0
    for position in range(len(order)):
        rank = 0 if begins_group(order, slots, position) else rank + 1
        ranks[order[position]] = rank


@compiled
def _append(
    ring_keys: NDArray[np.uint64],
    ring_contexts: NDArray[np.uint32],
    counts: NDArray[np.int64],
    slots: NDArray[np.int64],
    item_keys: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
    lengths: NDArray[np.int64],
) -> None:
    """Adds actions (N,) to the rings (S, L) and to the counts (S,) of their slots; fills in lengths (N,)."""
    for n in range(len(slots)):
        slot = slots[n]
        position = counts[slot] % ring_keys.shape[1]
        ring_keys[slot, position], ring_contexts[slot, position] = item_keys[n], contexts[n]
        counts[slot] += 1
        lengths[n] = counts[slot]


@compiled
def held(rings: Rings, slot: int) -> int:
    """Returns how many actions a slot has of those that it ever had, at most L of which are kept."""
    return int(rings.counts[slot] - rings.lost[slot])


@compiled
def copy_last(
    rings: Rings, slot: int, last: int, item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32], begin: int
) -> int:
    """Copies the `last` actions of a slot, or as many as it has, into arrays from `begin` on; returns where they end.

    No more than L are there to copy.
    """
    size = min(held(rings, slot), last)
    ring, ring_contexts = rings.item_keys[slot], rings.contexts[slot]
    position = (rings.counts[slot] - size) % len(ring)
    for step in range(begin, begin + size):
        item_keys[step], contexts[step] = ring[position], ring_contexts[position]
        position = position + 1 if position + 1 < len(ring) else 0
    return int(begin + size)


@compiled
def _gather(
    rings: Rings,
    slots: NDArray[np.int64],
    item_keys: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
    lengths: NDArray[np.int64],
) -> None:
    """Copies the last actions of slots (U,) into rows (U, n) and fills in how many there are of each (U,)."""
    for user in range(len(slots)):
        lengths[user] = copy_last(rings, slots[user], item_keys.shape[1], item_keys[user], contexts[user], 0)
