"""Shares and their intervals; drawing users again and again says about the same."""

from __future__ import annotations

import numpy as np
import pytest

from stream_app.sandbox.story.outcomes import NAMES, TELLERS, Outcome, Outcomes, Share, difference_of, share_of


def outcome(user: str, *, nextact: bool = False, rival: bool = False, category: str = "", **flags: bool) -> Outcome:
    given = {"new_user": False, "new_item": False, "by_rules": False, "listed": True} | flags
    return Outcome(user, category, found={"nextact": nextact, "rival": rival}, **given)


def test_an_interval_is_about_that_of_drawing_users_again() -> None:
    rng = np.random.default_rng(1)
    chances = rng.beta(2, 3, 400)  # users differ
    counts = rng.integers(1, 12, 400)
    users = np.repeat(np.arange(400), counts)
    hits = (rng.random(len(users)) < chances[users]).astype(np.float64)
    share = share_of(hits, users)
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


def test_an_interval_of_targets_that_hang_on_nothing_is_wilsons() -> None:
    share = share_of(np.array([1.0] * 8 + [0.0] * 2), np.arange(10))
    assert [share.low, share.high] == pytest.approx([0.49, 0.943], abs=0.03)  # Wilson, 8 of 10


def test_little_says_little() -> None:
    assert share_of(np.zeros(0), np.zeros(0, np.int64)) == Share(0.0, 0.0, 1.0, 0)
    for hits in (np.ones(3), np.zeros(3)):
        one, three = share_of(hits, np.zeros(3, np.int64)), share_of(hits, np.arange(3))
        assert one.high - one.low > three.high - three.low > 0.5
        assert one.low <= one.mean <= one.high
    assert share_of(np.zeros(1000), np.arange(1000)).high < 0.004
    alike = share_of(np.tile([1.0, 0.0], 50), np.repeat(np.arange(50), 2))  # each user hits every other time
    assert alike.high - alike.low > 0.15


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(200), 5)
    ours = (rng.random(1000) < 0.5).astype(np.float64)
    theirs = np.where(rng.random(1000) < 0.05, 0.0, ours)
    gain = difference_of(ours - theirs, users)
    assert 0 < gain.low < gain.mean < gain.high < 0.05
    assert difference_of(np.ones(3), np.zeros(3, np.int64)) == Share(1.0, -1.0, 1.0, 3)
    assert difference_of(np.zeros(0), np.zeros(0, np.int64)) == Share(0.0, -1.0, 1.0, 0)


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
