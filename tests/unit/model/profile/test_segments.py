"""Users go to the nearest segment, and leave it for one that is clearly nearer only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from model.data.recent import RecentActions
from model.profile.rhythm import RHYTHM
from model.profile.segments import MARGIN, SegmentAnswers, SegmentModel
from tests.unit.builders.segments import OFTEN, SELDOM, fitted_segments


def assigned(visits: list[int], segment: int = 0, model: SegmentModel | None = None) -> SegmentAnswers:
    """One user after another visit each, who was in a segment before."""
    users, after = np.zeros(1, RHYTHM), np.zeros(len(visits), RHYTHM)
    users["segment"], after["visits"] = segment, visits
    starts = np.zeros(len(visits), np.int64)
    nothing = RecentActions(np.zeros(0, np.int32), np.zeros(0, np.uint32), starts, starts, np.zeros(0, np.uint64))
    answers = (model or SegmentModel(fitted_segments())).assign(users, starts, nothing, after)
    assert after["segment"].tolist() == answers.ids[answers.numbers].tolist()
    assert users["segment"].tolist() == after["segment"][-1:].tolist()
    return answers


def test_the_nearest_centre_is_theirs() -> None:
    assert assigned([1, 2, 20, 1]).numbers.tolist() == [1, 1, 0, 1]


def squared(visits: int, centre: float) -> float:
    return (math.log1p(visits) - centre) ** 2


def test_a_user_stays_unless_another_one_is_nearer_by_a_margin() -> None:
    border = next(n for n in range(1, 9) if squared(n, OFTEN) < squared(n, SELDOM))
    assert squared(border, OFTEN) > MARGIN * squared(border, SELDOM)
    assert assigned([border]).numbers.tolist() == [0]
    assert assigned([border], segment=1).numbers.tolist() == [0]
    assert assigned([border], segment=2).numbers.tolist() == [1]
    assert assigned([border, 9, border, 1, border], segment=2).numbers.tolist() == [1, 0, 0, 1, 1]


def test_a_segment_that_is_gone_holds_nobody() -> None:
    model = SegmentModel(fitted_segments(ids=(8, 9)))
    answers = assigned([5], segment=2, model=model)
    assert answers.ids[answers.numbers].tolist() == [8]
    assert answers.names == ("returning", "few visits")


def test_who_is_at_the_centre_fits_best_and_who_is_beyond_all_others_not_at_all() -> None:
    visits = [6, 7, 8, 200]
    distances = [abs(math.log1p(n) - OFTEN) for n in visits]
    expected = np.interp(distances, [0.0, 0.1, 0.3], [1.0, 0.5, 0.0])
    assert expected[-1] == 0
    assert assigned(visits).fits.tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert assigned([1]).fits.tolist() == pytest.approx([1.0])


def test_segments_by_other_features_are_refused() -> None:
    fitted = fitted_segments()
    with pytest.raises(ValueError, match="features"):
        SegmentModel(replace(fitted, means=[*fitted.means, 0.0]))
