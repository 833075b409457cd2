"""Rhythm features: each number in a bucket of its own row."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np

from model.profile.rhythm import RHYTHM
from model.profile.rhythm_features import NUM_RHYTHM_FEATURES, RHYTHM_ROWS, SIZE, rhythm_features

HOUR, DAY = 3_600, 86_400
NOW = int(datetime(2024, 5, 4, 15, 30, tzinfo=UTC).timestamp())  # a Saturday


def buckets(time: int = NOW, **numbers: int) -> list[int]:
    user = np.zeros(1, RHYTHM)
    user["first"] = user["began"] = user["last"] = NOW
    for name, number in numbers.items():
        user[name] = number
    rows = rhythm_features(user, np.array([1000 * time]))[0]
    assert (rows // SIZE == np.arange(NUM_RHYTHM_FEATURES)).all()
    assert rows.max() < RHYTHM_ROWS
    return [int(row) % SIZE for row in rows]


def test_counts_and_gaps_grow_with_what_they_count() -> None:
    few = buckets(visits=1, actions=1, of_visit=1)
    many = buckets(visits=40, actions=900, of_visit=30, gap=3 * DAY, gap_before=9 * DAY, first=NOW - 200 * DAY)
    assert all(more > less for more, less in zip(many[:7], few[:7], strict=True))
    assert few[3:6] == [0, 0, 0]  # no gaps: this is the first visit
    for visits in (1, 2, 3, 10, 50):
        assert buckets(visits=visits)[0] == min(SIZE - 1, math.floor(2 * math.log2(1 + visits) + 1e-9))


def test_gaps_are_of_visits_that_there_were() -> None:
    assert buckets(visits=2, gap=DAY, gap_before=0, first=NOW - DAY)[3:6] == [6, 0, 6]
    assert buckets(visits=3, gap=DAY, gap_before=HOUR, first=NOW - 2 * DAY)[3:6] == [6, 2, 6]


def test_time_of_day_and_week() -> None:
    assert buckets()[8:] == [7, 6]  # two hours a bucket; Sunday is 0
    assert buckets(time=NOW + DAY + 9 * HOUR)[8:] == [0, 1]


def test_a_time_before_all_else_is_no_failure() -> None:
    assert buckets(time=-(2**40))[6:8] == [0, 0]
