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
        self._stays = False  # the event that an action of the next call may continue; one without a beginning goes

    def without_repeats(self, actions: Actions) -> Actions:
        """Returns the actions whose user has not sent their event id before, in this call or in an earlier one.

        The actions of one event stay or go together, also where a call ends inside of it.
        """
        begins = actions.lines == 0
        given = np.flatnonzero((actions.event_ids != 0) & begins)
        users = {user: stable_hash(user) for user in set(actions.users)}
        owners = np.array([users[actions.users[index]] for index in given.tolist()], np.uint64)
        keys = event_keys(owners, actions.event_ids[given])
        repeated = np.isin(keys, self._seen)
        repeated |= ~_is_first(keys)
        stays = begins.copy()
        stays[given[repeated]] = False
        self._seen = np.concatenate((self._seen, keys[~repeated]))[-REMEMBERED:]
        return actions.take(np.flatnonzero(self._with_lines(begins, stays)))

    def _with_lines(self, begins: NDArray[np.bool_], stays: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns which actions stay: those of an event do as its first one does."""
        firsts = np.maximum.accumulate(np.where(begins, np.arange(1, len(begins) + 1), 0))
        lasting = np.append(self._stays, stays)[firsts]
        self._stays = bool(np.append(self._stays, lasting)[-1])
        return lasting


def _is_first(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
