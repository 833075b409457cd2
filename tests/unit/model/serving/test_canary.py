"""Which version is worse in production, and whether that may be chance."""

from __future__ import annotations

import numpy as np
import pytest

from model.serving.canary import Arm, Canary, HitCounts, evidence, regression_message, total, total_arm
from model.serving.hit_moments import HitMoments
from stream_app.versions.canary_reports import decode_canary_report


def hits(scored: int, share: float) -> Arm:
    return Arm.of(HitCounts(scored, round(scored * share), round(scored * share) / 2), None)


def test_a_version_that_is_far_worse_is_found_out_early() -> None:
    assert regression_message(hits(900, 0.1), hits(300, 0.5), 0.01)
    assert regression_message(hits(900, 0.1), hits(99, 0.5), 0.01) is None


def test_a_better_one_and_an_equal_one_are_left_alone() -> None:
    assert regression_message(hits(90_000, 0.5), hits(10_000, 0.4), 0.01) is None
    assert regression_message(hits(90_000, 0.5), hits(10_000, 0.5), 0.01) is None


def test_a_little_worse_is_worse_only_beyond_chance_and_margin() -> None:
    assert regression_message(hits(900, 0.40), hits(100, 0.44), 0.01) is None
    assert regression_message(hits(900_000, 0.40), hits(100_000, 0.44), 0.01)
    assert regression_message(hits(900_000, 0.40), hits(100_000, 0.44), 0.05) is None


def test_ranks_count_too() -> None:
    worse, before = HitCounts(9000, 4500, 500.0), HitCounts(1000, 500, 300.0)
    assert "MRR@20" in (regression_message(Arm.of(worse, None), Arm.of(before, None), 0.01) or "")


def test_users_of_another_version_are_others() -> None:
    users = [f"user {n}" for n in range(2000)]
    first, again, other = (Canary(None, 0.1, salt).stays(users) for salt in ("v1/", "v1/", "v2/"))  # type: ignore[arg-type]
    assert np.array_equal(first, again)
    assert 150 < first.sum() < 250
    assert (first & other).sum() < 50


def test_evidence_is_the_mean_likelihood_ratio_over_drops() -> None:
    """By numbers: against a sum over many drops, each as likely as the mixture says."""
    drops = (np.arange(200_000) + 0.5) * 2e-6 * 5
    weights = np.exp(-0.5 * (drops / 0.05) ** 2)
    weights /= weights.sum()
    for drop, variance in ((0.03, 1e-4), (-0.02, 1e-4), (0.0, 1e-5), (0.05, 4e-4)):
        ratio = np.exp((drop * drops - drops**2 / 2) / variance)
        assert evidence(drop, variance) == pytest.approx(float((weights * ratio).sum()), rel=1e-3)
    assert evidence(1.0, 1e-9) > 1e100, "and it stays a number"


@pytest.mark.parametrize("workers", [1, 3])
def test_the_variance_is_that_of_drawing_users_again(workers: int) -> None:
    rng = np.random.default_rng(workers)
    events = rng.integers(1, 30, 400)
    correct = rng.binomial(events, rng.beta(2, 2, 400))
    reciprocals = correct * 0.5
    arms = [
        Arm(
            HitCounts(int(n.sum()), int(h.sum()), float(r.sum())),
            HitMoments(len(n), (n * n).sum(), (h * n).sum(), (h * h).sum(), (r * n).sum(), (r * r).sum()),
        )
        for n, h, r in zip(*(np.array_split(column, workers) for column in (events, correct, reciprocals)), strict=True)
    ]
    whole, draws = total_arm(arms), rng.integers(0, 400, (4000, 400))
    drawn = correct[draws].sum(1) / events[draws].sum(1)
    variance = whole.variance(whole.counts.recall, whole.moments.hn, whole.moments.hh)
    assert variance == pytest.approx(drawn.var(), rel=0.1)
    of_ranks = whole.variance(whole.counts.mrr, whole.moments.rn, whole.moments.rr)
    assert of_ranks == pytest.approx(drawn.var() / 4, rel=0.1)


def test_one_user_proves_nothing() -> None:
    crowd = Arm(HitCounts(10_000, 9_000, 9_000.0), HitMoments(19, 1e6, 1e6, 1e6, 1e6, 1e6))
    assert regression_message(hits(90_000, 0.1), crowd, 0.01) is None


def test_workers_add_up() -> None:
    assert total([HitCounts(3, 2, 1.5), HitCounts(5, 1, 0.5)]) == HitCounts(8, 3, 2.0)
    assert total([]) == HitCounts()


@pytest.mark.parametrize("value", [None, b"", b"no json", b"{}"])
def test_a_record_that_is_not_a_report_is_none(value: bytes | None) -> None:
    assert decode_canary_report(value) is None
