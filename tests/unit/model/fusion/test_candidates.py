"""The compiled loop that collects candidates, against plain Python."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest

from model.data.contexts import unpack_contexts
from model.data.recent import RECENT_LENGTH, RecentActions
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import (
    FEATURES,
    CandidateSources,
    NetworkBest,
)
from model.fusion.candidates import MAX_CANDIDATES, Candidates, collect_candidates, new_seen_index
from model.fusion.item_statistics import ItemStatistics, Neighbours, item_statistics_of
from tests.unit.builders.candidates import CATALOGUE, asked_after, random_log, shoppers

FOLLOWERS_ENTER = (64, 24, 12, 12, 8, 8)
PREDECESSORS_ENTER = (24, 8, 4, 4, 4, 4)


def test_features_are_those_of_a_plain_loop() -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE)
    statistics = item_statistics_of(log, vocabulary)
    answers = range(0, len(log), 7)
    recent, best = asked_after(log, vocabulary, answers, seed=2)
    found = collect_candidates(CandidateSources(recent, best, statistics), new_seen_index(len(CATALOGUE)))

    for n in range(len(answers)):
        expected = features_by_hand(recent, best, statistics, n)
        assert items_of(found, n) == list(expected)
        for column, features in enumerate(expected.values(), found.starts[n]):
            got = dict(zip(FEATURES, found.features[:, column].tolist(), strict=True))
            assert got == pytest.approx(features, rel=1e-4, abs=1e-5)
    assert found.starts[-1] == len(found.items) == found.features.shape[1]


def test_the_same_answers_again_are_the_same_candidates() -> None:
    log, vocabulary = random_log(3), Vocabulary(CATALOGUE)
    statistics, index = item_statistics_of(log, vocabulary), new_seen_index(len(CATALOGUE))
    recent, best = asked_after(log, vocabulary, range(50), seed=4)

    first, second = (collect_candidates(CandidateSources(recent, best, statistics), index) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_answer_has_no_more_than_the_most_candidates() -> None:
    items = [f"item {n}" for n in range(2000)]
    rng = random.Random(5)
    log = shoppers([[rng.choice(items) for _ in range(60)] for _ in range(200)])
    vocabulary = Vocabulary(items)
    recent, best = asked_after(log, vocabulary, range(59, len(log), 60), seed=6, best=200)
    found = collect_candidates(
        CandidateSources(recent, best, item_statistics_of(log, vocabulary)), new_seen_index(len(items))
    )

    assert np.diff(found.starts).max() == MAX_CANDIDATES
    for n in range(len(recent.starts)):
        assert len(set(items_of(found, n))) == len(items_of(found, n))


def test_users_without_actions_get_what_network_and_popularity_offer() -> None:
    log, vocabulary = random_log(7), Vocabulary(CATALOGUE)
    statistics = item_statistics_of(log, vocabulary)
    recent, best = asked_after(log, vocabulary, [0], seed=8)
    nobody = recent._replace(starts=np.zeros(1, np.int64), stops=np.zeros(1, np.int64))
    found = collect_candidates(CandidateSources(nobody, best, statistics), new_seen_index(len(CATALOGUE)))

    assert set(items_of(found, 0)) == {*best.items[0].tolist(), *statistics.popular.tolist()}


def items_of(found: Candidates, n: int) -> list[int]:
    items: list[int] = found.items[found.starts[n] : found.starts[n + 1]].tolist()
    return items


def features_by_hand(
    recent: RecentActions, best: NetworkBest, statistics: ItemStatistics, n: int
) -> dict[int, dict[str, float]]:
    """Features by item, in the order in which the items become candidates."""
    window = range(max(int(recent.starts[n]), int(recent.stops[n]) - RECENT_LENGTH), int(recent.stops[n]))
    fields = unpack_contexts(recent.contexts)
    actions = [(int(recent.items[at]), at) for at in window if recent.items[at] >= 0]
    own = list(dict.fromkeys(item for item, _ in reversed(actions)))
    found: dict[int, dict[str, float]] = {}

    def enter(item: int) -> dict[str, float]:
        return found.setdefault(item, dict.fromkeys(FEATURES, 0.0))

    for item in best.items[n].tolist():
        enter(item)
    for slot, item in enumerate(own):
        last = max(at for other, at in actions if other == item)
        enter(item).update(
            own=1.0,
            own_recency=1 / (1 + slot),
            own_count=math.log1p(sum(other == item for other, _ in actions)),
            own_last=float(slot == 0),
            own_bought=float(fields.types[last] == 2),
            own_session=float(not any(fields.boundaries[at] for at in window if at > last)),
        )
    for (older, _), (newer, _) in pairwise(actions):
        if older == own[0]:
            enter(newer)["own_next"] = 1.0
        if newer == own[0]:
            enter(older)["own_previous"] = 1.0
    for slot, item in enumerate(own[:6]):
        name = ("last", "second", "earlier")[min(slot, 2)]
        tables = (
            (statistics.followers, FOLLOWERS_ENTER, "followed"),
            (statistics.predecessors, PREDECESSORS_ENTER, "preceded"),
        )
        for table, entering, prefix in tables:
            left = entering[slot]
            for other, share in row(table, item):
                if other not in found and left == 0:
                    continue
                left -= other not in found
                enter(other)[f"{prefix}_{name}"] += share
    for item in statistics.popular.tolist():
        enter(item)
    if own and statistics.categories[own[0]]:
        for other, _ in row(statistics.popular_alike, int(statistics.categories[own[0]])):
            enter(other)
    logits = best.vectors @ best.queries[n]
    log_p = logits - math.log(np.exp(logits).sum())
    blend = np.sum([best.vectors[item] / (1 + slot) for slot, item in enumerate(own[:6])], 0)
    last_at = window[-1]
    for item, features in found.items():
        features["log_probability"] = max(float(log_p[item]), -20) / 4
        for name in [name for name in FEATURES if name.startswith(("followed", "preceded"))]:
            features[name] = math.log1p(1000 * features[name]) / 3
        category, brand = int(statistics.categories[item]), int(statistics.brands[item])
        if own and category:
            features["same_category"] = float(category == statistics.categories[own[0]])
            features["category_share"] = sum(statistics.categories[other] == category for other in own) / len(own)
        if own and brand:
            features["same_brand"] = float(brand == statistics.brands[own[0]])
        features.update(
            like_latest=float(best.vectors[item] @ blend / np.linalg.norm(blend)) if own else 0.0,
            like_last=cosines(best.vectors, item, own[:1]),
            like_second=cosines(best.vectors, item, own[1:2]),
            popularity=float(statistics.popularity[item]),
            trend=float(statistics.trend[item]),
            history=math.log1p(len(actions)) / 3.5,
            repeats=1 - len(own) / max(1, len(actions)),
            certainty=float(log_p.max()) / 4,
            gap=float(fields.gaps[last_at]) / 31,
            boundary=float(fields.boundaries[last_at]),
        )
    return found


def cosines(vectors: np.ndarray, item: int, others: list[int]) -> float:
    return sum(float(vectors[item] @ vectors[other] / np.linalg.norm(vectors[other])) for other in others)


def row(of: Neighbours, index: int) -> list[tuple[int, float]]:
    entries = slice(of.starts[index], of.starts[index + 1])
    return list(zip(of.items[entries].tolist(), of.shares[entries].tolist(), strict=True))
