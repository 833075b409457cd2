"""The compiled exponential, and what it is for: NumPy's in float64 is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.exponential import exponential


@given(st.floats(-87, 88, width=32))
def test_is_within_a_hundred_thousandth(x: float) -> None:
    assert exponential(np.float32(x)) == pytest.approx(np.exp(np.float64(x)), rel=1e-5)


@pytest.mark.parametrize("x", [-87.0, -0.34657359, 0.0, 0.34657359, 88.0])
def test_is_so_at_the_ends(x: float) -> None:
    assert exponential(np.float32(x)) == pytest.approx(np.exp(np.float64(np.float32(x))), rel=1e-5)
