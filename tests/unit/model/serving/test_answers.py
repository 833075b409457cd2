"""The most probable actions by an answer: a loop over Python lists is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import EVENT_TYPES, SEARCH
from model.serving.answers import Answers, next_actions, ranked_keys

TYPES = len(EVENT_TYPES)


def make_answers(seed: int, n: int, k: int, missing: int) -> Answers:
    random = np.random.default_rng(seed)
    items = np.tile(np.arange(k), (n, 1))
    items[:, k - missing :] = -1
    on_item = random.dirichlet(np.ones(TYPES), (n, k)).astype(np.float32)
    on_item[..., SEARCH] = 0
    on_item[items < 0] = 0
    shares = -np.sort(-random.dirichlet(np.ones(k + 1), n)[:, :k], 1) if k else np.zeros((n, 0))
    return Answers(
        version="v",
        names=[f"item {i}" for i in range(k)],
        items=items,
        probabilities=np.where(items < 0, 0, shares).astype(np.float32),
        next_type=random.dirichlet(np.ones(TYPES), n).astype(np.float32),
        type_given_item=on_item,
        purchase=random.random(n, np.float32),
    )


@given(st.integers(0, 2**32), st.integers(0, 3), st.integers(1, 4), st.integers(0, 2), st.integers(1, 50))
def test_next_actions_are_the_most_probable_pairs(seed: int, n: int, k: int, missing: int, count: int) -> None:
    answers = make_answers(seed, n, k, min(missing, k))
    types, columns, probabilities = next_actions(answers, count)
    for row in range(n):
        oracle = {(SEARCH, -1): float(answers.next_type[row, SEARCH])}
        for column in range(k):
            for code in set(range(TYPES)) - {SEARCH}:
                of_item = answers.probabilities[row, column] * answers.type_given_item[row, column, code]
                oracle[code, column] = float((1 - answers.next_type[row, SEARCH]) * of_item)
        best = sorted(oracle.values(), reverse=True)[:count]
        assert probabilities[row].tolist()[: len(best)] == pytest.approx(best, abs=1e-6)
        actions = list(zip(types[row].tolist(), columns[row].tolist(), strict=True))
        for pair, probability in zip(actions, probabilities[row].tolist(), strict=True):
            assert probability == pytest.approx(oracle.get(pair, 0.0), abs=1e-6)
        assert len(set(actions)) == len(actions)


@pytest.mark.parametrize("count", [1, 3, 50])
@pytest.mark.parametrize("part", ["next_type", "probabilities", "type_given_item"])
def test_a_number_that_is_none_leaves_no_probability(part: str, count: int) -> None:
    for item in range(4):
        answers = make_answers(1, 2, 4, 0)
        place = {"next_type": SEARCH, "probabilities": item, "type_given_item": (item, 0)}[part]
        getattr(answers, part)[1][place] = np.nan
        _, _, probabilities = next_actions(answers, count)
        assert np.isnan(probabilities[1]).all()
        assert not np.isnan(probabilities[0]).any()


def test_ranked_items_have_their_keys_and_missing_ones_none() -> None:
    keys = np.array([7, 2**63, 9], np.uint64)
    items = np.array([[1, 0, -1], [-1, -1, -1], [2, 1, 0]])
    assert ranked_keys(items, keys).tolist() == [[2**63, 7, 0], [0, 0, 0], [9, 2**63, 7]]
    assert ranked_keys(items[:0], keys).shape == (0, 3)
