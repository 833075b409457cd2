"""Events that a publisher sent again: a user's event id counts once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import Actions, event_keys, stable_hash

REMEMBERED: Final = 1_000_000  # newest events with an id; retries come sooner than that


class Deduplicator:
    """Remembers what went by, as 64 bits of each event."""

    def __init__(self) -> None:
        self._seen = np.empty(0, np.uint64)

    def dropped(self, actions: Actions) -> Actions:
        """The actions without those whose user has sent their event id before, in these or in earlier ones."""
        given = np.flatnonzero(actions.event_ids)
        users = {user: stable_hash(user) for user in set(actions.users)}
        owners = np.array([users[actions.users[place]] for place in given.tolist()], np.uint64)
        keys = event_keys(owners, actions.event_ids[given])
        repeated = np.isin(keys, self._seen)
        repeated |= ~_is_first(keys)
        kept = np.ones(len(actions), np.bool_)
        kept[given[repeated]] = False
        self._seen = np.concatenate((self._seen, keys[~repeated]))[-REMEMBERED:]
        return actions.take(np.flatnonzero(kept))


def _is_first(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
