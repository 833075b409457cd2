"""The compiled pick of the highest scores of an answer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.search.shortlist import highest


@pytest.mark.parametrize("count", [20, 63, 64, 65, 130, 256])
def test_the_highest_come_first_and_of_equal_ones_the_first(count: int) -> None:
    scores = np.random.default_rng(count).integers(-9, 9, count).astype(np.float32)
    places, log_probabilities = picked(scores, np.float32(-1))
    order = np.argsort(-scores, kind="stable")[:20]
    np.testing.assert_array_equal(places, order)
    everything = np.append(scores, -1).astype(np.float64)
    expected = scores[order] - np.log(np.exp(everything).sum())
    np.testing.assert_allclose(log_probabilities, expected, atol=1e-4)


@pytest.mark.parametrize("broken", [1, 150, 200])
def test_scores_that_are_no_numbers_leave_no_probability(broken: int) -> None:
    scores = np.random.default_rng(1).normal(size=200).astype(np.float32)
    scores[:broken] = np.nan
    assert np.isnan(picked(scores, np.float32(0))[1]).all()


def picked(scores: NDArray[np.float32], outside: np.float32) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where the 20 highest lie, and their log-probabilities."""
    places, log_probabilities = np.zeros(20, np.int64), np.zeros(20, np.float32)
    highest(scores, outside, places, log_probabilities)
    return places, log_probabilities
