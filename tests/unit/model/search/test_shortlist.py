"""The compiled searches: NumPy's sort of exact products, or of an answer's scores, is the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from model.kernels.compiled import Floats
from model.search.shortlist import GROUP, SearchRequest, SearchResult, rank_highest, search

K = 20
STEP = np.float32(1e-3)  # logits per unit of a coarse score


def searched(vectors: Floats, queries: Floats, errors: Floats, bound: float) -> SearchResult:
    """What is found when coarse logits (N, I) are wrong by these errors, and the bound is said to be so large."""
    n, k = len(queries), min(K, len(vectors) // GROUP)
    scores = np.rint((queries @ vectors.T + errors) / STEP).astype(np.int32)
    scales, bounds = np.full(n, STEP), np.full(n, bound + STEP, np.float32)
    result = SearchResult(np.zeros((n, k), np.int64), np.zeros((n, k), np.float32), np.zeros(n, np.bool_))
    search(scores, np.ones(len(vectors), np.float32), vectors, SearchRequest(queries, scales, bounds), result, 0)
    return result


@pytest.mark.parametrize("items", [16, 320, 333, 1000])
@pytest.mark.parametrize("error", [0.0, 0.05, 0.3])
def test_coarse_scores_may_be_wrong_by_as_much_as_their_bound(items: int, error: float) -> None:
    rng = np.random.default_rng(items)
    vectors, queries = (rng.standard_normal((n, 16)).astype(np.float32) for n in (items, 30))
    errors = rng.choice([-error, error], (30, items)).astype(np.float32)
    result = searched(vectors, queries, errors, error)
    exact = queries @ vectors.T
    wanted = -np.sort(-exact, 1)[:, : result.items.shape[1]]
    sure = ~result.overflowed
    assert sure.all()
    np.testing.assert_allclose(np.take_along_axis(exact, result.items, 1), wanted, atol=1e-5)
    if not error:
        total = np.log(np.exp(exact.astype(np.float64)).sum(1, keepdims=True))
        np.testing.assert_allclose(result.log_probabilities, wanted - total, atol=0.01)


def test_a_bound_that_leaves_nearly_all_items_possible_overflows() -> None:
    rng = np.random.default_rng(1)
    vectors, queries = (rng.standard_normal((n, 16)).astype(np.float32) for n in (1000, 3))
    errors = np.zeros((3, 1000), np.float32)
    assert searched(vectors, queries, errors, 100).overflowed.all()
    assert not searched(vectors, queries, errors, 0.1).overflowed.any()


@pytest.mark.parametrize("count", [20, 63, 64, 65, 130, 256])
def test_the_highest_come_first_and_of_equal_ones_the_first(count: int) -> None:
    scores = np.random.default_rng(count).integers(-9, 9, count).astype(np.float32)
    result = highest_of(scores, np.float32(-1))
    order = np.argsort(-scores, kind="stable")[:K]
    np.testing.assert_array_equal(result.items[0], order)
    everything = np.append(scores, -1).astype(np.float64)
    expected = scores[order] - np.log(np.exp(everything).sum())
    np.testing.assert_allclose(result.log_probabilities[0], expected, atol=1e-4)


@pytest.mark.parametrize("scale", np.linspace(8, 16, 9).tolist())
def test_an_item_that_stands_alone_is_not_more_than_certain(scale: float) -> None:
    vectors = np.tile(np.eye(8, dtype=np.float32)[:1], (321, 1))
    vectors[7] *= -1
    queries = np.float32(scale) * vectors[7:8]
    result = searched(vectors, queries, np.zeros((1, 321), np.float32), 0.01)
    assert result.items[0, 0] == 7
    assert -1e-3 < result.log_probabilities[0, 0] <= 0
    alone = np.full(320, -30, np.float32)
    alone[3] = scale
    assert highest_of(alone, np.float32(-30)).log_probabilities[0, 0] <= 0


@pytest.mark.parametrize("broken", [1, 150, 200])
def test_scores_that_are_not_numbers_leave_no_probability(broken: int) -> None:
    scores = np.random.default_rng(1).normal(size=200).astype(np.float32)
    scores[:broken] = np.nan
    assert np.isnan(highest_of(scores, np.float32(0)).log_probabilities).all()


def highest_of(scores: Floats, none_logit: np.float32) -> SearchResult:
    """The K highest of one answer's scores, with their log-probabilities."""
    result = SearchResult(np.zeros((1, K), np.int64), np.zeros((1, K), np.float32), np.zeros(1, np.bool_))
    rank_highest(scores, none_logit, result.items[0], result.log_probabilities[0])
    return result
