"""Figures of probabilities, against scikit-learn's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from model.evaluation.probability_quality import (
    BINS,
    calibration_error,
    calibration_error_by_chance,
    equal_mass,
    equal_width,
    probability_quality,
)


@pytest.mark.parametrize("decimals", [1, 2, 12])  # with many equal ones, and with none
def test_agrees_with_scikit_learn(decimals: int) -> None:
    randomness = np.random.default_rng(1)
    probabilities = randomness.random(500).round(decimals)
    labels = randomness.random(500) < probabilities**2
    found = probability_quality(probabilities, labels, np.arange(500))
    assert found is not None
    assert found.auroc == pytest.approx(roc_auc_score(labels, probabilities))
    assert found.average_precision == pytest.approx(average_precision_score(labels, probabilities))
    assert found.brier == pytest.approx(brier_score_loss(labels, probabilities))
    assert (found.number, found.base_rate) == (500, labels.mean())


@pytest.mark.parametrize("labels", [[False, False], [True, True], []])
def test_labels_of_one_kind_have_no_quality(labels: list[bool]) -> None:
    users = np.arange(len(labels))
    assert probability_quality(np.full(len(labels), 0.5), np.array(labels, np.bool_), users) is None


def test_calibration_error_by_hand() -> None:
    """Fifteen bins of two, each of one probability: what was said least came, and the rest did not."""
    probabilities = np.repeat(np.arange(BINS) / 20, 2)
    labels = probabilities < 0.34
    expected = (sum(1 - n / 20 for n in range(7)) + sum(n / 20 for n in range(7, BINS))) / BINS
    shuffled = np.random.default_rng(1).permutation(2 * BINS)
    probabilities, labels = probabilities[shuffled], labels[shuffled]
    assert calibration_error(probabilities, labels, equal_mass(probabilities)) == pytest.approx(expected)


def test_bins_of_equal_width_by_hand() -> None:
    probabilities = np.array([0.0, 1.0, 0.99 / BINS, 1 / BINS + 1e-9, 0.5])
    assert [part.tolist() for part in equal_width(probabilities)] == [[0, 2], [3], [4], [1]]


def test_errors_of_opposite_signs_cancel_in_a_bin_and_not_across_bins() -> None:
    probabilities = np.full(2 * BINS, 0.5)
    labels, bins = np.arange(2 * BINS) % 2 == 0, equal_mass(probabilities)
    assert calibration_error(probabilities, labels, bins) == pytest.approx(0)
    assert calibration_error(probabilities, np.arange(2 * BINS) < BINS, bins) > 0.4
    assert calibration_error(probabilities, np.arange(2 * BINS) < BINS, equal_width(probabilities)) == pytest.approx(0)


@pytest.mark.parametrize("alike", [1, 5])  # answers to one user, which come true or not together
def test_chance_is_what_true_probabilities_show(alike: int) -> None:
    randomness = np.random.default_rng(1)
    users = np.repeat(np.arange(600), alike)
    probabilities = randomness.beta(1, 5, 600)[users]
    for bins in (equal_mass(probabilities), equal_width(probabilities)):
        drawn = [(randomness.random(600) < probabilities[::alike])[users] for _ in range(100)]
        errors = [calibration_error(probabilities, labels, bins) for labels in drawn]
        chances = [calibration_error_by_chance(probabilities, labels, users, bins) for labels in drawn]
        assert np.mean(chances) == pytest.approx(np.mean(errors), rel=0.1)
