"""Masks of the numbers that reach a threshold, and walks along their bits: NumPy is the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.kernels.bitmask import WIDTH, mask_ge, mask_gt, popcount, trailing_zeros
from model.kernels.compiled import compiled


@compiled
def indices(mask: np.uint64, start: int) -> list[int]:
    listed = [0][:0]
    while mask:
        listed.append(start + trailing_zeros(mask))
        mask &= mask - np.uint64(1)
    return listed


@compiled
def masks(values: NDArray[np.float32], start: int, threshold: np.float32) -> tuple[np.uint64, np.uint64]:
    return mask_ge(values, start, threshold), mask_gt(values, start, threshold)


@compiled
def count(mask: np.uint64) -> int:
    return int(popcount(mask))


@given(
    st.lists(st.floats(-4, 4, width=16), min_size=WIDTH + 3, max_size=WIDTH + 3),
    st.integers(0, 3),
    st.floats(-4, 4, width=16),
)
def test_masks_tell_what_reaches_a_threshold_or_passes_it(values: list[float], start: int, threshold: float) -> None:
    numbers, limit = np.array([*values, threshold], np.float32)[::-1].copy(), np.float32(threshold)
    compared = numbers[start : start + WIDTH]
    for mask, expected in zip(masks(numbers, start, limit), (compared >= limit, compared > limit), strict=True):
        assert indices(np.uint64(mask), start) == (start + np.flatnonzero(expected)).tolist()
        assert count(np.uint64(mask)) == expected.sum()
