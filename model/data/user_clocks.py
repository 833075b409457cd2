"""Users' clocks, each the latest time so far of its user, by a compiled loop: see `event_time`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import LATE_MS
from model.data.events import NO_TIME
from model.kernels.compiled import compiled


def user_clocks(
    users: NDArray[np.int64],
    times: NDArray[np.int64],
    last_times: NDArray[np.int64],
    applied: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns each user's clock after each of N events in log order, and which events came late.

    `users` are codes or slots; `times` come from `judge_times`; `last_times` is the clock of each event's user before
    these events, or NO_TIME. Only applied events move a clock.
    """
    clocks, late = np.empty(len(times), np.int64), np.empty(len(times), np.bool_)
    _follow_clocks(users.argsort(kind="stable"), users, times, last_times, applied, clocks, late)
    return clocks, late


@compiled
def begins_group(order: NDArray[np.int64], codes: NDArray[np.int64], position: int) -> bool:
    """Tells whether the action at a position of an order that sorts codes (N,) is the first one of its code."""
    return position == 0 or codes[order[position]] != codes[order[position - 1]]


@compiled
def _follow_clocks(
    order: NDArray[np.int64],
    users: NDArray[np.int64],
    times: NDArray[np.int64],
    last_times: NDArray[np.int64],
    applied: NDArray[np.bool_],
    clocks: NDArray[np.int64],
    late: NDArray[np.bool_],
) -> None:
    """Fills in clocks (N,) and late (N,), user by user: `order` (N,) sorts the events by user and then by log."""
    clock = NO_TIME
    for position in range(len(order)):
        n = order[position]
        if begins_group(order, users, position):
            clock = last_times[n]
        late[n] = times[n] != NO_TIME and clock > times[n] + LATE_MS
        if applied[n] and times[n] > clock:
            clock = times[n]
        clocks[n] = clock
