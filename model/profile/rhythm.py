"""A user's rhythm: how often they come, how long ago, and what they bought: a few numbers that move with each action.

A visit is a run of actions between which never more than half an hour passes, whatever sessions publishers speak of.
It is kept beside the last actions because these say little of visits: a single basket can fill them.
Shapes: S rows of users, N actions, A actions of all sequences, P positions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import PURCHASE, SESSION_GAP_MS
from model.data.sequences import Sequences
from model.kernels.compiled import uncounted

# As it stands in records: fields are only ever added, behind the others. Times in seconds since the epoch; 0: unknown.
RHYTHM: Final = np.dtype(
    [
        ("first", "<u4"),  # time of the first action
        ("began", "<u4"),  # time of the visit's first action
        ("last", "<u4"),  # time of the last action
        ("actions", "<u4"),
        ("visits", "<u4"),
        ("of_visit", "<u4"),  # actions of the visit
        ("gap", "<u4"),  # seconds between this visit and the one before; 0: there is none
        ("gap_before", "<u4"),  # the same of the visit before
        ("purchases", "<u4"),  # purchased items
        ("segment", "<u2"),  # id of the user's segment; 0: none yet
    ]
)
Rhythms = NDArray[np.void]  # of RHYTHM
SESSION_GAP_S: Final = SESSION_GAP_MS // 1000  # seconds of silence after which a visit has ended


class RhythmActions(NamedTuple):
    """Actions, for compiled loops; every array is (N,)."""

    types: NDArray[np.uint8]
    times: NDArray[np.int64]  # ms, their users' clocks


def follow_events(
    users: Rhythms,
    rows: NDArray[np.int64],
    actions: RhythmActions,
    applied: NDArray[np.bool_],
    lines: NDArray[np.uint16],
) -> Rhythms:
    """Takes the applied ones of actions in log order into the users (S,) in `rows` (N,).

    `lines` (N,) as in `Actions`. Returns each event's user as they are after it, (E,).
    """
    after = np.empty(int((lines == 0).sum()) if len(lines) else 0, RHYTHM)
    _follow(users, rows, actions, applied, lines, after, SESSION_GAP_S)
    return after


def rhythms_at(sequences: Sequences, positions: NDArray[np.int64]) -> Rhythms:
    """Returns the rhythms (P,) of users right after the actions at positions, which must rise."""
    found, owners = np.zeros(len(positions), RHYTHM), sequences.users_at(positions)
    actions = RhythmActions(sequences.types, sequences.times)
    _collect(actions, sequences.offsets[owners], positions, SESSION_GAP_S, found)
    return found


@uncounted
def add_action(users: Rhythms, row: int, actions: RhythmActions, n: int, gap_s: int) -> None:
    """Takes action n into the user in a row; more than `gap_s` seconds of silence end a visit."""
    user, now = users[row], np.int64(max(0, actions.times[n]) // 1000)
    gap = now - np.int64(user.last) if now > 0 and user.last > 0 else 0
    if user.actions == 0:
        user.first, user.began, user.visits = now, now, 1
    elif gap > gap_s:
        user.gap_before, user.gap, user.began, user.of_visit = user.gap, gap, now, 0
        user.visits += 1
    user.last = max(np.int64(user.last), now)
    user.actions += 1
    user.of_visit += 1
    user.purchases += actions.types[n] == PURCHASE


@uncounted
def _follow(
    users: Rhythms,
    rows: NDArray[np.int64],
    actions: RhythmActions,
    applied: NDArray[np.bool_],
    lines: NDArray[np.uint16],
    after: Rhythms,
    gap_s: int,
) -> None:
    event = -1
    for n in range(len(rows)):
        if applied[n]:
            add_action(users, rows[n], actions, n, gap_s)
        event += lines[n] == 0
        after[event] = users[rows[n]]


@uncounted
def _collect(
    actions: RhythmActions,
    begins: NDArray[np.int64],
    positions: NDArray[np.int64],
    gap_s: int,
    found: Rhythms,
) -> None:
    """Fills in `found` (P,); `begins` (P,) say where the sequence of each position begins."""
    for n in range(len(positions)):
        begin = begins[n]
        if n > 0 and begins[n - 1] == begin:
            found[n], begin = found[n - 1], positions[n - 1] + 1
        for at in range(begin, positions[n] + 1):
            add_action(found, n, actions, at, gap_s)
