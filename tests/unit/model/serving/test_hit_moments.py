"""Moments of hits: what events add to them one by one is what the users' totals give at the end."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.serving.hit_moments import HitMoments, HitMomentsTracker, total_moments

BATCHES = st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), max_size=30), max_size=5)


@given(BATCHES)
def test_moments_are_those_of_the_users_totals(batches: list[list[tuple[int, int]]]) -> None:
    tracker, added, users = HitMomentsTracker(), list[HitMoments](), defaultdict[int, list[int]](list)
    for batch in batches:
        slots, ranks = (np.array([event[column] for event in batch], np.int64) for column in (0, 1))
        added.append(tracker.add(slots, ranks, capacity=5))
        for slot, rank in batch:
            users[slot].append(rank)
    expected = HitMoments()
    for own in users.values():
        n, h, r = len(own), sum(rank > 0 for rank in own), sum(1 / rank for rank in own if rank)
        expected += HitMoments(1, n * n, h * n, h * h, r * n, r * r)
    assert total_moments(added) == pytest.approx(expected, rel=1e-5)


def test_who_takes_a_slot_is_another_user() -> None:
    tracker, slots, ranks = HitMomentsTracker(), np.zeros(3, np.int64), np.ones(3, np.int64)
    assert tracker.add(slots, ranks, capacity=2).nn == 9
    tracker.forget(np.array([0, 7]))
    assert tracker.add(slots, ranks, capacity=2) == HitMoments(1, 9, 9, 9, 9, 9)
    tracker.forget_all()
    assert tracker.add(slots[:1], ranks[:1], capacity=2).nn == 1
    assert tracker.nbytes == 24
