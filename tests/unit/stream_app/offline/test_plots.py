"""Pictures of an evaluation and of a registry; what cannot be drawn or written is named."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from model.rounds.training_report import LossCurve
from model.training.fit_run import Progress
from stream_app.errors import RuntimeMissing, UsageError
from stream_app.offline.plots import _save, check_drawing, draw, draw_losses, draw_versions
from tests.unit.builders.evaluations import made_report, model_line, quality

PNG = b"\x89PNG"


def test_versions_and_losses_are_drawn(tmp_path: Path) -> None:
    versions = [
        model_line("a", 0.4, None, "better"),
        model_line("b", 0.5, 0.4, "better"),
        model_line("c", 0.45, 0.5, "no_better"),
    ]
    curve = LossCurve()
    for stage in ("fitting", "weighing"):
        for step in range(1, 50):
            curve.add(stage, Progress(step, 49, {"next_item": 5 / step, "next_type": 1.0}))
    for path in (draw_versions(versions, tmp_path), draw_losses("c", curve.points, tmp_path)):
        assert path.read_bytes().startswith(PNG)


def test_an_evaluation_is_drawn_by_epoch_and_by_slices_of_several_labels(tmp_path: Path) -> None:
    by_day = {day: {name: quality(0.3) for name in made_report().whole} for day in ("2026-01-01", "2026-01-02")}
    report = replace(
        made_report(),
        slices={"day": by_day, "position": {"1": by_day["2026-01-01"]}},
        epochs=[quality(share).means for share in (0.1, 0.2, 0.25)],
    )
    written = draw(report, tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["by_epoch.png", "by_day.png"]
    assert all(path.read_bytes().startswith(PNG) for path in written)


def test_nothing_is_drawn_of_an_evaluation_without_epochs_and_slices(tmp_path: Path) -> None:
    assert draw(made_report(), tmp_path / "folder") == []
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be written: .*another folder"):
        _save(Figure(), tmp_path / "file" / "a.png")


def test_drawing_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check_drawing()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeMissing, match=r"pip install 'nextact\[plot\]'"):
        check_drawing()
