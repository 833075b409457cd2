"""Numbers as JSON: Python's own formatting is the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.json_numbers import integer, probability


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_are_written(value: int) -> None:
    out = np.zeros(30, np.uint8)
    end = integer(out, 3, value)
    assert out.tobytes() == bytes(3) + str(value).encode() + bytes(30 - end)


@given(st.integers(0, 1_000_000), st.floats(-0.49, 0.49))
def test_probabilities_have_six_decimals(micro: int, rest: float) -> None:
    out = np.zeros(20, np.uint8)
    assert probability(out, 3, (micro + rest) / 1_000_000) == 11
    assert out.tobytes() == bytes(3) + f"{micro // 1_000_000}.{micro % 1_000_000:06}".encode() + bytes(9)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.5e-6 - 1e-12, 1 + 0.5e-6, 2.0, -1.0])
def test_what_is_not_a_probability_is_not_written(value: float) -> None:
    out = np.zeros(20, np.uint8)
    assert probability(out, 3, value) == -1
    assert not out.any()
