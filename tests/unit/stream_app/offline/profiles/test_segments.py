"""The report of segments."""

from __future__ import annotations

from dataclasses import replace

from model.evaluation.ranking import Holdout
from model.evaluation.split import Split
from model.profile.profile import Profile
from stream_app.offline.profiles.segments import report_segments
from tests.unit.builders.basics import make_version
from tests.unit.builders.segments import fitted_segments
from tests.unit.builders.visits import BEGIN, DAY, shop


def split(users: int = 120, *, timed: bool = True) -> Split:
    log, cut = shop(users, 30), BEGIN + 20 * DAY
    return Split(log.before(cut), ["item 1"], Holdout(log, log.targets_from(cut)), cut, timed=timed)


def test_a_versions_own_segments_are_measured() -> None:
    version = replace(make_version(), profile=Profile(segments=fitted_segments()))
    report = report_segments(version, split(), 1)
    assert report is not None
    lines = list(report.lines())
    assert lines[1].startswith("returning")
    assert lines[2].startswith("few visits")
    assert "who comes within a day" in lines[-1]
    assert report.as_json()["users"] == 120


def test_segments_of_a_model_that_has_none_are_fitted() -> None:
    report = report_segments(make_version(), split(), 1)
    assert report is not None
    assert len(report.quality.names) >= 3


def test_few_users_and_made_up_times_say_nothing() -> None:
    assert report_segments(make_version(), split(30), 1) is None
    assert report_segments(make_version(), split(timed=False), 1) is None
