"""Simulated shoppers: what they do is drawn from the tables, and the oracle reads the same tables."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from model.data.events import EVENT_TYPES
from stream_app.sandbox.shop import ShopCatalogue
from stream_app.sandbox.shopper import (
    ACTS,
    BROWSE,
    FAVOURITES,
    LEAVE,
    Shopper,
    new_shopper,
    next_probabilities,
    oracle_ranking,
    step,
)

DRAWS = 5000
SHOP = ShopCatalogue(random.Random(5), 100)


def shopper_after(events: int, seed: int = 2) -> Shopper:
    """A shopper who has caused so many events."""
    rng = random.Random(seed)
    shopper = new_shopper("ada", SHOP, rng)
    while events:
        events -= step(shopper, SHOP, rng)
    return shopper


def test_tables_sum_to_one() -> None:
    for table in (*ACTS.values(), BROWSE, LEAVE):
        assert sum(share for _, share in table) == pytest.approx(1)
    assert sum(FAVOURITES) == pytest.approx(1)


def test_habits_stay_and_events_have_types_of_the_contract() -> None:
    rng = random.Random(2)
    shopper = new_shopper("ada", SHOP, rng)
    habits = shopper.favourites, shopper.band, shopper.habit
    assert len(set(shopper.favourites)) == len(FAVOURITES)
    for _ in range(500):
        if step(shopper, SHOP, rng):
            assert shopper.kind in EVENT_TYPES
            assert (shopper.item < 0) == (shopper.kind == "search")
        else:
            assert shopper.kind == ""
    assert (shopper.favourites, shopper.band, shopper.habit) == habits


@pytest.mark.parametrize("events", [1, 2, 3, 5, 8, 13, 21])
def test_the_oracle_gives_the_frequencies_of_the_next_item(events: int) -> None:
    """The same shopper goes on many times, each time with other luck, until their next event."""
    shopper, rng = shopper_after(events), random.Random(7)
    chances = next_probabilities(shopper, SHOP)
    seen: Counter[int] = Counter()
    for _ in range(DRAWS):
        twin = replace(shopper)
        while not step(twin, SHOP, rng):
            pass
        seen[twin.item] += 1
    assert 0 < sum(chances.values()) <= 1 + 1e-9
    assert 1 - sum(chances.values()) == pytest.approx(seen[-1] / DRAWS, abs=0.03)
    for item, chance in chances.items():
        assert seen[item] / DRAWS == pytest.approx(chance, abs=0.03)


def test_the_oracle_ranks_by_probability() -> None:
    shopper = shopper_after(13)
    chances = next_probabilities(shopper, SHOP)
    ranked = oracle_ranking(shopper, SHOP, 5)
    assert [chances[item] for item in ranked] == sorted(chances.values(), reverse=True)[:5]
