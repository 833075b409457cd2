"""Which version is worse in production, and whether that may be chance."""

from __future__ import annotations

import numpy as np
import pytest

from model.serving.canary import HitCounts, regression_message, total
from stream_app.versions.canary_reports import decode_canary_report


def hits(scored: int, share: float) -> HitCounts:
    return HitCounts(scored, round(scored * share), round(scored * share) / 2)


def test_a_version_that_is_far_worse_is_found_out_early() -> None:
    assert regression_message(hits(900, 0.1), hits(100, 0.5), 0.01)
    assert regression_message(hits(900, 0.1), hits(99, 0.5), 0.01) is None


def test_a_better_one_and_an_equal_one_are_left_alone() -> None:
    assert regression_message(hits(90_000, 0.5), hits(10_000, 0.4), 0.01) is None
    assert regression_message(hits(90_000, 0.5), hits(10_000, 0.5), 0.01) is None


def test_a_little_worse_is_worse_only_beyond_chance_and_margin() -> None:
    assert regression_message(hits(900, 0.40), hits(100, 0.44), 0.01) is None
    assert regression_message(hits(900_000, 0.40), hits(100_000, 0.44), 0.01)
    assert regression_message(hits(900_000, 0.40), hits(100_000, 0.44), 0.05) is None


def test_ranks_count_too() -> None:
    worse = HitCounts(9000, 4500, 500.0)
    assert "MRR@20" in (regression_message(worse, HitCounts(1000, 500, 300.0), 0.01) or "")


def test_equal_versions_are_hardly_ever_blamed() -> None:
    """Users whose events are alike, as real ones are: a purchase funnel hits again and again, or never."""
    rng = np.random.default_rng(1)
    blamed = 0
    for _ in range(300):
        sides = []
        for users in (180, 20):
            events = rng.integers(1, 30, users)
            correct = rng.binomial(events, rng.beta(2, 2, users))
            sides.append(HitCounts(int(events.sum()), int(correct.sum()), float(correct.sum())))
        blamed += regression_message(sides[0], sides[1], 0.01) is not None
    assert blamed <= 0.05 * 300


def test_workers_add_up() -> None:
    assert total([HitCounts(3, 2, 1.5), HitCounts(5, 1, 0.5)]) == HitCounts(8, 3, 2.0)
    assert total([]) == HitCounts()


@pytest.mark.parametrize("value", [None, b"", b"no json", b"{}"])
def test_a_record_that_is_not_a_report_is_none(value: bytes | None) -> None:
    assert decode_canary_report(value) is None
