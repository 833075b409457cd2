"""Bits of the numbers that reach a threshold: a comparison by NumPy is the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.compiled import compiled
from model.masks import WIDTH, lowest, reaching


@compiled
def places(values: NDArray[np.float32], start: int, threshold: np.float32) -> list[int]:
    found = [0][:0]
    mask = reaching(values, start, threshold)
    while mask:
        found.append(start + lowest(mask))
        mask &= mask - np.uint64(1)
    return found


@given(
    st.lists(st.floats(-4, 4, width=16), min_size=WIDTH + 3, max_size=WIDTH + 3),
    st.integers(0, 3),
    st.floats(-4, 4, width=16),
)
def test_finds_what_reaches_a_threshold(values: list[float], start: int, threshold: float) -> None:
    numbers = np.array(values, np.float32)
    expected = start + np.flatnonzero(numbers[start : start + WIDTH] >= np.float32(threshold))
    assert places(numbers, start, np.float32(threshold)) == expected.tolist()
