"""Takes a shop's past into users' states, many users at once, each action of it exactly once.

The past and what a user has are merged by time, as the two sequences of a join are (`merged_sequences`): the times of
the past are known, those of a ring's actions but the last are estimated. Of equal times the past comes first. So what
is newer than the past stays the newest. Unlike a join, the past counts: users are then as if it had been streamed
before them. Of a file that has grown since, what was there already is left out, by the numbers of its events.
Shapes: U users, L actions of a ring, A actions of the past, E event ids.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.contexts import BOUNDARY_SHIFT, GAP_SHIFT, begins_session, gap_bucket, gap_bucket_of
from model.data.events import NO_TIME
from model.kernels.compiled import compiled
from model.state.join_notes import JoinNotes, TakenPast, notes_of, set_notes
from model.state.merged_sequences import REPLACED, TYPICAL_GAPS
from model.state.past_users import PastUsers
from model.state.user_states import UserStates

FILES: Final = 16  # imported files that a user's record remembers, the newest
_NOTHING: Final = TakenPast(0, 0, 0)


class _UserSequences(NamedTuple):
    """What users have: sequences oldest first and left-aligned."""

    item_keys: NDArray[np.uint64]  # (U, L)
    contexts: NDArray[np.uint32]  # (U, L)
    sizes: NDArray[np.int64]  # (U,)
    last_times: NDArray[np.int64]  # (U,)
    sessions: NDArray[np.uint64]  # (U,)


class _PastActions(NamedTuple):
    """What is merged into it: see `PastUsers`."""

    starts: NDArray[np.int64]  # (U + 1,)
    item_keys: NDArray[np.uint64]  # (A,)
    contexts: NDArray[np.uint32]  # (A,)
    times: NDArray[np.int64]  # (A,)
    sessions: NDArray[np.uint64]  # (A,)


class _NewSequences(NamedTuple):
    """What comes of it: the newest L actions, right-aligned."""

    item_keys: NDArray[np.uint64]  # (U, L)
    contexts: NDArray[np.uint32]  # (U, L)
    sizes: NDArray[np.int64]  # (U,)


def take_past(
    states: UserStates, slots: NDArray[np.int64], past: PastUsers, source: int, end: int
) -> NDArray[np.bool_]:
    """Takes a file's past into the users in slots (U,); returns who had not had all of it already (U,).

    `source` says which file, and `end` how many of its events the past is of. Hidden states are to be encoded again.
    """
    notes = [notes_of(states, slot) for slot in slots.tolist()]
    before = [_taken_of(one, source) for one in notes]
    taken = np.array([one.end < end for one in before], np.bool_)
    if not taken.any():
        return taken
    from_number = np.array([one.end for one in before], np.int64)
    fresh = past.numbers >= np.repeat(from_number, np.diff(past.starts))
    fresh &= np.repeat(taken, np.diff(past.starts))
    counts = past.counts - np.array([one.actions for one in before], np.int64)
    _merge_into(states, slots, past, fresh, np.where(taken, counts, 0))
    for index in np.flatnonzero(taken).tolist():
        others = [one for one in notes[index].past if one.source != source]
        kept = [*others, TakenPast(source, end, int(past.counts[index]))][-FILES:]
        set_notes(states, int(slots[index]), msgspec.structs.replace(notes[index], past=kept))
    return taken


def _taken_of(notes: JoinNotes, source: int) -> TakenPast:
    return next((one for one in notes.past if one.source == source), _NOTHING)


def _merge_into(
    states: UserStates,
    slots: NDArray[np.int64],
    past: PastUsers,
    fresh: NDArray[np.bool_],
    counts: NDArray[np.int64],
) -> None:
    """Merges the `fresh` (A,) of the past into users, whose counts grow by `counts` (U,)."""
    starts = np.concatenate(([0], np.cumsum(fresh)))[past.starts]
    sizes, histories = np.diff(starts), states.histories
    changed = np.flatnonzero(sizes)
    if not len(changed):
        return
    of = slots[changed]
    item_keys, contexts, held = histories.gather(of)
    known = _UserSequences(item_keys, contexts, held, states.last_times[of], states.sessions[of])
    part = _PastActions(
        np.append(starts[changed], starts[-1]),
        past.item_keys[fresh],
        past.contexts[fresh],
        past.times[fresh],
        past.action_sessions[fresh],
    )
    merged = _NewSequences(np.zeros_like(item_keys), np.zeros_like(contexts), np.zeros_like(held))
    _merge(known, part, TYPICAL_GAPS, merged)
    states.add_searches(past.queries)
    counts = histories.counts[of] + np.maximum(counts[changed], sizes[changed])
    histories.restore(of, merged.item_keys, merged.contexts, merged.sizes, counts)
    later = past.last_times[changed] > known.last_times
    first, last = np.where(later, (known.sessions, past.sessions[changed]), (past.sessions[changed], known.sessions))
    states.sessions[of] = np.where(last != 0, last, first)
    states.last_times[of] = np.maximum(known.last_times, past.last_times[changed])
    windows = states.event_ids[of]
    _join_windows(windows, past.event_ids[changed], later)
    states.event_ids[of] = windows
    states.weights_id[of] = 0
    for column in states.columns:
        for slot, begin, end in zip(of.tolist(), part.starts[:-1].tolist(), part.starts[1:].tolist(), strict=True):
            column.take_in(slot, b"", part.contexts[begin:end])


@compiled
def _join_windows(windows: NDArray[np.uint64], others: NDArray[np.uint64], later: NDArray[np.bool_]) -> None:
    """Puts other event ids (U, E) before those in windows (U, E), or behind them where they are `later` (U,)."""
    size = windows.shape[1]
    joined = np.empty(2 * size, np.uint64)
    for user in range(len(windows)):
        first, last = (windows[user], others[user]) if later[user] else (others[user], windows[user])
        count = 0
        for event_id in first:
            if event_id != 0 and not _is_in(last, event_id):
                joined[count] = event_id
                count += 1
        for event_id in last:
            if event_id != 0:
                joined[count] = event_id
                count += 1
        both = windows[user]
        for position in range(size):
            index = count - size + position
            both[position] = joined[index] if index >= 0 else np.uint64(0)


@compiled
def _is_in(window: NDArray[np.uint64], event_id: np.uint64) -> bool:
    found = False
    for other in window:
        found |= other == event_id
    return found


@compiled
def _merge(known: _UserSequences, past: _PastActions, typical_gaps: NDArray[np.int64], merged: _NewSequences) -> None:
    """Merges user by user, from the newest action back; sequences end up left-aligned."""
    for user in range(len(known.sizes)):
        _merge_user(known, past, typical_gaps, merged, user)


@compiled
def _merge_user(
    known: _UserSequences, past: _PastActions, typical_gaps: NDArray[np.int64], merged: _NewSequences, user: int
) -> None:
    length = merged.item_keys.shape[1]
    k, p = known.sizes[user] - 1, past.starts[user + 1] - 1
    time, dated = known.last_times[user], known.last_times[user] != NO_TIME
    size = min(length, k + 1 + p + 1 - past.starts[user])
    merged.sizes[user] = size
    for at in range(size - 1, -1, -1):
        if _is_known_next(known, past, user, k, p, time):
            context = known.contexts[user, k]
            before = time - typical_gaps[gap_bucket(context)] if dated else time
            if p >= past.starts[user] and dated and not _is_known_next(known, past, user, k - 1, p, before):
                session = known.sessions[user] if k == known.sizes[user] - 1 and k == 0 else np.uint64(0)
                context = _follows(context, time - past.times[p], session, _given_before(past, user, p))
            merged.item_keys[user, at], merged.contexts[user, at] = known.item_keys[user, k], context
            k, time = k - 1, before
        else:
            context = past.contexts[p]
            if k >= 0 and dated and _is_known_next(known, past, user, k, p - 1, time):
                session = known.sessions[user] if k == known.sizes[user] - 1 else np.uint64(0)
                context = _follows(context, past.times[p] - time, past.sessions[p], session)
            merged.item_keys[user, at], merged.contexts[user, at] = past.item_keys[p], context
            p -= 1


@compiled
def _is_known_next(known: _UserSequences, past: _PastActions, user: int, k: int, p: int, time: int) -> bool:
    """Tells whether the newest action up to `k` of the known ones, at `time`, and `p` of the past is a known one."""
    if k < 0:
        return False
    return bool(p < past.starts[user] or known.last_times[user] == NO_TIME or time >= past.times[p])


@compiled
def _given_before(past: _PastActions, user: int, p: int) -> np.uint64:
    """Returns the last session id given up to an action of the past; 0: none."""
    session = np.uint64(0)
    while p >= past.starts[user] and session == 0:
        session = past.sessions[p]
        p -= 1
    return session


@compiled
def _follows(context: np.uint32, gap: int, session: np.uint64, previous: np.uint64) -> np.uint32:
    """Returns the context of an action that follows another one than before."""
    opens = np.uint32(1) if begins_session(gap, session, previous) else np.uint32(0)
    bits = opens << np.uint32(BOUNDARY_SHIFT) | np.uint32(gap_bucket_of(gap)) << np.uint32(GAP_SHIFT)
    return context & REPLACED | bits
