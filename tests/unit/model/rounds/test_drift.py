"""Drift: near 0 where the stream is what it was, large where it has moved."""

from __future__ import annotations

import random

import numpy as np
import pytest

from model.data.events import Actions, Event, actions_of
from model.data.sequences import sequences_of
from model.rounds.drift import DriftMonitor, population_stability_index


def shop(seed: int, events: int, *, first: int = 0, types: str = "view view view cart", category: str = "c") -> Actions:
    rng = random.Random(seed)
    rows = []
    for _ in range(events):
        item = first + min(rng.randrange(200), rng.randrange(200))
        rows.append(
            Event(user_id="u", type=rng.choice(types.split()), item_id=f"i{item}", category=f"{category}{item % 9}")
        )
    return actions_of(rows, list(range(events)))


def moved(live: Actions) -> tuple[dict[str, float], float]:
    drift = DriftMonitor(sequences_of(shop(1, 20_000)))
    for part in np.array_split(np.arange(len(live)), 3):
        drift.add(live.take(part))
    return drift.psi(), drift.unseen_share()


def test_the_same_shop_has_not_moved() -> None:
    result, unseen = moved(shop(2, 2000))
    assert all(value < 0.02 for value in result.values())
    assert unseen < 0.01


def test_a_sale_is_seen_in_the_types() -> None:
    result, _ = moved(shop(2, 2000, types="view cart cart purchase"))
    assert result["types"] > 0.25
    assert result["items"] < 0.02


def test_new_items_are_seen_in_the_items_and_as_unseen() -> None:
    result, unseen = moved(shop(2, 2000, first=150))
    assert result["items"] > 0.25  # the few old ones among them are those that were rare
    assert result["types"] < 0.02
    assert unseen == pytest.approx(0.75**2, abs=0.05)  # both draws among the 150 new ones


def test_new_categories_are_seen() -> None:
    assert moved(shop(2, 2000, category="other"))[0]["categories"] > 0.25


def test_the_index_is_the_textbooks() -> None:
    learned, live = np.array([500_000, 500_000]), np.array([600_000, 400_000])
    expected = (0.6 - 0.5) * np.log(0.6 / 0.5) + (0.4 - 0.5) * np.log(0.4 / 0.5)
    assert population_stability_index(learned, live) == pytest.approx(expected, abs=1e-5)


def test_chance_does_not_count_as_drift() -> None:
    """Small samples of one distribution: on average nothing is left."""
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(52))
    result = [
        population_stability_index(rng.multinomial(20_000, shares), rng.multinomial(500, shares)) for _ in range(200)
    ]
    assert np.mean(result) < 0.05


def test_without_live_events_there_is_no_drift() -> None:
    drift = DriftMonitor(sequences_of(shop(1, 100)))
    assert set(drift.psi().values()) == {0.0}
    assert drift.unseen_share() == 0.0
