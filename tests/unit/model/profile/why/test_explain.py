"""Reasons by a compiled loop, against a plain choice among the scores that PyTorch computes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import FEATURES
from model.fusion.fusion import FusionRanking
from model.profile.why.explain import NO_REASON, explain, explain_weights, joined_reasons
from model.profile.why.left_out import AGES, AT_ONCE, TERMS
from model.profile.why.reasons import CODES, ReasonWeights
from tests.unit.builders.basics import drawn_combiner
from tests.unit.builders.candidates import CATALOGUE, asked_after, random_log, ranking_of
from tests.unit.builders.left_out import left_out_of

GROUPS = {
    "goes_with": (
        "preceded",
        "followed_last",
        "followed_second",
        "followed_earlier",
        "followed_late",
        "own_next",
        "own_p",
    ),
    "bought_together": ("followed_intent",),
    "like_what_you_view": ("log_probability", "like"),
    "category": ("same", "category_share"),
}
LOG, VOCABULARY = random_log(1), Vocabulary(CATALOGUE)
COMBINER = drawn_combiner(3)
WEIGHTS = ReasonWeights(
    np.random.default_rng(4).normal(size=(AGES, TERMS), scale=0.1).tolist(),
    np.random.default_rng(5).normal(size=len(FEATURES)).tolist(),
)


@cache
def ranking() -> FusionRanking:
    return ranking_of(LOG, VOCABULARY, seed=2, combiner=COMBINER)


def test_reasons_are_what_the_score_would_lose_most_without() -> None:
    recent, best = asked_after(LOG, VOCABULARY, range(0, len(LOG), 23), seed=2)
    sources = ranking().sources(recent, best)
    latest = ranking().live.arrays.numbers[sources.rows[recent.stops - 1]]
    items: NDArray[np.int64] = np.column_stack((best.items[:, :4], latest)).astype(np.int64)
    weights = explain_weights(WEIGHTS)
    reasons = explain(sources, items, ranking().weights, weights)

    seen = set()
    for n in range(len(items)):
        for first in range(0, items.shape[1], AT_ONCE):
            of_block = [int(item) for item in items[n, first : first + AT_ONCE] if item >= 0]
            if not of_block:
                continue
            features, own = left_out_of(sources, n, [*of_block, *[-1] * (AT_ONCE - len(of_block))], weights.network)
            for j, item in enumerate(of_block):
                expected = plain(features[:, j], own, item)
                got = reasons.codes[n, first + j], reasons.items[n, first + j], reasons.weights[n, first + j]
                there = sum(code != NO_REASON for code in got[0].tolist())
                assert [CODES[code] for code in got[0][:there]] == [code for code, _, _ in expected]
                assert got[1][:there].tolist() == [number for _, number, _ in expected]
                assert got[2][:there].tolist() == pytest.approx([weight for _, _, weight in expected], abs=1e-3)
                assert got[2].sum() <= 1 + 1e-5
                seen |= {code for code, _, _ in expected}
    assert seen >= {"viewed", "goes_with", "popular_now", "like_what_you_view", "category"}


def plain(features: np.ndarray, own: list[int], item: int) -> list[tuple[str, int, float]]:
    """The reasons of an item with columns of features (F, O + 3)."""
    with torch.inference_mode():
        scores = COMBINER(torch.from_numpy(np.ascontiguousarray(features))).numpy()
    drops = [max(0.0, float(scores[0] - score)) for score in scores[1:]]
    total, found = sum(drops) + 1e-6, []
    for place in sorted(range(len(drops)), key=lambda place: -drops[place])[:3]:
        if drops[place] / total < 0.02:
            break
        if place == len(drops) - 1:
            code, number = "popular_now", -1
        elif place == len(drops) - 2:
            code, number = "searched_for", -1
        else:
            code, number = code_of(features[:, 0] - features[:, 1 + place]), own[place]
        found.append(("viewed" if number == item else code, number, drops[place] / total))
    return found


def code_of(losses: np.ndarray) -> str:
    by_group = {}
    for code, names in GROUPS.items():
        rows = [row for row, name in enumerate(FEATURES) if name.startswith(names) and name != "followed_query"]
        if (losses[rows] > 0).any():  # what is not less without the own item says nothing
            by_group[code] = sum(WEIGHTS.slopes[row] * losses[row] for row in rows)
    return max(by_group, key=lambda code: by_group[code], default="like_what_you_view")


def test_answers_without_own_items_or_without_items_have_no_other_reason_than_popularity() -> None:
    recent, best = asked_after(LOG, VOCABULARY, [3, 9], seed=2)
    nobody = recent._replace(starts=recent.stops)
    items = np.array([[5, 6, 7], [-1, -1, -1]])
    reasons = explain(ranking().sources(nobody, best), items, ranking().weights, explain_weights(WEIGHTS))
    assert set(reasons.codes[0].ravel().tolist()) <= {NO_REASON, CODES.index("popular_now")}
    assert (reasons.codes[1] == NO_REASON).all()
    assert (reasons.items == -1).all()


def test_shards_are_joined_in_order() -> None:
    recent, best = asked_after(LOG, VOCABULARY, range(10, 30), seed=2)
    sources, weights = ranking().sources(recent, best), explain_weights(WEIGHTS)
    items = best.items[:, :3].copy()
    whole = explain(sources, items, ranking().weights, weights)
    halves = [
        explain(sources.select(rows), items[rows], ranking().weights, weights) for rows in (slice(0, 7), slice(7, 20))
    ]
    for one, other in zip(whole, joined_reasons(halves), strict=True):
        np.testing.assert_array_equal(one, other)
