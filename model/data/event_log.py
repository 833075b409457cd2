"""A log that may be larger than memory: the sequences of its users in parts, and what is asked of all of them at once.

`Sequences` are such a log, in one part; a `DiskLog` has its parts on disk, where each pass reads everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.price_bins import PriceBins
from model.data.query_table import QueryTable
from model.data.sequences import Sequences, concatenate_sequences

_SAMPLED: Final = 500_000  # actions, at most about so many, whose times stand for those of all


class PartedLog(Protocol):
    """Sequences in parts. All actions of a user are in one part."""

    @property
    def part_count(self) -> int:
        """The number of parts."""

    def part(self, number: int) -> Sequences:
        """Returns one of the parts; each call may read it from a disk."""

    def __len__(self) -> int:
        """Returns the number of actions of all parts."""


class EventLog(PartedLog, Protocol):
    """A log in parts; each takes an eighth of the room at most, unless there is only one."""

    @property
    def room(self) -> int:
        """How many actions may be in memory at once, in all."""

    @property
    def span(self) -> tuple[int, int]:
        """The oldest and the newest known time (ms) of an action; both 0 without any."""

    @property
    def queries(self) -> QueryTable:
        """The words of all searches, and perhaps of others."""

    @property
    def bins(self) -> PriceBins:
        """The bins that the contexts have their prices in."""

    def before(self, cut: int) -> EventLog:
        """See `Sequences.before`."""

    def newest(self, share: float) -> int:
        """See `Sequences.newest`."""


def parts(log: PartedLog) -> Iterator[Sequences]:
    """Yields all parts, one after the other."""
    return map(log.part, range(log.part_count))


def sampling_step(log: PartedLog) -> int:
    """Returns n where the times of every n-th action stand for those of all."""
    return 1 + len(log) // _SAMPLED


def sampled_times(log: PartedLog) -> NDArray[np.int64]:
    """Returns the times (ms) of all actions, rising; of a long log those of every n-th."""
    step = sampling_step(log)
    samples = [part.times[::step].copy() for part in parts(log)]  # a view would keep all of its part in memory
    return np.sort(np.concatenate(samples))


def held_out_share(log: EventLog, share: float) -> float:
    """Returns the newest share to hold out: no more actions than there is room for."""
    return share * min(1.0, log.room / max(1, len(log)))


def active_sequences(log: EventLog, cut: int) -> Sequences:
    """Returns the sequences, whole, of users with an action at or after `cut` (ms).

    Where there is no room for all of these, it is a random sample of the users.
    """
    most, randomness = log.room // log.part_count, np.random.default_rng(0)
    return concatenate_sequences([part.of_users(_active_users(part, cut, most, randomness)) for part in parts(log)])


def latest_actions(log: EventLog) -> Sequences:
    """Returns the newest actions, without what led to them: as many as there is room for."""
    if len(log) <= log.room:
        return concatenate_sequences(list(parts(log)))
    cut = log.newest(log.room / len(log))
    return concatenate_sequences([part.since(cut) for part in parts(log)])


def _active_users(part: Sequences, cut: int, most: int, randomness: np.random.Generator) -> NDArray[np.int64]:
    users = np.flatnonzero(part.times[part.offsets[1:] - 1] >= cut)  # times never fall within a user
    sizes = np.diff(part.offsets)[users]
    if sizes.sum() > most:
        order = randomness.permutation(len(users))
        users = np.sort(users[order[np.cumsum(sizes[order]) <= most]])
    return users
