"""Hits of preferences: a dictionary of what each user was shown is the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.profile.preference_hits import PreferenceHits

KEYS = st.integers(0, 4).map(lambda n: n and 2**40 + n)
EVENTS = st.tuples(
    st.integers(0, 3), st.tuples(KEYS, KEYS), st.lists(st.lists(KEYS, min_size=3, max_size=3), min_size=2, max_size=2)
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(EVENTS, min_size=1, max_size=8), st.lists(st.integers(0, 3), max_size=2)), max_size=4)
)
def test_a_user_hits_what_they_were_last_shown(batches: list) -> None:  # type: ignore[type-arg]
    hits, oracle = PreferenceHits(), dict[int, list[list[int]]]()
    for events, forgotten in batches:
        wanted = np.zeros((2, 2), np.int64)
        for slot, turned_to, shown in events:
            before = oracle.get(slot, [[0], [0]])
            for field in range(2):
                if turned_to[field] and before[field][0]:
                    wanted[field] += 1, turned_to[field] in before[field]
            oracle[slot] = shown
        slots, turned, shown = (list(column) for column in zip(*events, strict=True))
        found = hits.score(np.array(slots), np.array(turned, np.uint64), np.array(shown, np.uint64), 4)
        assert found.tolist() == wanted.tolist()
        hits.forget(np.array(forgotten, np.int64))
        for slot in forgotten:
            oracle.pop(slot, None)


def test_a_bucket_is_hit_by_a_name_in_it() -> None:
    hits, key = PreferenceHits(), 2**40 + 7
    shown = np.zeros((1, 2, 3), np.uint64)
    shown[0, 0, 0] = 1 + key % 1023
    hits.score(np.zeros(1, np.int64), np.zeros((1, 2), np.uint64), shown, 1)
    found = hits.score(np.zeros(1, np.int64), np.array([[key, key]], np.uint64), shown, 1)
    assert found.tolist() == [[1, 1], [0, 0]]
