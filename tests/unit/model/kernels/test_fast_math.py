"""The compiled exponential and logarithm: NumPy's in float64 are the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.kernels.fast_math import fast_exp, fast_log


@given(st.floats(-87, 88, width=32))
def test_an_exponential_is_within_a_hundred_thousandth(x: float) -> None:
    assert fast_exp(np.float32(x)) == pytest.approx(np.exp(np.float64(x)), rel=1e-5)


@pytest.mark.parametrize("x", [-87.0, -0.34657359, 0.0, 0.34657359, 88.0])
def test_an_exponential_is_as_near_where_two_powers_of_two_meet(x: float) -> None:
    assert fast_exp(np.float32(x)) == pytest.approx(np.exp(np.float64(np.float32(x))), rel=1e-5)


@given(st.floats(2.0**-126, 2.0**127, width=32))
def test_a_logarithm_is_within_a_millionth(x: float) -> None:
    assert fast_log(np.float32(x)) == pytest.approx(np.log(np.float64(x)), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("x", [0.5, 0.70710677, 0.7071068, 0.99999994, 1.0, 1.0000001, 1.4142135, 1.4142137, 2.0])
def test_a_logarithm_is_as_near_where_two_powers_of_two_meet(x: float) -> None:
    assert fast_log(np.float32(x)) == pytest.approx(np.log(np.float64(np.float32(x))), rel=1e-6, abs=1e-6)


def test_the_logarithm_of_one_is_zero() -> None:
    assert fast_log(np.float32(1)) == 0
