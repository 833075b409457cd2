"""Drops events that a publisher sent again: each event id of a user counts once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import Actions, event_keys, stable_hash

REMEMBERED: Final = 1_000_000  # newest events with an id; retries come sooner


class Deduplicator:
    """Remembers 64 bits of each of the newest events with an id."""

    def __init__(self) -> None:
        self._seen = np.empty(0, np.uint64)

    def without_repeats(self, actions: Actions) -> Actions:
        """Returns the actions whose user has not sent their event id before, in this call or in an earlier one."""
        given = np.flatnonzero(actions.event_ids)
        users = {user: stable_hash(user) for user in set(actions.users)}
        owners = np.array([users[actions.users[index]] for index in given.tolist()], np.uint64)
        keys = event_keys(owners, actions.event_ids[given])
        repeated = np.isin(keys, self._seen)
        repeated |= ~_is_first(keys)
        first_time = np.ones(len(actions), np.bool_)
        first_time[given[repeated]] = False
        self._seen = np.concatenate((self._seen, keys[~repeated]))[-REMEMBERED:]
        return actions.take(np.flatnonzero(first_time))


def _is_first(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
