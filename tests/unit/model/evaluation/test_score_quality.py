"""Figures of scores, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.vocabulary import Vocabulary
from model.evaluation.score_quality import scores_quality, top_lift
from model.profile.fitted_scores import Score, Scores
from model.profile_fit.score_labels import leave_labels
from tests.unit.builders.visits import BEGIN, DAY, shop


def test_the_best_tenth_is_compared_with_all() -> None:
    predicted = np.linspace(0, 1, 100)
    came = np.zeros(100, np.bool_)
    came[95:] = came[:5] = True
    assert top_lift(predicted, came) == pytest.approx(0.5 / 0.1)
    assert top_lift(np.zeros(100), came) == pytest.approx(0.5 / 0.1)  # the first ten


def test_only_what_comes_after_the_cut_is_measured() -> None:
    log, cut = shop(40, 20), BEGIN + 10 * DAY
    found = scores_quality(Scores(Score(0.4)), Vocabulary(["item 1"]), log, cut)
    labels = leave_labels(log)
    judged = labels.known & (log.times >= cut)
    assert found.returns is None
    assert found.leave is not None
    assert found.leave.probability.number == judged.sum()
    assert found.leave.probability.mean_probability == pytest.approx(0.4)
    assert found.leave.probability.base_rate == pytest.approx(labels.came[judged].mean())
    assert scores_quality(Scores(Score(0.4)), Vocabulary(["item 1"]), log, cut + 30 * DAY).leave is None
