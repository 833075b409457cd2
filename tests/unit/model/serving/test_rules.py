"""The rules: their arithmetic against plain loops, their bounds, and the floors on real logs."""

from __future__ import annotations

import csv
import gzip
import random
from collections import defaultdict
from itertools import pairwise

import pytest

from model.data.covisits import COVISIT_WINDOW
from model.data.events import EVENT_TYPES, PURCHASE, TYPE_CODES, item_key
from model.serving.rules import NO_TYPE, Rules
from tests.paths import SHARED_DATA
from tests.skips import NO_SHARED_DATA

CLICK = TYPE_CODES["click"]


def learn(rules: Rules, items: list[int]) -> None:
    for n, item in enumerate(items):
        rules.learn(items[:n][::-1], item, f"item {item}")


def test_transitions_in_turn_with_own_items_then_popular() -> None:
    rules = Rules()
    for items in ([1, 2], [1, 2], [1, 3], [9], [9], [9], [9], [9]):
        learn(rules, items)
    assert rules.rank([1, 7, 9], 10) == [2, 1, 3, 9]  # 7 has no name: nobody could be shown it
    assert rules.rank([1], 2) == [2, 1]
    assert rules.rank([], 2) == [9, 1]


def test_transitions_weigh_one_over_the_distance_within_the_window() -> None:
    randomness = random.Random(1)
    logs = [[randomness.randrange(6) for _ in range(25)] for _ in range(20)]
    rules = Rules()
    expected: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for items in logs:
        learn(rules, items)
        for later in range(len(items)):
            for earlier in range(max(0, later - COVISIT_WINDOW), later):
                expected[items[earlier]][items[later]] += 1 / (later - earlier)
    for item, after in expected.items():
        assert rules._followers[item] == pytest.approx(after)


def test_popularity_follows_the_times() -> None:
    rules = Rules(half_life=10)
    learn(rules, [1] * 100)
    for _ in range(70):
        rules.learn([], 2, "two")
        rules.popular(1)
    assert rules.popular(2) == [2, 1]
    assert rules.names[2] == "two"


def test_popularity_survives_its_own_growth() -> None:
    rules = Rules(half_life=1)
    for turn in range(5000):
        rules.learn([], turn % 3, str(turn % 3))
    assert rules.rank([], 3)[0] == 4999 % 3


def test_memory_is_bounded_and_the_popular_stay() -> None:
    rules = Rules(max_items=80, max_followers=8)
    recent: list[int] = []
    for turn in range(5000):
        item = 7 if turn % 3 == 0 else 100 + turn
        rules.learn(recent, item, str(item))
        recent = [item, *recent[:19]]
        assert len(rules) <= 80
    assert len(rules._followers) <= 160
    assert max(map(len, rules._followers.values())) <= 24
    assert rules.popular(1) == [7]
    assert all(rules.names[item] for item in rules.rank(recent, 20))


def test_type_probabilities_are_smoothed_frequencies() -> None:
    rules = Rules()
    assert rules.type_probabilities(CLICK) == pytest.approx([1 / len(EVENT_TYPES)] * len(EVENT_TYPES))
    for _ in range(3):
        rules.learn_type(CLICK, PURCHASE)
    probabilities = rules.type_probabilities(CLICK)
    assert sum(probabilities) == pytest.approx(1.0)
    assert probabilities[PURCHASE] == pytest.approx(4 / 10)


def test_purchase_probability_is_near_the_share_of_simulated_chains() -> None:
    randomness, rules = random.Random(3), Rules()
    bought, seen = 0, 0
    for _ in range(4000):
        kinds = [NO_TYPE]
        while len(kinds) < 40 and randomness.random() < 0.8:
            kinds.append(PURCHASE if randomness.random() < 0.1 else CLICK)
        for before, kind in pairwise(kinds):
            rules.learn_type(before, kind)
        for n, kind in enumerate(kinds):
            if kind == CLICK:
                seen += 1
                bought += PURCHASE in kinds[n + 1 : n + 11]
    rules._purchases_due = 0
    assert rules.purchase_probability(CLICK) == pytest.approx(bought / seen, abs=0.02)


def yoochoose(name: str) -> list[list[str]]:
    sessions: dict[str, list[tuple[float, str]]] = defaultdict(list)
    with gzip.open(SHARED_DATA / "yoochoose100k" / name, "rt") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            sessions[row["SessionId"]].append((float(row["Time"]), row["ItemId"]))
    return [[item for _, item in sorted(clicks)] for clicks in sessions.values()]


@pytest.mark.skipif(not SHARED_DATA.exists(), reason=NO_SHARED_DATA)
def test_reproduces_the_floor_on_yoochoose() -> None:
    rules = Rules(half_life=1e9)
    for session in yoochoose("train_full.tsv.gz"):
        learn(rules, [item_key(item) for item in session])
    ranks = []
    for session in yoochoose("test.tsv.gz"):
        items = [item_key(item) for item in session]
        for n in range(1, len(items)):
            ranked = rules.rank(items[:n][::-1], 20)
            ranks.append(ranked.index(items[n]) + 1 if items[n] in ranked else 0)
    assert 100 * sum(rank > 0 for rank in ranks) / len(ranks) == pytest.approx(66.42, abs=0.2)
    assert 100 * sum(1 / rank for rank in ranks if rank) / len(ranks) == pytest.approx(36.42, abs=0.2)
