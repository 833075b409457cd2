"""The report of scores."""

from __future__ import annotations

from model.evaluation.ranking import Holdout
from model.evaluation.split import Split
from stream_app.offline.profiles.scores import report_scores
from tests.unit.builders.basics import make_version
from tests.unit.builders.visits import BEGIN, DAY, shop


def split(*, timed: bool = True) -> Split:
    log, cut = shop(80, 60), BEGIN + 40 * DAY
    return Split(log.before(cut), ["item 1"], Holdout(log, log.targets_from(cut)), cut, timed=timed)


def test_scores_of_a_model_that_has_none_are_fitted_and_measured() -> None:
    report = report_scores(make_version(), split(), 1)
    assert report is not None
    lines = list(report.lines())
    assert [line.split("  ")[0] for line in lines[1:3]] == ["leaves", "comes back"]
    assert report.as_json()["return"]["auroc"] > 0.7
    assert report.as_json()["leave"]["top_tenth_lift"] > 1


def test_times_that_are_made_up_say_nothing() -> None:
    assert report_scores(make_version(), split(timed=False), 1) is None
