"""Which user has which slot: looked up by partition and user id, given back least recently used first.

Shapes: S slots, N events of a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_FREE: Final = -1  # instead of the last batch, for a slot without a user


class Slots:
    """The slot of each user, and the last batch that needed each slot."""

    def __init__(self, slots: int) -> None:
        self._slots: defaultdict[int, dict[str, int]] = defaultdict(dict)
        self._owners: list[tuple[int, str] | None] = [None] * slots
        self._free = list(range(slots - 1, -1, -1))
        self._touched: NDArray[np.int64] = np.full(slots, _FREE, np.int64)
        self.partitions: NDArray[np.int32] = np.zeros(slots, np.int32)  # of each slot's user

    def __len__(self) -> int:
        return len(self._owners) - len(self._free)

    @property
    def capacity(self) -> int:
        """The number of slots, used or not."""
        return len(self._owners)

    @property
    def free(self) -> int:
        """The number of slots without a user."""
        return len(self._free)

    def find(self, partitions: Sequence[int], users: Sequence[str]) -> NDArray[np.int64]:
        """Looks up the slot of each of N users on their partitions, (N,); -1: the user has none."""
        by_partition = self._slots
        pairs = zip(partitions, users, strict=True)
        return np.array([by_partition[partition].get(user, -1) for partition, user in pairs], np.int64)

    def taken(self) -> NDArray[np.int64]:
        """Returns the slots that have users."""
        return np.flatnonzero(self._touched != _FREE)

    def take(self, partition: int, user: str) -> int:
        """Gives a free slot to a new user and returns it; raises `IndexError` when no slot is free."""
        slot = self._free.pop()
        self._slots[partition][user] = slot
        self._owners[slot] = partition, user
        self.partitions[slot] = partition
        return slot

    def touch(self, slots: NDArray[np.int64], batch: int) -> None:
        """Notes that a batch needed some slots."""
        self._touched[slots] = batch

    def oldest(self, count: int, before: int) -> NDArray[np.int64]:
        """Returns at most `count` slots with users: the least recently needed of those not needed since `before`."""
        candidates = np.flatnonzero((self._touched != _FREE) & (self._touched < before))
        if count >= len(candidates):
            return candidates
        return candidates[np.argpartition(self._touched[candidates], count)[:count]]

    def release(self, slots: NDArray[np.int64]) -> None:
        """Takes slots away from their users."""
        for slot in slots.tolist():
            owner = self._owners[slot]
            assert owner is not None
            partition, user = owner
            del self._slots[partition][user]
            self._owners[slot] = None
        self._touched[slots] = _FREE
        self._free.extend(slots.tolist())

    def grow(self, slots: int) -> None:
        """Makes room for `slots` slots in all."""
        more = slots - self.capacity
        self._free[:0] = range(slots - 1, self.capacity - 1, -1)  # given out after those that were free before
        self._owners.extend([None] * more)
        self._touched = np.concatenate((self._touched, np.full(more, _FREE, np.int64)))
        self.partitions = np.concatenate((self.partitions, np.zeros(more, np.int32)))
