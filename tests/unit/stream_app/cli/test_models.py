"""`nextact models` as a command: what it prints and draws of the registry's lines."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from model.rounds.training_report import LossCurve
from model.training.fit_run import Progress
from stream_app.cli.models import models
from stream_app.errors import VersionUnusable
from stream_app.versions.admin import ModelLine
from tests.unit.builders.evaluations import model_line


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> list[ModelLine]:
    """The lines of a registry, and a report that every version has."""
    lines: list[ModelLine] = []

    async def list_models(_settings: Any) -> list[ModelLine]:
        return lines

    async def training_report(_settings: Any, version: str) -> Any:
        curve = LossCurve()
        for step in range(1, 20):
            curve.add(version, Progress(step, 19, {"next_item": 5 / step}))
        return SimpleNamespace(curve=curve.points)

    monkeypatch.setattr("stream_app.versions.admin.list_models", list_models)
    monkeypatch.setattr("stream_app.versions.admin.training_report", training_report)
    return lines


def test_versions_are_listed_as_a_table_or_as_json(registry: list[ModelLine]) -> None:
    registry += [model_line("v1", 0.4), model_line("v2", None)]
    table = CliRunner().invoke(models, ["list"]).stdout.splitlines()
    assert [row.split()[0] for row in table] == ["version", "v1", "v2"]
    as_json = [json.loads(row) for row in CliRunner().invoke(models, ["list", "--json"]).stdout.splitlines()]
    assert [(row["version"], row["recall_at_20"]) for row in as_json] == [("v1", 0.4), ("v2", None)]


def test_the_newest_measured_version_is_drawn(registry: list[ModelLine], tmp_path: Path) -> None:
    registry += [model_line("v1", 0.4), model_line("v2", 0.5), model_line("v3", None)]
    done = CliRunner().invoke(models, ["plot", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines() == [f"wrote {tmp_path / name}" for name in ("versions.png", "losses.png")]


def test_a_registry_without_figures_cannot_be_drawn(registry: list[ModelLine], tmp_path: Path) -> None:
    registry.append(model_line("v1", None))
    with pytest.raises(VersionUnusable, match=r"no version in .* has figures yet"):
        models.main(["plot", str(tmp_path)], standalone_mode=False)
