"""The rhythms of all users in memory: a column of `UserStates`, with the section `segment` of their records.

Shapes: S slots, U users, N actions, E events.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import gap_bucket, type_of
from model.data.events import Actions
from model.data.recent import RecentActions
from model.kernels.compiled import compiled
from model.profile.fitted_segments import HIGHEST_ID
from model.profile.rhythm import RHYTHM, SESSION_GAP_S, RhythmActions, Rhythms, add_action, follow_events
from model.profile.segments import SegmentAnswers, SegmentModel
from model.state.history_rings import Histories, Rings, copy_last, grown, held
from model.state.merged_sequences import TYPICAL_GAPS
from model.state.sections import HEAD_BYTES, SEGMENT, joined_sections
from model.state.user_columns import Sections
from model.state.user_states import UserStates

_SIZE: Final = RHYTHM.itemsize  # bytes of a section


class RhythmColumn:
    """The rhythms of users, and how many of them are in each segment: see `UserColumns`."""

    tag = SEGMENT

    def __init__(self, states: UserStates) -> None:
        """`states` are those that it is a column of."""
        _warm_up()
        self._states = states
        self.rhythms: Rhythms = np.zeros(0, RHYTHM)
        self.members: NDArray[np.int64] = np.zeros(HIGHEST_ID + 1, np.int64)  # users in memory, by id of the segment

    @property
    def nbytes(self) -> int:
        """The bytes of the rhythms."""
        return self.rhythms.nbytes

    def grow(self, slots: int) -> None:
        """See `UserColumns`."""
        self.rhythms = grown(self.rhythms, slots)

    def clear(self, slots: NDArray[np.int64]) -> None:
        """See `UserColumns`."""
        np.subtract.at(self.members, self.rhythms["segment"][slots], 1)
        self.rhythms[slots] = 0
        self.members[0] = 0

    def sections(self, slots: NDArray[np.int64], _histories: Histories) -> Sections:
        """See `UserColumns`."""
        users = self.rhythms[slots]
        known = users["actions"] > 0
        rows = np.empty((int(known.sum()), HEAD_BYTES + _SIZE), np.uint8)
        rows[:, :HEAD_BYTES] = np.frombuffer(joined_sections({SEGMENT: bytes(_SIZE)})[:HEAD_BYTES], np.uint8)
        rows[:, HEAD_BYTES:] = users[known].view(np.uint8).reshape(-1, _SIZE)
        return rows.reshape(-1), np.concatenate((np.zeros(1, np.int64), np.cumsum(known * rows.shape[1])))

    def restore(self, slots: NDArray[np.int64], contents: Sequence[bytes], histories: Histories) -> None:
        """See `UserColumns`: what a worker without rhythms did not follow is read from the last actions."""
        read = [content[:_SIZE] if len(content) >= _SIZE else bytes(_SIZE) for content in contents]
        users = np.frombuffer(b"".join(read), RHYTHM).copy()
        counts = histories.counts[slots]
        users[users["actions"] > counts] = 0  # the sequence was given away meanwhile
        self.rhythms[slots] = users
        np.add.at(self.members, users["segment"], 1)
        behind = np.flatnonzero(users["actions"] < counts)
        if len(behind):
            last_times = self._states.last_times[slots[behind]]
            _catch_up(self.rhythms, slots[behind], histories.rings, last_times, TYPICAL_GAPS, SESSION_GAP_S)
        self.rhythms["actions"][slots] = counts

    def take_in(self, slot: int, content: bytes, contexts: NDArray[np.uint32]) -> None:
        """See `UserColumns`: what was before counts as visits of before."""
        user, older = self.rhythms[slot], np.zeros(1, RHYTHM)
        if len(content) >= _SIZE:
            older = np.frombuffer(content[:_SIZE], RHYTHM).copy()
        elif len(contexts):
            until = int(user["first"]) * 1000 or int(self._states.last_times[slot])
            _replay(older, 0, contexts, until, TYPICAL_GAPS, SESSION_GAP_S)
        _add_older(user, older[0])
        user["actions"] = self._states.histories.counts[slot]

    def follow(self, slots: NDArray[np.int64], actions: Actions, applied: NDArray[np.bool_]) -> Rhythms:
        """Takes in the applied ones of new actions (N,) of users in slots (N,), in log order.

        Returns the rhythm of the user after each event (E,).
        """
        columns = RhythmActions(actions.types, actions.times)
        return follow_events(self.rhythms, slots, columns, applied, actions.lines)

    def assign(
        self, model: SegmentModel, slots: NDArray[np.int64], recent: RecentActions, after: Rhythms
    ) -> SegmentAnswers:
        """Assigns the users in slots (E,) after events to segments; see `SegmentModel.assign`."""
        touched = np.unique(slots)
        before = self.rhythms["segment"][touched]
        answers = model.assign(self.rhythms, slots, recent, after)
        now = self.rhythms["segment"][touched]
        moved = before != now
        np.subtract.at(self.members, before[moved], 1)
        np.add.at(self.members, now[moved], 1)
        return answers


@cache
def _warm_up() -> None:
    """Calls the loops that few batches need, so that no event has to wait for the first call."""
    user, nobody, contexts = np.zeros(1, RHYTHM), np.zeros(0, np.int64), np.zeros(1, np.uint32)
    _catch_up(user, nobody, Histories(1, 1).rings, nobody, TYPICAL_GAPS, SESSION_GAP_S)
    _replay(user, 0, contexts, 0, TYPICAL_GAPS, SESSION_GAP_S)


def _add_older(user: np.void, older: np.void) -> None:
    """Adds what was before to a user's rhythm, in place."""
    if not older["visits"]:
        return
    if not user["visits"]:
        for name in set(RHYTHM.names or ()) - {"segment"}:
            user[name] = older[name]
        return
    user["first"] = min(user["first"], older["first"]) or user["first"]
    for name in ("visits", "purchases"):
        user[name] += older[name]
    if not user["gap"]:
        user["gap"], user["gap_before"] = max(0, int(user["began"]) - int(older["last"])), older["gap"]


@compiled
def _catch_up(
    users: Rhythms,
    slots: NDArray[np.int64],
    rings: Rings,
    last_times: NDArray[np.int64],
    gaps: NDArray[np.int64],
    gap_s: int,
) -> None:
    """Takes in the actions that the rings of slots (U,) have behind those that were followed."""
    length = rings.contexts.shape[1]
    keys, contexts = np.empty(length, np.uint64), np.empty(length, np.uint32)
    for n in range(len(slots)):
        slot = slots[n]
        missing = min(rings.counts[slot] - np.int64(users[slot].actions), held(rings, slot), length)
        if missing > 0:
            copy_last(rings, slot, missing, keys, contexts, 0)
            _replay(users, slot, contexts[:missing], last_times[n], gaps, gap_s)


@compiled
def _replay(
    users: Rhythms, row: int, contexts: NDArray[np.uint32], until: int, gaps: NDArray[np.int64], gap_s: int
) -> None:
    """Takes in actions whose times are estimated back from that of the last one (ms), by the gaps between them."""
    times, types = np.empty(len(contexts), np.int64), np.empty(len(contexts), np.uint8)
    time = max(until, 0)
    for at in range(len(contexts) - 1, -1, -1):
        times[at], types[at] = time, type_of(contexts[at])
        time = max(time - gaps[gap_bucket(contexts[at])], 0)
    actions = RhythmActions(types, times)
    for at in range(len(contexts)):
        add_action(users, row, actions, at, gap_s)
