"""Asks about users as they are, without an event of theirs: by one that repeats an event, and so changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import Actions
from model.data.queries import NO_QUERIES
from model.state.user_states import UserStates

_REPEATED: Final = np.uint64(1)  # the id of the event that is repeated
_TYPE: Final = np.uint32(7)  # bits of a context


def repeated_actions(states: UserStates, slots: NDArray[np.int64], users: Sequence[str]) -> Actions:
    """Returns an action for each of N users in `slots`, which repeats their last one.

    Their states then remember its id in place of their oldest event's, so they are for asking only.
    """
    item_keys, contexts, _ = states.histories.gather(slots, 1)
    states.event_ids[slots, 0] = _REPEATED
    nothing = np.zeros(len(slots), np.uint64)
    return Actions(
        users=list(users),
        items=[""] * len(slots),
        queries=NO_QUERIES,
        types=(contexts[:, 0] & _TYPE).astype(np.uint8),
        item_keys=item_keys[:, 0],
        times=states.last_times[slots],
        event_ids=np.full(len(slots), _REPEATED),
        sessions=nothing,
        prices=nothing.astype(np.uint8),
        amounts=np.full(len(slots), np.nan),
        currencies=nothing,
        categories=nothing.astype(np.uint16),
        brands=nothing.astype(np.uint16),
        category_keys=nothing,
        brand_keys=nothing,
        lines=nothing.astype(np.uint16),
    )
