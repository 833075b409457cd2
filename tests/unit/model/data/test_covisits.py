"""Pairs of actions that count as visited together, against two plain loops."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from model.data.covisits import COVISIT_WEIGHTS, COVISIT_WINDOW, covisit_pairs


@pytest.mark.parametrize("sizes", [[], [1], [3, 1, 0, 2], [40, 2, 15]])
def test_all_pairs_of_a_user_within_the_window_come_once(sizes: list[int]) -> None:
    users = np.repeat(np.arange(len(sizes)), sizes)
    pairs = [
        (gap, int(before), int(after))
        for gap, earlier, later in covisit_pairs(users)
        for before, after in zip(earlier, later, strict=True)
    ]
    ends = np.cumsum([0, *sizes]).tolist()
    expected = [
        (after - before, before, after)
        for start, stop in pairwise(ends)
        for after in range(start, stop)
        for before in range(max(start, after - COVISIT_WINDOW), after)
    ]
    assert sorted(pairs) == sorted(expected)


def test_a_pair_weighs_less_the_further_apart() -> None:
    assert list(COVISIT_WEIGHTS) == [1 / gap for gap in range(1, 11)]
