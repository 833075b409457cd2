"""The trainer: what it found in a round counts only against the champion that serves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream_app import trainer
from stream_app.promotions import Promotion, succeed
from stream_app.settings import Settings
from tests.unit.versions import save_version

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
WINNER = SimpleNamespace(
    promoted=True,
    verdict="promoted",
    challenger=SimpleNamespace(served=SimpleNamespace(recall={20: 0.5}), rules=SimpleNamespace(recall={20: 0.1})),
)


def outcome(monkeypatch: pytest.MonkeyPatch, *champions: Promotion) -> tuple[str, list[Any]]:
    """Of a round that the challenger wins, and what it published; `champions` before and after the training."""
    found, published = iter(champions), list[Any]()

    async def champion(_: Settings) -> Promotion:
        return next(found)

    async def publish(*what: Any) -> None:
        published.append(what)

    async def round_() -> str:
        made = trainer.Trainer(Settings(device="cpu"), clock=lambda: 0.0, progress=lambda _: None)
        monkeypatch.setattr(made, "_publish", publish)
        return await made._attempt()

    monkeypatch.setattr(trainer, "RecordedEvents", lambda *_: SimpleNamespace(actions=list))
    monkeypatch.setattr(trainer, "champion", champion)
    monkeypatch.setattr(trainer, "train_round", lambda *_, **__: WINNER)
    return asyncio.run(round_()), published


def test_a_winner_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = succeed(None, save_version(tmp_path / "first"), {}, NOON)
    said, published = outcome(monkeypatch, first, first)
    assert said == "promoted"
    assert published == [(WINNER, first, 0)]


def test_a_winner_over_a_version_that_was_rolled_back_meanwhile_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = succeed(None, save_version(tmp_path / "first"), {}, NOON)
    second = succeed(first, save_version(tmp_path / "second"), {}, NOON)
    assert outcome(monkeypatch, second, first) == ("rejected", [])
