"""Holdouts in chunks, ranks in lists, and the metrics by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.data.events import item_key
from model.evaluation.ranking import MISSED, Holdout, RankedTargets, rank_all, ranking, ranks_in_lists
from tests.unit.builders.sequences import examples, random_users, rows, sequences


def test_metrics_of_ranks_by_hand() -> None:
    found = ranking(np.array([1, 3, 7, MISSED]))
    assert found.recall == {1: 0.25, 5: 0.5, 10: 0.75, 20: 0.75}
    assert found.mrr[20] == pytest.approx((1 + 1 / 3 + 1 / 7) / 4)
    assert found.ndcg[5] == pytest.approx((1 + 1 / 2) / 4)
    assert found.ndcg[20] == pytest.approx((1 + 1 / 2 + 1 / math.log2(8)) / 4)
    assert set(ranking(np.zeros(0, np.int64)).mrr.values()) == {0.0}


def test_lists_rank_by_position_and_miss_what_they_do_not_have() -> None:
    found = ranks_in_lists(rows("abc", "abc", ""), np.array([item_key(item) for item in "cza"], np.uint64))
    assert found.ranks.tolist() == [3, MISSED, MISSED]


def pasts(holdout: Holdout) -> list[list[int]]:
    """The items of each user up to the target, the target's too."""
    ends = zip(holdout.starts.tolist(), holdout.positions.tolist(), strict=True)
    return [holdout.sequences.item_keys[start : position + 1].tolist() for start, position in ends]


def test_chunks_are_the_same_targets_with_the_same_past() -> None:
    whole = sequences(*random_users(1))
    steps = np.flatnonzero(whole.has_next) + 1
    holdout = Holdout(whole, steps[steps % 3 != 0])
    for most in (1, 7, 10_000):
        chunks = list(holdout.chunks(most))
        assert len(chunks) == 1 or len(chunks) > len(holdout) / (most + 9)
        assert [past for chunk in chunks for past in pasts(chunk)] == pasts(holdout)


def test_all_chunks_are_ranked_with_progress() -> None:
    class Last:
        def rank(self, holdout: Holdout) -> RankedTargets:
            return RankedTargets(holdout.positions - holdout.starts, np.zeros((len(holdout), 20), np.uint64))

    holdout = examples(*["a" * (1 + n % 7) + "b" for n in range(9000)])
    done: list[int] = []
    assert rank_all(Last(), holdout, done.append).ranks.tolist() == [1 + n % 7 for n in range(9000)]
    assert len(done) == 3
    assert done[-1] == 9000
