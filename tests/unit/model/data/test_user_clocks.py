"""Users' clocks: a dictionary of clocks, event by event, is the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.event_time import LATE_MS
from model.data.events import NO_TIME
from model.data.user_clocks import begins_group, user_clocks

TIMES = st.sampled_from([NO_TIME, 0, 1, LATE_MS, LATE_MS + 1, 2 * LATE_MS + 1, 2 * LATE_MS + 2])
EVENTS = st.lists(st.tuples(st.integers(0, 3), TIMES, st.booleans()), max_size=30)  # user, time, whether it is applied


@given(EVENTS, st.lists(TIMES, min_size=4, max_size=4))
def test_a_clock_never_goes_back_and_only_applied_events_move_it(
    events: list[tuple[int, int, bool]], before: list[int]
) -> None:
    clocks, wanted = list(before), []
    for user, time, is_applied in events:
        late = time != NO_TIME and clocks[user] > time + LATE_MS
        if is_applied:
            clocks[user] = max(clocks[user], time)
        wanted.append((clocks[user], late))
    users = np.array([user for user, _, _ in events], np.int64)
    times, applied = (
        np.array([time for _, time, _ in events], np.int64),
        np.array([moves for _, _, moves in events], np.bool_),
    )
    found, came_late = user_clocks(users, times, np.array(before)[users], applied)
    assert list(zip(found.tolist(), came_late.tolist(), strict=True)) == wanted


def test_a_group_begins_where_the_code_is_another_one() -> None:
    codes = np.array([7, 5, 7, 5, 9])
    order = codes.argsort(kind="stable")
    assert [begins_group(order, codes, position) for position in range(5)] == [True, False, True, False, True]
