"""What a log says of who left and who came back, by hand."""

from __future__ import annotations

import numpy as np

from model.data.events import Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.profile_fit.score_labels import leave_labels, return_labels

MINUTE, DAY = 60_000, 86_400_000
BEGIN = 1_600_000_000_000


def log(*rows: tuple[str, int], lines: list[int] | None = None) -> Sequences:
    """Views by a user at a time after the beginning, ms."""
    events = [Event(user_id=user, type="view", item_id="i") for user, _ in rows]
    return sequences_of(actions_of(events, [BEGIN + time for _, time in rows], lines or []))


def test_who_does_nothing_for_half_an_hour_has_left() -> None:
    times = (0, 10 * MINUTE, 40 * MINUTE, 70 * MINUTE + 1)
    labels = leave_labels(log(*(("a", time) for time in times), ("z", 90 * MINUTE)))
    assert labels.came.tolist() == [False, False, True, True, True]
    assert labels.known.tolist() == [True, True, True, False, False]  # half an hour before the end of the log


def test_a_visit_is_followed_within_a_week_or_not() -> None:
    times = (0, 20 * MINUTE, 7 * DAY + 20 * MINUTE, 14 * DAY + 20 * MINUTE + 1)
    labels = return_labels(log(*(("a", time) for time in times), ("z", 30 * DAY)))
    # The first two are one visit, a week after whose end the third one comes; to the fourth it is a little longer.
    assert labels.came.tolist() == [True, True, False, False, False]
    assert labels.known.tolist() == [True, True, True, True, False]


def test_what_comes_after_the_log_is_not_known() -> None:
    labels = return_labels(log(("a", 0), ("b", 2 * DAY), ("b", 2 * DAY + 10 * MINUTE), ("z", 9 * DAY)))
    assert labels.known.tolist() == [True, False, False, False]
    assert not return_labels(log()).known.any()


def test_only_ends_of_events_are_examples() -> None:
    sequences = log(("a", 0), ("a", 0), ("a", 0), ("z", DAY), lines=[0, 1, 2, 0])
    assert leave_labels(sequences).known.tolist() == [False, False, True, False]


def test_actions_of_unknown_time_are_no_examples() -> None:
    unknown = np.iinfo(np.int64).min
    sequences = sequences_of(
        actions_of([Event(user_id="a", type="view", item_id="i")] * 3, [unknown, BEGIN, BEGIN + DAY])
    )
    assert leave_labels(sequences).known.tolist() == [False, True, False]
    assert not return_labels(sequences).known[0]
