"""Predicted purchases are settled when their time is over, whatever batches the events come in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.event_time import FUTURE_MS
from model.data.events import PURCHASE_HORIZON, PURCHASE_WITHIN_MS
from model.serving.outcomes import _LOOK_EVERY, EventColumns, Outcomes, OutcomeTracker

MINUTE_MS = 60_000
BEGIN_MS = 1_700_000_000_000
Row = tuple[int, int, bool, float]  # slot, minutes after the row before, a purchase, the probability predicted after it


def purchases() -> OutcomeTracker:
    """Of purchases among the next events."""
    return OutcomeTracker(PURCHASE_HORIZON, PURCHASE_WITHIN_MS)


def follow(
    tracker: OutcomeTracker,
    rows: Sequence[tuple[int, int, bool, float]],
    partitions: Sequence[int],
    version: int = 0,
) -> Outcomes:
    """Rows with the minute that they come in, of users on some partitions by slot."""
    slots = np.array([row[0] for row in rows], np.int64)
    tracker.grow(len(partitions))
    times = BEGIN_MS + MINUTE_MS * np.array([row[1] for row in rows], np.int64)
    events = EventColumns(slots, np.array(partitions, np.int32)[slots], times)
    bought = np.array([row[2] for row in rows], np.bool_)
    return tracker.follow(events, bought, np.array([row[3] for row in rows], np.float32), version)


def look_ahead(rows: list[Row]) -> list[tuple[float, bool]]:
    """User by user, by looking ahead."""
    settled, time = [], PURCHASE_WITHIN_MS // MINUTE_MS
    for user in {row[0] for row in rows}:
        own = [(n, *row[1:]) for n, row in enumerate(rows) if row[0] == user]
        at = 0
        while at < len(own):
            over = next((n for n in range(at, len(own)) if own[n][1] > own[at][1] + time), None)
            if over is None:
                break
            bought = any(row[2] for row in own[at + 1 : over][:PURCHASE_HORIZON])
            settled.append((own[over][0], own[at][3], bought))
            at = over
    return [(chance, bought) for _, chance, bought in sorted(settled)]


ROWS = st.tuples(
    st.integers(0, 3), st.integers(0, 9), st.integers(0, 9).map(lambda n: n == 7), st.floats(0, 1, width=32)
)


@given(st.lists(ROWS, max_size=120), st.lists(st.integers(1, 30), min_size=1))
def test_outcomes_are_those_of_looking_ahead(steps: list[Row], sizes: list[int]) -> None:
    minutes = np.cumsum([row[1] for row in steps]).tolist()
    rows = [(slot, at, bought, chance) for (slot, _, bought, chance), at in zip(steps, minutes, strict=True)]
    tracker, settled, rest = purchases(), list[tuple[float, bool]](), rows
    for size in sizes * (1 + len(rows)):
        batch, rest = rest[:size], rest[size:]
        # Everyone has a partition of their own, whose time nobody else moves on.
        outcomes = follow(tracker, batch, partitions=[0, 1, 2, 3])
        settled += zip(outcomes.predicted.tolist(), outcomes.came.tolist(), strict=True)
    assert settled == look_ahead(rows)


def test_nothing_is_settled_before_its_time_is_over() -> None:
    """Neither a purchase nor its absence: else one of them would be too many for a while."""
    tracker, time = purchases(), PURCHASE_WITHIN_MS // MINUTE_MS
    follow(tracker, [(0, 0, False, 0.25), (1, 0, False, 0.75)], [0, 0])
    busy = [(0, minute, False, 0.5) for minute in range(1, 3 * PURCHASE_HORIZON)]
    assert len(follow(tracker, [(1, 5, True, 0.5), *busy, (1, time, False, 0.5)], [0, 0]).came) == 0
    outcomes = follow(tracker, [(0, time + 1, True, 0.5), (1, time + 1, False, 0.5)], [0, 0])
    assert list(zip(outcomes.predicted, outcomes.came, strict=True)) == [(0.25, False), (0.75, True)]


def test_what_a_version_predicted_is_settled_while_another_one_serves() -> None:
    tracker, time = purchases(), PURCHASE_WITHIN_MS // MINUTE_MS
    follow(tracker, [(0, 0, False, 0.25)], [0, 0], version=1)
    follow(tracker, [(0, 1, True, 0.5), (1, 1, False, 0.75)], [0, 0], version=70_000)
    outcomes = follow(tracker, [(0, time + 2, False, 0.5), (1, time + 2, False, 0.5)], [0, 0], version=3)
    assert list(zip(*(column.tolist() for column in outcomes), strict=True)) == [(0.25, True, 1), (0.75, False, 70_000)]


def test_a_user_who_left_is_settled_when_others_of_the_partition_show_that_time_has_passed() -> None:
    tracker, partitions, over = purchases(), [0, 0, 1, 1], (PURCHASE_WITHIN_MS + FUTURE_MS) // MINUTE_MS + 1
    follow(tracker, [(0, 0, False, 0.25), (0, 1, True, 0.5), (2, 0, False, 0.75)], partitions)
    settled = [follow(tracker, [(1, over, False, 0.5)], partitions) for _ in range(_LOOK_EVERY)]
    assert [outcomes.predicted.tolist() for outcomes in settled if len(outcomes.came)] == [[0.25]]
    assert [outcomes.came.tolist() for outcomes in settled if len(outcomes.came)] == [[True]]
    settled = [follow(tracker, [(3, over, False, 0.5)], partitions) for _ in range(_LOOK_EVERY)]
    assert [outcomes.came.tolist() for outcomes in settled if len(outcomes.came)] == [[False]]


def test_clocks_that_are_hours_behind_settle_nothing_early() -> None:
    tracker = purchases()
    rows = [(0, 0, False, 0.25), (1, 1000, False, 0.5)]
    settled = [follow(tracker, rows if n == 0 else rows[1:], [0, 0]) for n in range(2 * _LOOK_EVERY)]
    late = follow(tracker, [(1, 1001, False, 0.5), (2, 0, False, 0.5)], [0, 0, 0])
    assert [len(outcomes.came) for outcomes in (*settled, late)].count(1) == 1  # who began before the others' time
    settled = [follow(tracker, rows[1:], [0, 0, 0]) for _ in range(2 * _LOOK_EVERY)]
    assert not any(len(outcomes.came) for outcomes in settled)


def test_forgotten_predictions_are_not_settled() -> None:
    tracker, time = purchases(), PURCHASE_WITHIN_MS // MINUTE_MS
    follow(tracker, [(0, 0, False, 0.25), (1, 0, False, 0.5)], [0, 0])
    tracker.forget(np.array([0, 7]))
    assert follow(tracker, [(0, time + 1, False, 0.5), (1, time + 1, False, 0.5)], [0, 0]).predicted.tolist() == [0.5]
