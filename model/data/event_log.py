"""A log that may be larger than memory: the sequences of its users in parts, and what is asked of all of them at once.

`Sequences` are such a log, in one part; `StoredLog` has its parts on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.events import SEARCH
from model.data.sequences import Sequences, joined

_SAMPLED: Final = 500_000  # actions, at most, whose times stand for those of all


class PartedLog(Protocol):
    """Sequences in parts. A user is in one of them, whole."""

    @property
    def part_count(self) -> int:
        """How many there are."""

    def part(self, number: int) -> Sequences:
        """One of the parts; each call may read it from a disk."""

    def __len__(self) -> int:
        """Actions of all parts."""


class EventLog(PartedLog, Protocol):
    """A log in parts; each takes an eighth of the room at most, or is everything."""

    @property
    def room(self) -> int:
        """How many actions may be in memory at once, in all."""

    def before(self, cut: int) -> EventLog:
        """As `Sequences.before`."""

    def newest(self, share: float) -> int:
        """As `Sequences.newest`."""


def parts(log: PartedLog) -> Iterator[Sequences]:
    """All parts, one after the other."""
    return map(log.part, range(log.part_count))


def span(log: EventLog) -> tuple[int, int]:
    """The times (ms) of the oldest and of the newest action; both 0 without any."""
    bounds = [(int(part.times.min()), int(part.times.max())) for part in parts(log) if len(part)]
    return (min(low for low, _ in bounds), max(high for _, high in bounds)) if bounds else (0, 0)


def sampled_times(log: PartedLog) -> NDArray[np.int64]:
    """Times (ms) of all actions, rising; of a long log those of every n-th."""
    step = 1 + len(log) // _SAMPLED
    samples = [part.times[::step].copy() for part in parts(log)]  # a view would keep all of its part in memory
    return np.sort(np.concatenate(samples))


def held_out_share(log: EventLog, share: float) -> float:
    """The newest share to hold out, of no more actions than there is room for."""
    return share * min(1.0, log.room / max(1, len(log)))


def active_sequences(log: EventLog, cut: int) -> Sequences:
    """The sequences, whole, of users with an action at or after `cut` (ms).

    Where there is no room for all of these, it is a random sample of the users.
    """
    most, randomness = log.room // log.part_count, np.random.default_rng(0)
    return joined([part.of_users(_active_users(part, cut, most, randomness)) for part in parts(log)])


def latest_actions(log: EventLog) -> Sequences:
    """The newest actions, without what led to them: as many as there is room for."""
    if len(log) <= log.room:
        return joined(list(parts(log)))
    cut = log.newest(log.room / len(log))
    return joined([part.since(cut) for part in parts(log)])


def distinct_items(log: EventLog) -> NDArray[np.uint64]:
    """The objects of all items, rising."""
    found = np.zeros(0, np.uint64)
    for part in parts(log):
        found = np.union1d(found, part.item_keys[part.types != SEARCH])
    return found


def _active_users(part: Sequences, cut: int, most: int, randomness: np.random.Generator) -> NDArray[np.int64]:
    users = np.flatnonzero(part.times[part.offsets[1:] - 1] >= cut)  # times never fall within a user
    sizes = np.diff(part.offsets)[users]
    if sizes.sum() > most:
        order = randomness.permutation(len(users))
        users = np.sort(users[order[np.cumsum(sizes[order]) <= most]])
    return users
