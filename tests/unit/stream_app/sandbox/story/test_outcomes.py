"""Shares and their intervals; drawing users again and again says about the same."""

from __future__ import annotations

import numpy as np
import pytest

from stream_app.sandbox.story.outcomes import NAMES, TELLERS, Outcome, Outcomes, Share, share_of


def outcome(user: str, *, nextact: bool = False, rival: bool = False, category: str = "", **flags: bool) -> Outcome:
    given = {"new_user": False, "new_item": False, "by_rules": False, "listed": True} | flags
    return Outcome(user, category, found={"nextact": nextact, "rival": rival}, **given)


def test_an_interval_is_about_that_of_drawing_users_again() -> None:
    rng = np.random.default_rng(1)
    chances = rng.beta(2, 3, 400)  # users differ
    counts = rng.integers(1, 12, 400)
    users = np.repeat(np.arange(400), counts)
    hits = (rng.random(len(users)) < chances[users]).astype(np.float64)
    share = share_of(hits, users, 0.0, 1.0)
    sums = np.bincount(users, hits)
    means = []
    for _ in range(2000):
        drawn = rng.integers(0, 400, 400)
        means.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.percentile(means, [2.5, 97.5])
    assert share.mean == hits.mean()
    assert [share.low, share.high] == pytest.approx([low, high], abs=0.004)
    alone = 1.96 * np.sqrt(share.mean * (1 - share.mean) / len(hits))
    assert share.high - share.mean > 1.1 * alone, "as if targets of a user did not hang together"


def test_little_says_little() -> None:
    assert share_of(np.zeros(0), np.zeros(0, np.int64), 0.0, 1.0) == Share(0.0, 0.0, 1.0, 0)
    assert share_of(np.ones(3), np.zeros(3, np.int64), 0.0, 1.0) == Share(1.0, 0.0, 1.0, 3)
    assert share_of(np.ones(3), np.arange(3), 0.0, 1.0) == Share(1.0, 1.0, 1.0, 3)


def test_targets_are_counted_by_teller_flag_and_category() -> None:
    outcomes = Outcomes()
    outcomes.add(outcome("a", nextact=True, category="x", new_user=True))
    outcomes.add(outcome("b", rival=True, category="y", new_item=True, listed=False))
    outcomes.add(outcome("a", nextact=True, rival=True, category="x"))
    columns = outcomes.columns()
    assert (len(outcomes), outcomes.categories, columns.categories.tolist()) == (3, ["x", "y"], [0, 1, 0])
    assert columns.users.tolist() == [0, 1, 0]
    assert columns.hits("nextact").tolist() == [1, 0, 1]
    assert columns.hits("rival").tolist() == [0, 1, 1]
    assert columns.hits("rules").tolist() == [0, 0, 0]
    assert [columns.flag(bit).tolist() for bit in (0, 1, 3)] == [
        [True, False, False],
        [False, True, False],
        [True, False, True],
    ]
    assert columns.where(columns.flag(0)).share("nextact").mean == 1
    assert columns.gain("rival").mean == 0
    assert len(outcomes.columns(newest=2)) == 2
    assert outcomes.columns(newest=2).hits("nextact").tolist() == [0, 1]
    assert NAMES.keys() == set(TELLERS)
