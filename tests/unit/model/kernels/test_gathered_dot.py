"""Products of wanted rows with other vectors: NumPy's matrix product is the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from model.kernels.gathered_dot import FOUR, multiply_by_four, multiply_by_one


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 7, 8, 30])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 32, 100, 128])
def test_multiplies_rows_with_four_others(width: int, count: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.standard_normal((50, width)).astype(np.float32)
    others = rng.standard_normal((FOUR, width)).astype(np.float32)
    wanted = rng.integers(0, 50, count).astype(np.int32)
    products = np.full((count + 1, FOUR), 9, np.float32)
    multiply_by_four(rows, wanted, others, products[:count])
    np.testing.assert_allclose(products[:count], rows[wanted].astype(np.float64) @ others.T, rtol=1e-5, atol=1e-5)
    assert (products[count] == 9).all()


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 32, 40])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 32, 100, 128])
def test_multiplies_rows_with_another(width: int, count: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.standard_normal((50, width)).astype(np.float32)
    other, wanted = rng.standard_normal(width).astype(np.float32), rng.integers(0, 50, count).astype(np.int32)
    products = np.full(count + 1, 9, np.float32)
    multiply_by_one(rows, wanted, other, products[:count])
    np.testing.assert_allclose(products[:count], rows[wanted].astype(np.float64) @ other, rtol=1e-5, atol=1e-5)
    assert products[count] == 9
