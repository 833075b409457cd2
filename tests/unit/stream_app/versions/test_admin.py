"""`nextact models` on a registry in a folder; the models topic is a list of records."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from model.rounds.training_report import DataWindow, TrainingReport
from model.versions.manifest import MANIFEST, REPORT, WEIGHTS
from stream_app.errors import VersionUnusable
from stream_app.settings import Settings, load_settings
from stream_app.versions import admin
from stream_app.versions.admin import list_models, models_table, promote, roll_back, training_report
from stream_app.versions.promoter import promoter
from stream_app.versions.promotions import Promotion, decode_promotion, elect, encode_promotion
from tests.unit.builders.basics import HIDDEN
from tests.unit.builders.versions import cut_off, save_version

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MEASURED = {
    "recall@20": 0.25,
    "champion_recall@20": 0.24,
    "rules_recall@20": 0.2,
    "recall@20_gain_mean": 0.01,
    "recall@20_gain_low": 0.005,
    "recall@20_gain_high": 0.015,
}


class ModelsTopic:
    """The records of the models topic, in memory."""

    def __init__(self) -> None:
        self.records: list[bytes | None] = [b"not a promotion"]

    async def read(self, *_: object) -> list[bytes | None]:
        return self.records

    async def publish(self, promotion: Promotion, *_: object) -> None:
        self.records.append(encode_promotion(promotion, "/nowhere"))

    @property
    def champion(self) -> Promotion:
        champion = elect(self.records).champion
        assert champion is not None
        return champion


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> ModelsTopic:
    topic = ModelsTopic()
    monkeypatch.setattr(admin, "_records", topic.read)
    monkeypatch.setattr(admin, "publish_promotion", topic.publish)
    return topic


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"registry": str(tmp_path), "hidden": HIDDEN})


def test_an_empty_registry_is_listed(settings: Settings, topic: ModelsTopic) -> None:
    assert asyncio.run(list_models(settings)) == []


def test_versions_are_listed_with_what_is_known_of_them(settings: Settings, topic: ModelsTopic, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"events": 1500, "verdict_reason": "better"}
    save_version(tmp_path / "v1", metrics=MEASURED, facts=facts)
    save_version(tmp_path / "v2")
    cut_off(tmp_path / save_version(tmp_path / "v3").version / WEIGHTS)
    for name in ("v1", "v2"):
        asyncio.run(promote(settings, name, NOON))
    first, second, third = asyncio.run(list_models(settings))
    assert [line.state for line in (first, second, third)] == ["promoted before", "serving", "damaged"]
    assert (first.events, first.verdict, first.damage) == (1500, "better", None)
    assert (first.recall_at_20, first.champion_recall_at_20, first.rules_recall_at_20) == (0.25, 0.24, 0.2)
    assert first.recall_gain == (0.01, 0.005, 0.015)
    files = [path for path in (tmp_path / "v1").iterdir() if path.name != MANIFEST]
    assert first.size_bytes == sum(path.stat().st_size for path in files)
    assert (second.events, second.recall_at_20, second.recall_gain) == (None, None, None)
    assert (third.damage or "").startswith("size: ")
    assert [line.promoted_at is not None for line in (first, second, third)] == [True, True, False]
    assert first.promoted_by == second.promoted_by == promoter(settings, "operator")


def test_a_champion_that_is_missing_in_the_own_registry_is_listed_as_damaged(
    topic: ModelsTopic, tmp_path: Path
) -> None:
    save_version(tmp_path / "old" / "v1")
    asyncio.run(promote(load_settings({"registry": str(tmp_path / "old"), "hidden": HIDDEN}), "v1", NOON))
    save_version(tmp_path / "new" / "v2")
    lines = asyncio.run(list_models(load_settings({"registry": str(tmp_path / "new")})))
    assert {line.version: line.state for line in lines} == {"v1": "serving", "v2": "never promoted"}
    assert lines[1].path == str(tmp_path / "new" / "v1")
    assert (lines[1].damage or "").startswith("missing_file: ")


def test_the_table_has_a_column_for_everything(settings: Settings, topic: ModelsTopic, tmp_path: Path) -> None:
    save_version(tmp_path / "v1", metrics=MEASURED, facts={"events": 1500})
    cut_off(tmp_path / save_version(tmp_path / "v2").version / WEIGHTS)
    header, first, second = models_table(asyncio.run(list_models(settings)))
    assert header.split() == [
        "version", "created", "events", "recall@20", "champion", "rules", "gain", "verdict", "MB", "state",
        "promoted",
    ]  # fmt: skip
    assert "1,500" in first
    assert first.rstrip().endswith("-"), "never promoted"
    assert "0.2500     0.2400    0.2000  +0.0100 (+0.0050 to +0.0150)" in first
    assert second.rstrip("- ").endswith("damaged (size)")


def test_promotions_and_rollbacks_are_published(settings: Settings, topic: ModelsTopic, tmp_path: Path) -> None:
    save_version(tmp_path / "v1", metrics=MEASURED)
    save_version(tmp_path / "v2", seed=1)
    assert asyncio.run(promote(settings, "v1", NOON)) == "promoted v1"
    assert topic.champion.metrics == MEASURED
    assert asyncio.run(promote(settings, "v2", NOON)) == "promoted v2, after v1"
    assert asyncio.run(roll_back(settings, NOON, only="v2")) == "went back from v2 to v1"
    assert (topic.champion.version, topic.champion.metrics) == ("v1", MEASURED)
    promoted = [decode_promotion(value).promoted_at for value in topic.records[1:]]
    assert promoted == sorted(set(promoted)), "each later than the one before, though the clock stands"


def test_what_no_worker_would_serve_is_not_promoted(settings: Settings, topic: ModelsTopic, tmp_path: Path) -> None:
    save_version(tmp_path / "v1")
    (tmp_path / "v1").rename(tmp_path / "renamed")
    with pytest.raises(VersionUnusable, match=r"renamed is not promoted: format: the version in .* calls itself v1"):
        asyncio.run(promote(settings, "renamed", NOON))
    with pytest.raises(VersionUnusable, match=r"there is no version v1 in .*`nextact models list`"):
        asyncio.run(promote(settings, "v1", NOON))
    for name in ("../v1", "--help", "v1\n", ""):
        with pytest.raises(VersionUnusable, match=r"is not the name of a version: .*`nextact models list`"):
            asyncio.run(promote(settings, name, NOON))
        with pytest.raises(VersionUnusable, match="is not the name of a version"):
            asyncio.run(training_report(settings, name))
    save_version(tmp_path / "v2")
    with pytest.raises(VersionUnusable, match="v2 is not promoted: "):
        asyncio.run(promote(settings.model_copy(update={"hidden": 2 * HIDDEN}), "v2", NOON))
    assert len(topic.records) == 1


def test_a_rollback_without_a_version_before_is_refused(settings: Settings, topic: ModelsTopic, tmp_path: Path) -> None:
    with pytest.raises(VersionUnusable, match="there is nothing to roll back"):
        asyncio.run(roll_back(settings, NOON))
    save_version(tmp_path / "v1")
    asyncio.run(promote(settings, "v1", NOON))
    with pytest.raises(VersionUnusable, match="no version is known that served before v1"):
        asyncio.run(roll_back(settings, NOON))
    with pytest.raises(VersionUnusable, match="v0 does not serve any more: nothing was rolled back"):
        asyncio.run(roll_back(settings, NOON, only="v0"))


def test_the_report_on_a_training_is_read(settings: Settings, tmp_path: Path) -> None:
    report = TrainingReport(DataWindow(1, 2, 3, 4, 5, 6), [], [])
    save_version(tmp_path / "v1")
    with pytest.raises(VersionUnusable, match=REPORT):
        asyncio.run(training_report(settings, "v1"))
    (tmp_path / "v1" / REPORT).write_bytes(msgspec.json.encode(report))
    assert asyncio.run(training_report(settings, "v1")) == report
    (tmp_path / "v1" / REPORT).write_bytes(b"{}")
    with pytest.raises(VersionUnusable, match="is not what nextact writes"):
        asyncio.run(training_report(settings, "v1"))


def test_a_registry_that_does_not_answer_is_named(
    settings: Settings, topic: ModelsTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "version_names", lambda _: time.sleep(1))
    with pytest.raises(VersionUnusable, match=r"does not answer within 0\.01 s \(NEXTACT_REGISTRY_TIMEOUT\)"):
        asyncio.run(list_models(settings.model_copy(update={"registry_timeout": 0.01})))
