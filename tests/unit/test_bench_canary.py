"""The canary's errors by simulation: what is five points worse is found out in time, what is equal is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.canary import SHOPS, taken_back_after


@pytest.mark.parametrize("shop", SHOPS)
def test_a_version_that_is_five_points_worse_is_taken_back_within_ten_minutes(shop: str) -> None:
    randomness = np.random.default_rng(1)
    assert sum(taken_back_after(SHOPS[shop], 0.05, randomness) is not None for _ in range(40)) >= 36


@pytest.mark.parametrize("shop", SHOPS)
def test_an_equal_version_is_hardly_ever_blamed(shop: str) -> None:
    randomness = np.random.default_rng(2)
    assert sum(taken_back_after(SHOPS[shop], 0.0, randomness) is not None for _ in range(60)) <= 2
