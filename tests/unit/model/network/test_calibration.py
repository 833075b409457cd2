"""The line through the logits."""

from __future__ import annotations

import pytest
import torch

from model.network.calibration import Calibration, fit_calibration


def test_finds_the_line_that_made_the_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(40_000, generator=generator)
    labels = torch.rand(40_000, generator=generator) < torch.sigmoid(0.4 * logits - 1.5)
    found = fit_calibration(logits, labels)
    assert found.slope == pytest.approx(0.4, abs=0.03)
    assert found.intercept == pytest.approx(-1.5, abs=0.05)
    assert found.probabilities(logits).mean().item() == pytest.approx(labels.float().mean().item(), abs=1e-3)


@pytest.mark.parametrize("scale", [0.0, 0.01, 50.0, 1e4])
def test_is_finite_and_rising_for_any_scale(scale: float) -> None:
    logits = scale * torch.linspace(-1, 1, 50)
    found = fit_calibration(logits, logits > 0)
    probabilities = found.probabilities(logits)
    assert torch.isfinite(probabilities).all()
    assert found.slope > 0


def test_labels_of_one_kind_do_not_make_certainty() -> None:
    logits = torch.zeros(98)
    found = fit_calibration(logits, torch.zeros(98))
    assert found.probabilities(logits)[0].item() == pytest.approx(0.01, rel=1e-3)


def test_nothing_to_fit_changes_nothing() -> None:
    assert fit_calibration(*torch.zeros(2, 0)) == Calibration(1.0, 0.0)
