"""Which version is worse in production, and whether that may be chance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from model.serving.canary import HitCounts, regression_message, total
from stream_app.settings import Settings
from stream_app.trainer.rollback_watch import RollbackWatch
from stream_app.versions.canary_reports import KEY, CanaryReport, decode_canary_report
from stream_app.versions.promotions import CHAMPION, Promotion, VersionRef, encode_promotion, promoted_after
from tests.unit.builders.versions import NOON


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


def test_places_count_too() -> None:
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
            found = rng.binomial(events, rng.beta(2, 2, users))
            sides.append(HitCounts(int(events.sum()), int(found.sum()), float(found.sum())))
        blamed += regression_message(sides[0], sides[1], 0.01) is not None
    assert blamed <= 0.05 * 300


def test_workers_add_up() -> None:
    assert total([HitCounts(3, 2, 1.5), HitCounts(5, 1, 0.5)]) == HitCounts(8, 3, 2.0)
    assert total([]) == HitCounts()


@pytest.mark.parametrize("value", [None, b"", b"no json", b"{}"])
def test_what_is_no_trial_is_none(value: bytes | None) -> None:
    assert decode_canary_report(value) is None


def record(key: bytes, value: bytes) -> Any:
    return SimpleNamespace(key=key, value=value)


def reported(worker: str, version: str, before: str, new: HitCounts, old: HitCounts) -> Any:
    trial = CanaryReport(worker=worker, version=version, before=before, new=new, old=old)
    return record(KEY + worker.encode(), msgspec.json.encode(trial))


def promoted(name: str, after: Promotion | None) -> Promotion:
    return promoted_after(after, VersionRef(version=name, path=name, manifest_sha256=""), {}, NOON)


def test_only_reports_on_the_champion_and_its_predecessor_count() -> None:
    first = promoted("first", None)
    second = promoted("second", first)
    verdict = RollbackWatch(Settings(), SimpleNamespace(), lambda: 0.0)  # type: ignore[arg-type]
    verdict.add([record(CHAMPION, encode_promotion(first)), record(CHAMPION, encode_promotion(second))])
    bad, good = hits(900, 0.1), hits(100, 0.5)
    verdict.add([reported("a", "second", "zeroth", bad, good), reported("b", "first", "second", bad, good)])
    assert verdict.regression_message() is None
    verdict.add([reported("a", "second", "first", bad, hits(60, 0.5))])
    assert verdict.regression_message() is None
    verdict.add([reported("b", "second", "first", bad, hits(60, 0.5))])
    assert "on 1,800 events" in (verdict.regression_message() or "")
    verdict.add([record(CHAMPION, encode_promotion(promoted("third", second)))])
    assert verdict.regression_message() is None
