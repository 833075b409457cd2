"""Item statistics of a log, against loops over letters."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.covisits import COVISIT_WINDOW
from model.data.events import CATEGORY_BUCKETS, NO_TIME, Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.data.vocabulary import Vocabulary
from model.fusion.item_statistics import (
    HALF_LIFE,
    MOST_NEIGHBOURS,
    POPULAR,
    CoVisits,
    ItemStatistics,
    Neighbours,
    item_statistics_from,
    item_statistics_of,
    tensors_of,
)
from tests.unit.builders.sequences import random_users, sequences

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def test_neighbours_weigh_by_distance_age_and_direction() -> None:
    log = sequences(*random_users(3))
    statistics = item_statistics_of(log, Vocabulary(list(LETTERS)))

    followed, preceded = weights_by_hand(random_users(3))
    for found, expected in ((statistics.followers, followed), (statistics.predecessors, preceded)):
        for item, letter in enumerate(LETTERS):
            weights = expected[letter]
            total = sum(weights.values())
            got = {LETTERS[other]: share for other, share in row(found, item)}
            assert got == pytest.approx({other: weight / total for other, weight in weights.items()}, rel=1e-5)
            shares = [share for _, share in row(found, item)]
            assert shares == sorted(shares, reverse=True)


def test_a_row_has_the_heaviest_neighbours() -> None:
    size = MOST_NEIGHBOURS + 40
    items = np.array([step for other in range(1, size) for step in (0, other)])
    offsets = np.arange(0, len(items) + 1, 2)
    weights = np.repeat(np.arange(1.0, size), 2)
    pairs = CoVisits(size)
    pairs.add(items, offsets, weights)
    followers, _ = pairs.neighbours()

    heaviest = row(followers, 0)
    assert [item for item, _ in heaviest] == list(range(size - 1, size - 1 - MOST_NEIGHBOURS, -1))
    assert sum(share for _, share in heaviest) < 1  # of all of the row's weight, also of what was dropped
    assert heaviest[0][1] == pytest.approx((size - 1) / sum(range(1, size)))


def test_what_is_popular_of_late_comes_first_and_has_a_rising_trend() -> None:
    old, new = ["ab" * 4] * 200, ["cd" * 4] * 10
    statistics = item_statistics_of(sequences(*old, *new), Vocabulary(list("abcd")))

    assert {"abcd"[item] for item in statistics.popular[:2]} == {"c", "d"}
    assert statistics.popularity[0] > statistics.popularity[2]
    assert statistics.trend[2] > 0 > statistics.trend[0]


def test_a_user_without_a_known_time_does_not_make_everything_old_recent() -> None:
    log = sequences(*["ab" * 4] * 200, *["cd" * 4] * 10, "ab")
    log.times[-2:] = NO_TIME
    statistics = item_statistics_of(log, Vocabulary(list("abcd")))
    assert {"abcd"[item] for item in statistics.popular[:2]} == {"c", "d"}
    assert statistics.trend[2] > 0 > statistics.trend[0]


def test_searches_and_items_without_actions_do_not_count() -> None:
    statistics = item_statistics_of(sequences("a?b?a"), Vocabulary(["a", "b", "never"]))

    assert sorted(item for item, _ in row(statistics.followers, 0)) == [0, 1]  # a search between them separates nothing
    assert row(statistics.followers, 2) == []
    assert statistics.categories.tolist() == [0, 0, 0]
    assert np.isfinite(statistics.popularity).all()


def test_categories_are_the_last_ones_given_and_have_popular_items() -> None:
    def view(item: str, category: str, at: int) -> Event:
        return Event(user_id="u", type="view", item_id=item, category=category, timestamp=at)

    events = [view("a", "shoes", 1), view("b", "hats", 2), view("b", "shoes", 3), view("b", "shoes", 4)]
    statistics = item_statistics_of(sequences_of(actions_of(events, [1, 2, 3, 4])), Vocabulary(["a", "b"]))

    shoes = statistics.categories[0]
    assert shoes == statistics.categories[1] != 0
    assert [item for item, _ in row(statistics.popular_alike, int(shoes))] == [1, 0]
    assert len(statistics.popular_alike.starts) == CATEGORY_BUCKETS + 1


@given(st.lists(st.text(LETTERS + "?", min_size=1, max_size=30), max_size=8))
def test_any_log_can_be_counted_and_comes_back_from_its_arrays(users: list[str]) -> None:
    log = sequences(*users) if users else empty()
    statistics = item_statistics_of(log, Vocabulary(list(LETTERS[:20])))

    assert len(statistics.popular) == min(POPULAR, 20)
    for rows in (statistics.followers, statistics.predecessors, statistics.popular_alike):
        assert rows.starts[-1] == len(rows.items) == len(rows.shares)
        assert (np.diff(rows.starts) >= 0).all()
        assert not len(rows.items) or 0 <= rows.items.min() <= rows.items.max() < 20
    again = item_statistics_from(tensors_of(statistics))
    assert flat(again).keys() == flat(statistics).keys()
    for name, array in flat(statistics).items():
        np.testing.assert_array_equal(flat(again)[name], array)


def weights_by_hand(users: list[str]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    followed: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    preceded: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    last = sum(map(len, users)) - 1
    at = -1
    for user in users:
        earlier: list[str] = []
        for letter in user:
            at += 1
            if letter == "?":
                continue
            weight = 0.5 ** ((last - at) / last / HALF_LIFE)
            for gap, before in enumerate(reversed(earlier[-COVISIT_WINDOW:]), 1):
                followed[before][letter] += weight / gap
                preceded[letter][before] += weight / gap
            earlier.append(letter)
    return followed, preceded


def row(of: Neighbours, item: int) -> list[tuple[int, float]]:
    entries = slice(of.starts[item], of.starts[item + 1])
    return list(zip(of.items[entries].tolist(), of.shares[entries].tolist(), strict=True))


def flat(statistics: ItemStatistics) -> dict[str, object]:
    return dict(tensors_of(statistics))


def empty() -> Sequences:
    return sequences()


def test_the_lightest_pairs_are_dropped_and_still_count_in_the_shares() -> None:
    pairs = CoVisits(3, most=1)
    for items, weight in (([0, 1], 4.0), ([0, 2], 1.0), ([0, 1], 4.0)):
        pairs.add(np.array(items), np.array([0, 2]), np.full(2, weight))
    followers, _ = pairs.neighbours()
    assert followers.items.tolist() == [1]
    assert followers.shares.tolist() == pytest.approx([8 / 9])
