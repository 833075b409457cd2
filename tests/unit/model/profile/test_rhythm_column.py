"""Rhythms as a column of users' states: they come back from records as they were, also from records without them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from model.data.contexts import pack_context
from model.data.events import Event, actions_of
from model.profile.rhythm import RHYTHM
from model.profile.rhythm_column import RhythmColumn
from model.state.sections import HEAD_BYTES, SEGMENT, split_sections
from tests.unit.builders.basics import CPU, make_states

MINUTE = 60_000
BEGIN = 1_600_000_000_000
VISIT = [0, 1, 2, 90, 91]  # minutes: two visits


def column_of(users: int = 3) -> RhythmColumn:
    states = make_states(CPU)
    column = RhythmColumn(states)
    states.keep(column)
    states.slots_of([0] * users, [f"user {n}" for n in range(users)])
    return column


def advance(column: RhythmColumn, slot: int, minutes: list[int]) -> None:
    """Views of a user, in rings and rhythms."""
    actions = actions_of(
        [Event(user_id="u", type="view", item_id="i")] * len(minutes), [BEGIN + MINUTE * at for at in minutes]
    )
    slots = np.full(len(minutes), slot)
    column.follow(slots, actions, np.ones(len(minutes), np.bool_))
    states = column._states
    gaps = [31, *(5 if after - before < 30 else 15 for before, after in pairwise(minutes))]
    contexts = np.array([pack_context(0, 0, 0, gap, 0, 0) for gap in gaps], np.uint32)
    states.histories.append(slots, actions.item_keys, contexts)
    states.last_times[slot] = actions.times[-1]


def contents(column: RhythmColumn, slots: list[int]) -> list[bytes]:
    text, starts = column.sections(np.array(slots), column._states.histories)
    rows = [text[start:end].tobytes() for start, end in pairwise(starts.tolist())]
    return [split_sections(row).get(SEGMENT, b"") for row in rows]


def test_sections_bring_users_back_as_they_were() -> None:
    column = column_of()
    advance(column, 0, VISIT)
    advance(column, 2, [5])
    column.rhythms["segment"][[0, 2]] = 7, 3
    before, stored = column.rhythms.copy(), contents(column, [0, 1, 2])
    assert [len(each) for each in stored] == [RHYTHM.itemsize, 0, RHYTHM.itemsize]
    slots = np.arange(3)
    column.rhythms[:] = 0
    column.restore(slots, stored, column._states.histories)
    np.testing.assert_array_equal(column.rhythms, before)
    assert (column.members[7], column.members[3]) == (1, 1)
    column.clear(slots)
    assert not column.members.any()


def test_without_a_section_the_last_actions_say_about_what_they_were() -> None:
    column = column_of()
    advance(column, 0, VISIT)
    expected = column.rhythms[0].copy()
    column.rhythms[:] = 0
    column.restore(np.arange(1), [b""], column._states.histories)
    found = column.rhythms[0]
    for name in ("actions", "visits", "of_visit", "last", "purchases"):
        assert found[name] == expected[name]
    for name in ("first", "began"):
        assert abs(int(found[name]) - int(expected[name])) < 600
    assert int(found["gap"]) == pytest.approx(int(expected["gap"]), rel=0.1)


def test_a_worker_without_rhythms_in_between_is_caught_up_with() -> None:
    column = column_of()
    advance(column, 0, VISIT[:3])
    (stored,) = contents(column, [0])
    advance(column, 0, VISIT[3:])  # the section of this is lost
    column.rhythms[:] = 0
    column.restore(np.arange(1), [stored], column._states.histories)
    assert (column.rhythms["actions"][0], column.rhythms["visits"][0]) == (5, 2)


def test_a_sequence_that_was_given_away_begins_anew() -> None:
    column = column_of()
    advance(column, 0, VISIT)
    (stored,) = contents(column, [0])
    column._states.histories.clear(np.arange(1))
    column.restore(np.arange(1), [stored], column._states.histories)
    assert column.rhythms["actions"][0] == column.rhythms["visits"][0] == 0


def test_what_was_before_counts_as_visits_of_before() -> None:
    column = column_of()
    advance(column, 0, VISIT)
    (older,) = contents(column, [0])
    advance(column, 1, [300, 301])
    column.take_in(1, older, np.zeros(0, np.uint32))
    user = column.rhythms[1]
    assert (user["visits"], user["actions"]) == (3, 2)
    assert user["first"] == BEGIN // 1000
    assert user["gap"] == (300 - 91) * 60
    contexts = np.array([pack_context(0, 0, 0, gap, 0, 0) for gap in (31, 15, 2)], np.uint32)
    advance(column, 2, [900])
    column.take_in(2, b"", contexts)
    assert column.rhythms["visits"][2] == 3
    assert HEAD_BYTES == 6
