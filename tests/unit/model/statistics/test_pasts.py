"""Places of users: each keeps its own, growth keeps all, and in a full set the one not seen longest ago goes."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.covisits import COVISIT_WINDOW
from model.statistics.pasts import WAYS, UserPasts, begin_user, full_sets, grown, nbytes_of, new_pasts, place_of


def test_growth_keeps_users_and_all_that_is_known_of_them() -> None:
    pasts, rng = new_pasts(4), random.Random(1)
    for key in range(1, 20):
        enter(pasts, key, time=1000 - key, filled_by=rng)
    before = users_in(pasts)
    assert len(before) == 19
    for _ in range(3):
        size = nbytes_of(pasts)
        pasts = grown(pasts)
        assert nbytes_of(pasts) == 2 * size
        assert users_in(pasts) == before
    for key in before:
        assert pasts.keys[place_of(pasts, np.uint64(key))] == key


@given(st.lists(st.tuples(st.integers(1, 14), st.integers(0, 60)), min_size=1, max_size=60))
def test_in_a_full_set_the_user_not_seen_longest_ago_goes(seen: list[tuple[int, int]]) -> None:
    """Times need not rise. Of users seen at the same time the one whose place is older goes."""
    pasts, places = new_pasts(1), list[tuple[int, int]]()  # key and time by place
    for key, time in seen:
        keys = [user for user, _ in places]
        enter(pasts, key, time)
        if key in keys:
            at = keys.index(key)
            places[at] = (key, max(time, places[at][1]))
        elif len(places) < WAYS:
            places.append((key, time))
        else:
            lasts = [last for _, last in places]
            places[lasts.index(min(lasts))] = (key, time)
        assert {user: fields["lasts"] for user, fields in users_in(pasts).items()} == dict(places)
        assert full_sets(pasts) == (len(places) == WAYS)


def test_a_new_user_has_nothing_of_the_one_whose_place_they_take() -> None:
    pasts, rng = new_pasts(1), random.Random(2)
    for key in range(1, WAYS + 1):
        enter(pasts, key, time=key, filled_by=rng)
    enter(pasts, 99, time=50)
    fresh = users_in(pasts)[99]
    assert 1 not in users_in(pasts)
    assert (fresh["actions"], fresh["heads"], fresh["queries"], fresh["firsts"]) == (0, 0, 0, 50)
    assert fresh["items"] == [0] * COVISIT_WINDOW


def test_small_numbers_as_keys_spread_over_the_sets() -> None:
    """Users of a log without ids are numbered from 1 on."""
    pasts = new_pasts(256)
    for key in range(1, 1025):
        enter(pasts, key, time=key)
    assert len(users_in(pasts)) == 1024
    assert full_sets(pasts) < 64


def enter(pasts: UserPasts, key: int, time: int, filled_by: random.Random | None = None) -> None:
    """Does for one user what counting does."""
    row, way = place_of(pasts, np.uint64(key))
    if pasts.keys[row, way] != key:
        begin_user(pasts, row, way, np.uint64(key), time)
    pasts.lasts[row, way] = max(pasts.lasts[row, way], time)
    if filled_by is not None:
        for column in (pasts.actions, pasts.heads, pasts.queries, pasts.words, pasts.since_query):
            column[row, way] = filled_by.randrange(1, 1000)
        pasts.items[row, way] = np.arange(COVISIT_WINDOW) + 100 * key
        pasts.kinds[row, way] = np.arange(COVISIT_WINDOW) + key


def users_in(pasts: UserPasts) -> dict[int, dict[str, object]]:
    """All fields of all users by key, each of whom is there once."""
    places = np.argwhere(pasts.keys != 0).tolist()
    users = {
        int(pasts.keys[row, way]): {name: getattr(pasts, name)[row, way].tolist() for name in UserPasts._fields}
        for row, way in places
    }
    assert len(users) == len(places)
    return users
