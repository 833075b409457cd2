"""The report has a row and an object for each thing that was foreseen."""

from __future__ import annotations

from model.evaluation.preference_quality import CONTENDERS, Foresight
from stream_app.offline.profiles.preferences import TASKS, PreferencesReport


def test_rows_and_json_have_all_figures() -> None:
    tasks = {
        task: {name: Foresight(100 + number, 1.23456789, 0.5) for number, name in enumerate(CONTENDERS)}
        for task in TASKS
    }
    report = PreferencesReport(tasks)
    lines = list(report.lines())
    assert len(lines) == 1 + len(TASKS) + 1
    assert all(line.startswith(title) for line, title in zip(lines[1:], TASKS.values(), strict=False))
    assert lines[1].count("1.2346") == len(CONTENDERS) == lines[1].count("50.00")
    assert report.as_json()["next_brand"]["last"] == {"targets": 102, "log_loss": 1.234568, "recall": 0.5}
    assert report.as_json().keys() == TASKS.keys()
