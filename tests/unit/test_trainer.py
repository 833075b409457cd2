"""The trainer: what it found in a round counts only against the champion that serves."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model.data import sequences_of
from model.drift import Population
from model.events import PURCHASE
from model.stored_log import in_memory
from stream_app import trainer
from stream_app.promotions import Placed, Promotion, succeed
from stream_app.settings import Settings
from tests.unit.test_rounds import circle
from tests.unit.versions import save_version

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def challenger(*, wins: bool) -> Any:
    """A round with a challenger, as far as the trainer looks at it."""
    recall = SimpleNamespace(served=SimpleNamespace(recall={20: 0.5}), rules=SimpleNamespace(recall={20: 0.1}))
    reason = "better" if wins else "no_better"
    return SimpleNamespace(
        verdict=SimpleNamespace(promoted=wins, reason=reason, sentence=reason),
        challenger=recall,
        metrics=lambda: {"recall@20": 0.5},
        model=SimpleNamespace(vocabulary=[]),
        report=SimpleNamespace(window=SimpleNamespace(events=800)),
    )


def outcome(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *champions: Promotion, wins: bool = True
) -> tuple[str, list[Promotion]]:
    """Of a round, and what it published; `champions` before and after the training, `folder` the registry."""
    found, published = iter(champions), list[Promotion]()

    async def champion(_: Settings) -> Promotion:
        return next(found)

    async def publish(promotion: Promotion, _: Settings) -> None:
        published.append(promotion)

    async def save(*_: Any) -> Placed:
        return save_version(folder / "new")

    async def round_() -> str:
        settings = Settings(device="cpu", registry=str(folder), registry_keep=1)
        made = trainer.Trainer(settings, clock=lambda: 0.0, progress=lambda _: None)
        monkeypatch.setattr(made, "_save", save)
        return await made._attempt()

    monkeypatch.setattr(
        trainer, "RecordedEvents", lambda *_: SimpleNamespace(window=lambda _: in_memory(circle()), events=800)
    )
    monkeypatch.setattr(trainer, "champion", champion)
    monkeypatch.setattr(trainer, "publish", publish)
    monkeypatch.setattr(trainer, "train_round", lambda *_, **__: challenger(wins=wins))
    return asyncio.run(round_()), published


def test_a_winner_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = succeed(None, save_version(tmp_path / "first"), {}, NOON)
    said, published = outcome(monkeypatch, tmp_path, first, first)
    assert said == "promoted"
    assert [promotion.version for promotion in published] == ["new"]


def test_a_loser_is_kept_for_a_look_and_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = succeed(None, save_version(tmp_path / "first"), {}, NOON)
    assert outcome(monkeypatch, tmp_path, first, wins=False) == ("rejected", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "new"]


def test_old_versions_go_but_none_that_a_rollback_may_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        save_version(tmp_path / name)
    first = succeed(None, save_version(tmp_path / "c"), {}, NOON)
    second = succeed(first, save_version(tmp_path / "d"), {}, NOON)
    outcome(monkeypatch, tmp_path, second, second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d", "new"]


def test_a_winner_over_a_version_that_was_rolled_back_meanwhile_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = succeed(None, save_version(tmp_path / "first"), {}, NOON)
    second = succeed(first, save_version(tmp_path / "second"), {}, NOON)
    assert outcome(monkeypatch, tmp_path, second, first) == ("rejected", [])


def moved(events: int, **change: Any) -> Population:
    """A population that learned from a circle of views, and what came since."""
    found = Population(sequences_of(circle()))
    found.add(replace(circle(users=1, length=events), **change))
    return found


def due(monkeypatch: pytest.MonkeyPatch, population: Population | None, waited: float, limit: float = 0.25) -> bool:
    monkeypatch.setattr(trainer, "RecordedEvents", lambda *_: SimpleNamespace(population=population))
    settings = Settings(device="cpu", train_every=300.0, drift_limit=limit)
    return trainer.Trainer(settings, clock=lambda: 0.0, progress=lambda _: None)._is_due(waited)


def test_a_round_is_due_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    assert due(monkeypatch, None, math.inf)
    assert due(monkeypatch, moved(800), 300.0)
    assert not due(monkeypatch, moved(800), 299.0)
    assert not due(monkeypatch, None, 299.0)


def test_drift_brings_a_round_forward_but_not_at_once_and_not_by_a_few_events(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bought = {"types": np.full(800, PURCHASE, np.uint8)}
    with caplog.at_level("INFO"):
        assert due(monkeypatch, moved(800, **bought), 61.0)
    assert "types have moved (stability index" in caplog.text
    assert not due(monkeypatch, moved(800, **bought), 59.0)
    assert not due(monkeypatch, moved(800, **bought), 61.0, limit=0.0)
    assert not due(monkeypatch, moved(400, types=bought["types"][:400]), 61.0)


def test_new_items_bring_a_round_forward(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    unseen = np.arange(10**6, 10**6 + 800).astype(np.uint64)
    with caplog.at_level("INFO"):
        assert due(monkeypatch, moved(800, objects=unseen), 61.0)
    assert "100% of the events are on new items" in caplog.text
