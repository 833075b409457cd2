"""The linear recurrence: its scan is the recurrence, and its slowest units stay close to what whole sequences say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.network.linear_recurrence import LONGEST_MEMORY, LinearRecurrence, scan
from tests.unit.builders.backbones import drift, inputs_of


@torch.inference_mode()
def test_the_slowest_units_on_the_same_input_for_ever_stay_close_too() -> None:
    """The worst case: every step adds a little to a large state, and each time the sum is rounded to halves."""
    backbone = slowest(64)
    assert drift(backbone, inputs_of(10, 4, 1, width=64).expand(4, 500, 64)) < 0.02


@torch.inference_mode()
def test_gates_keep_states_bounded() -> None:
    backbone = slowest(16, let_in_all=True)
    states, _ = backbone(inputs_of(11, 1, 5000, width=16))
    bound = (2 * LONGEST_MEMORY) ** 0.5
    assert 0.95 * bound < states.abs().max() < 1.001 * bound


def slowest(width: int, let_in_all: bool = False) -> LinearRecurrence:
    """A recurrence whose units all decay as slowly as they can, whatever the input."""
    backbone = LinearRecurrence(width, width)
    biases = [weight.data for name, weight in backbone.named_parameters() if name.endswith("gates.bias")]
    weights = [weight.data for name, weight in backbone.named_parameters() if name.endswith("gates.weight")]
    for bias, weight in zip(biases, weights, strict=True):
        weight[: width // 2] = 0
        bias[: width // 2] = -100
        if let_in_all:
            bias[width // 2 :] = 100
    return backbone


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 64, 65])
def test_the_scan_is_the_recurrence(steps: int) -> None:
    randomness = np.random.default_rng(steps)
    added, decay = randomness.normal(size=(2, steps, 3)), randomness.uniform(0, 1, (2, steps, 3))
    state = randomness.normal(size=(2, 3))
    found = scan(*map(torch.from_numpy, (added, decay, state)))
    for t in range(steps):
        state = decay[:, t] * state + added[:, t]
        np.testing.assert_allclose(found[:, t].numpy(), state, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_the_gradient_of_the_scan_is_that_of_differences(steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    added, decay, state = (
        torch.rand(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((2, steps, 3), (2, steps, 3), (2, 3))
    )
    assert torch.autograd.gradcheck(scan, (added, decay, state))


def test_decays_near_zero_keep_the_scan_and_its_gradient_finite() -> None:
    decay = torch.full((1, 64, 2), 1e-30).requires_grad_()
    states = scan(torch.ones(1, 64, 2), decay, torch.ones(1, 2))
    assert torch.equal(states, torch.ones(1, 64, 2))
    assert torch.autograd.grad(states.sum(), decay)[0].isfinite().all()
