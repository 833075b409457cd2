"""Scores on logs where it is known who leaves and who comes back."""

from __future__ import annotations

from model.data.vocabulary import Vocabulary
from model.evaluation.score_quality import scores_quality
from model.profile_fit.fit_scores import fit_scores
from tests.unit.builders.visits import BEGIN, DAY, shop

VOCABULARY = Vocabulary([f"item {n}" for n in range(5)])


def test_learns_who_leaves_and_who_comes_back() -> None:
    scores = fit_scores(VOCABULARY, shop(200, 40), seed=1)
    scores.check()
    found = scores_quality(scores, VOCABULARY, shop(200, 40, seed=1), BEGIN + 5 * DAY)
    assert found.leave is not None
    assert found.returns is not None
    assert found.leave.probability.auroc > 0.74  # of what is known before, 0.77 at best
    assert found.leave.probability.calibration_error < 0.05
    assert found.leave.lift > 1.5
    assert found.returns.probability.auroc > 0.9
    assert found.returns.probability.calibration_error < 0.08


def test_a_log_of_less_than_two_weeks_does_not_say_who_comes_back() -> None:
    assert fit_scores(VOCABULARY, shop(100, 13), seed=1).returns is None
    assert fit_scores(VOCABULARY, shop(100, 16), seed=1).returns is not None


def test_of_few_examples_there_is_a_rate() -> None:
    log = shop(20, 12)
    scores = fit_scores(VOCABULARY, log, seed=1)
    assert scores.leave.head is None
    assert 0.2 < scores.leave.rate < 0.6


def test_a_seed_fixes_the_weights() -> None:
    log = shop(60, 20)
    assert fit_scores(VOCABULARY, log, seed=1) == fit_scores(VOCABULARY, log, seed=1)
