"""Which reports of the workers count against a champion."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from model.serving.canary import HitCounts
from stream_app.errors import VersionUnusable
from stream_app.settings import Settings
from stream_app.trainer import rollback_watch
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.trainer.rollback_watch import RollbackWatch
from stream_app.versions.canary_reports import KEY, CanaryReport
from stream_app.versions.promotions import CHAMPION, Promotion, VersionRef, encode_promotion, promoted_after
from tests.unit.builders.versions import NOON


def hits(scored: int, share: float) -> HitCounts:
    return HitCounts(scored, round(scored * share), round(scored * share) / 2)


SETTINGS = Settings()


def record(key: bytes, value: bytes, topic: str = SETTINGS.models_topic) -> Any:
    return SimpleNamespace(key=key, value=value, topic=topic)


def reported(
    worker: str, version: str, before: str, new: HitCounts, old: HitCounts, topic: str = SETTINGS.canary_topic
) -> Any:
    report = CanaryReport(worker=worker, version=version, before=before, new=new, old=old)
    return record(KEY + worker.encode(), msgspec.json.encode(report), topic)


def promoted(name: str, after: Promotion | None) -> Promotion:
    return promoted_after(after, VersionRef(version=name, manifest_sha256="0" * 64), {}, NOON)


def test_only_reports_on_the_champion_and_its_predecessor_count() -> None:
    first = promoted("first", None)
    second = promoted("second", first)
    watch = RollbackWatch(SETTINGS, SimpleNamespace(), lambda: 0.0)  # type: ignore[arg-type]
    watch.add(
        [record(CHAMPION, encode_promotion(first, "/models")), record(CHAMPION, encode_promotion(second, "/models"))]
    )
    bad, good = hits(900, 0.1), hits(300, 0.5)
    watch.add([reported("a", "second", "zeroth", bad, good), reported("b", "first", "second", bad, good)])
    assert watch.regression_message() is None
    watch.add([reported("a", "second", "first", bad, hits(180, 0.5))])
    assert watch.regression_message() is None
    watch.add([reported("b", "second", "first", bad, hits(180, 0.5))])
    assert "on 1,800 events" in (watch.regression_message() or "")
    watch.add([record(CHAMPION, encode_promotion(promoted("third", second), "/models"))])
    assert watch.regression_message() is None


def test_a_first_champion_cannot_be_rolled_back() -> None:
    watch = RollbackWatch(SETTINGS, SimpleNamespace(), lambda: 0.0)  # type: ignore[arg-type]
    assert watch.regression_message() is None, "there is no champion yet"
    watch.add([record(CHAMPION, encode_promotion(promoted("first", None), "/models"))])
    watch.add([reported("a", "first", "zeroth", hits(900, 0.1), hits(300, 0.5))])
    assert watch.regression_message() is None


def test_of_each_worker_only_the_newest_report_counts() -> None:
    watch, first = RollbackWatch(SETTINGS, SimpleNamespace(), lambda: 0.0), promoted("first", None)  # type: ignore[arg-type]
    watch.add(
        [record(CHAMPION, encode_promotion(promotion, "/models")) for promotion in (first, promoted("second", first))]
    )
    watch.add([reported("a", "second", "first", hits(900, 0.1), hits(300, 0.5))])
    assert watch.regression_message() is not None
    watch.add([reported("a", "second", "first", hits(9000, 0.5), hits(3000, 0.5))])
    assert watch.regression_message() is None
    watch.add([record(KEY + b"b", b"not a report")])
    assert watch.regression_message() is None


def test_reports_of_earlier_workers_come_on_the_models_topic_and_count_too() -> None:
    watch, first = RollbackWatch(SETTINGS, SimpleNamespace(), lambda: 0.0), promoted("first", None)  # type: ignore[arg-type]
    watch.add(
        [record(CHAMPION, encode_promotion(promotion, "/models")) for promotion in (first, promoted("second", first))]
    )
    watch.add([reported("old", "second", "first", hits(900, 0.1), hits(180, 0.5), SETTINGS.models_topic)])
    assert watch.regression_message() is None
    watch.add([reported("new", "second", "first", hits(900, 0.1), hits(180, 0.5))])
    assert "on 1,800 events" in (watch.regression_message() or "")


def test_who_may_only_report_cannot_promote() -> None:
    watch, first = RollbackWatch(SETTINGS, SimpleNamespace(), lambda: 0.0), promoted("first", None)  # type: ignore[arg-type]
    second = promoted("second", first)
    watch.add([record(CHAMPION, encode_promotion(promotion, "/models")) for promotion in (first, second)])
    watch.add([record(CHAMPION, encode_promotion(promoted("third", second), "/models"), SETTINGS.canary_topic)])
    watch.add([reported("a", "second", "first", hits(900, 0.1), hits(300, 0.5))])
    assert watch.regression_message() is not None, "the second is still the champion"


def test_reports_of_many_made_up_workers_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollback_watch, "_MOST_WORKERS", 2)
    watch, first = RollbackWatch(SETTINGS, SimpleNamespace(), lambda: 0.0), promoted("first", None)  # type: ignore[arg-type]
    watch.add(
        [record(CHAMPION, encode_promotion(promotion, "/models")) for promotion in (first, promoted("second", first))]
    )
    watch.add([reported(worker, "second", "first", hits(900, 0.1), hits(300, 0.5)) for worker in "abab"])
    watch.add([reported("c", "second", "first", hits(900, 0.1), hits(300, 0.5))])
    assert "on 1,800 events" in (watch.regression_message() or "")


def test_a_rollback_that_failed_is_tried_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, tries = SimpleNamespace(now=1000.0), []

    async def roll_back(*_: Any, **__: Any) -> str:
        tries.append(clock.now)
        if len(tries) == 1:
            raise VersionUnusable("first is not promoted: unreadable: /models does not answer within 60 s")
        return "went back from second to first"

    monkeypatch.setattr(rollback_watch, "roll_back", roll_back)
    metrics = TrainerMetrics(CollectorRegistry())
    watch, first = RollbackWatch(SETTINGS, metrics, lambda: clock.now), promoted("first", None)
    watch.add(
        [record(CHAMPION, encode_promotion(promotion, "/models")) for promotion in (first, promoted("second", first))]
    )
    watch.add([reported("a", "second", "first", hits(900, 0.1), hits(300, 0.5))])
    for clock.now in (1000.0, 1005.0, 1059.0, 1060.0, 1200.0):
        asyncio.run(watch._judge())
    assert tries == [1000.0, 1060.0], "once more after a minute, and never after it went well"
    assert metrics.rollbacks._value.get() == 1
