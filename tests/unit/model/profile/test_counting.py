"""Counts of sequences, and of what comes before others: the plain implementation counts all of it in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.contexts import pack_context
from model.data.events import EVENT_TYPES
from model.profile.counting import (
    BUCKETS,
    ENTRIES,
    Counts,
    add_older,
    alike,
    bucket_of,
    count_contexts,
    no_counts,
)
from tests.faults.liked import Liked

ACTIONS = st.lists(st.tuples(st.integers(0, len(EVENT_TYPES) - 1), st.integers(0, 15), st.integers(0, 11)), max_size=40)


def contexts_of(actions: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array([pack_context(kind, False, 5, 0, category, brand) for kind, category, brand in actions], np.uint32)


def counted(actions: list[tuple[int, int, int]]) -> Counts:
    counts = no_counts(1)
    count_contexts(counts, 0, contexts_of(actions))
    return counts


def entries_of(counts: Counts, field: int) -> list[tuple[int, list[float]]]:
    pairs = zip(counts.keys[0, field].tolist(), counts.weights[0, field].tolist(), strict=True)
    return [(key, weights) for key, weights in pairs if key]


@settings(deadline=None)
@given(ACTIONS)
def test_a_sequence_is_counted_by_its_buckets(actions: list[tuple[int, int, int]]) -> None:
    counts, wanted = counted(actions), Liked()
    for kind, category, brand in actions:
        wanted.count_keys(kind, (category, brand))
    for field, others in enumerate(wanted.as_stored()):
        found = entries_of(counts, field)
        assert [key for key, _ in found] == [key for key, _ in others]
        for (_, weights), (_, expected) in zip(found, others, strict=True):
            assert weights == pytest.approx(expected, rel=1e-4)


@settings(deadline=None)
@given(
    ACTIONS.map(lambda found: [(3, 1 + category % 4, 1 + brand % 4) for _, category, brand in found]),
    st.integers(0, 40),
)
def test_what_came_before_is_added_as_if_it_had_been_counted_first(
    actions: list[tuple[int, int, int]], cut: int
) -> None:
    older, counts, wanted = counted(actions[:cut]), counted(actions[cut:]), counted(actions)
    add_older(counts, 0, older, 0)
    for field in range(2):
        found, expected = dict(entries_of(counts, field)), dict(entries_of(wanted, field))
        assert found.keys() == expected.keys()
        for key, weights in expected.items():
            assert found[key] == pytest.approx(weights, rel=1e-3, abs=1e-4)
    assert counts.bands[0].tolist() == pytest.approx(wanted.bands[0], rel=1e-3)


def test_of_more_entries_than_there_is_room_for_the_heaviest_stay() -> None:
    older, counts = counted([(3, 20 + n, 1) for n in range(ENTRIES)]), counted([(3, 1 + n, 1) for n in range(ENTRIES)])
    add_older(counts, 0, older, 0)
    assert [key for key, _ in entries_of(counts, 0)] == list(range(ENTRIES, 0, -1)), "all came later"
    older.weights[0, 0, 0, 0] = 9
    add_older(counts, 0, older, 0)
    assert [key for key, _ in entries_of(counts, 0)] == [*range(ENTRIES, 1, -1), int(older.keys[0, 0, 0])]


def test_a_key_and_its_bucket_are_alike() -> None:
    for field, buckets in enumerate(BUCKETS.tolist()):
        key, other = 2**63 + 5, 2**63 + 5 + (buckets - 1)
        bucket = 1 + key % (buckets - 1)
        assert bucket_of(np.uint64(key), field) == bucket == bucket_of(np.uint64(bucket), field)
        assert alike(np.uint64(key), np.uint64(bucket), field)
        assert alike(np.uint64(bucket), np.uint64(other), field)
        assert not alike(np.uint64(key), np.uint64(other), field)
