"""What a network that starts from an earlier version learns from: what is new to it, and some of what is old.

Without old sequences beside the new ones a network forgets what it does not see for a while (catastrophic forgetting,
McCloskey and Cohen, 1989); with all of them every round would take longer than the one before.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.event_log import EventLog, parts
from model.data.sequences import Sequences, concatenate_sequences

NEW_SHARE: Final = 0.5  # largest share of new actions, where there are enough old ones
_LONGEST: Final = 512  # actions of one user; of more, the newest


def rehearsal(log: EventLog, since: int, most: int, randomness: np.random.Generator) -> EventLog:
    """Draws about `most` actions at most: of users with actions at or after `since` (ms), and of others.

    Of users with very many actions the newest are taken. Otherwise users stay whole, so that every position of a
    sequence is learned from.
    """
    most = min(most, log.room)
    if len(log) <= most:
        return log
    return concatenate_sequences(
        [_rehearsal_of(part, since, round(most * len(part) / len(log)), randomness) for part in parts(log)]
    )


def _rehearsal_of(sequences: Sequences, since: int, most: int, randomness: np.random.Generator) -> Sequences:
    sequences = _newest_per_user(sequences)
    sizes = np.diff(sequences.offsets)
    active = np.add.reduceat(sequences.times >= since, sequences.offsets[:-1]) > 0
    fresh = _drawn(np.flatnonzero(active), sizes, round(NEW_SHARE * most), randomness)
    rest = np.setdiff1d(np.arange(len(sizes)), fresh)
    old = _drawn(rest, sizes, most - int(sizes[fresh].sum()), randomness)
    return sequences.of_users(np.sort(np.concatenate((fresh, old))))


def _drawn(
    users: NDArray[np.int64], sizes: NDArray[np.int64], most: int, randomness: np.random.Generator
) -> NDArray[np.int64]:
    """Draws users, in random order, until they have about `most` actions together."""
    users = randomness.permutation(users)
    return users[np.cumsum(sizes[users]) <= most]


def _newest_per_user(sequences: Sequences) -> Sequences:
    sizes = np.diff(sequences.offsets)
    from_end = np.repeat(sequences.offsets[1:], sizes) - np.arange(len(sequences))  # 1: the user's last action
    return sequences.where(from_end <= _LONGEST)
