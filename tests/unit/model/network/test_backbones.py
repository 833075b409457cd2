"""Every backbone: one action at a time is the same function as whole sequences, also when states are kept as halves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from model.errors import NextactError
from model.network.backbones import BACKBONES, Backbone, BackboneName, make_backbone
from model.network.linear_recurrence import LONGEST_MEMORY, LinearRecurrence, scan
from model.network.transformer import LAYERS, WINDOW, Transformer
from tests.skips import not_installed
from tests.unit.builders.basics import BACKBONES as NAMES

WIDTH, HIDDEN = 24, 17  # odd, so that the blocks of a recurrence differ in size

Make = Callable[..., Backbone]


@pytest.fixture(params=NAMES)
def make(request: pytest.FixtureRequest) -> Make:
    def made(seed: int = 0, width: int = WIDTH, hidden: int = HIDDEN) -> Backbone:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return make_backbone(request.param, width=width, hidden=hidden)

    return made


def inputs_of(seed: int, *shape: int, width: int = WIDTH) -> Tensor:
    return torch.randn(*shape, width, generator=torch.Generator().manual_seed(seed))


def empty(backbone: Backbone, users: int) -> Tensor:
    return torch.zeros(users, backbone.state_size)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_every_name_has_a_backbone() -> None:
    assert set(BACKBONES) == set(get_args(BackboneName))


@torch.inference_mode()
def test_steps_equal_forward(make: Make) -> None:
    backbone, inputs = make(), inputs_of(1, 3, WINDOW + 20)
    states, outputs = backbone(inputs)
    assert states.shape == (3, WINDOW + 20, backbone.state_size)
    assert outputs.shape == (3, WINDOW + 20, backbone.output_size)
    state = empty(backbone, 3)
    for place in range(WINDOW + 20):
        state, found = backbone.step(inputs[:, place], state)
        close(found, outputs[:, place])
        close(state, states[:, place])
        close(backbone.readout(inputs[:, place], state), found)


@torch.inference_mode()
@pytest.mark.parametrize("before", [1, 5, WINDOW, WINDOW + 6])
def test_a_sequence_goes_on_from_the_state_after_its_beginning(make: Make, before: int) -> None:
    backbone, inputs = make(), inputs_of(2, 2, WINDOW + 10)
    states, outputs = backbone(inputs)
    rest_states, rest = backbone(inputs[:, before:], states[:, before - 1])
    close(rest, outputs[:, before:])
    close(rest_states, states[:, before:])


@torch.inference_mode()
def test_users_of_one_batch_may_have_pasts_of_different_length(make: Make) -> None:
    backbone, inputs = make(), inputs_of(3, 2, 9)
    states, outputs = backbone(inputs)
    _, found = backbone.step(inputs[:, 8], torch.stack((states[0, 7], torch.zeros(backbone.state_size))))
    close(found[0], outputs[0, 8])
    close(found[1:], backbone(inputs[1:, 8:])[1][:, 0])


@torch.inference_mode()
def test_what_comes_later_changes_nothing_before_it(make: Make) -> None:
    backbone, inputs = make(), inputs_of(4, 2, 11)
    states, outputs = backbone(inputs)
    padded = inputs.clone()
    padded[:, 7:] = 0
    for changed in (padded, inputs[:, :7]):
        close(backbone(changed)[1][:, :7], outputs[:, :7])
        close(backbone(changed)[0][:, :7], states[:, :7])


@torch.inference_mode()
def test_outputs_depend_on_all_that_came_before_and_on_its_order(make: Make) -> None:
    backbone, inputs = make(), inputs_of(5, 1, 8)
    wanted = backbone(inputs)[1][:, -1]
    assert not torch.allclose(backbone(inputs[:, 1:])[1][:, -1], wanted, atol=1e-4)
    assert not torch.allclose(backbone(inputs[:, [1, 0, 2, 3, 4, 5, 6, 7]])[1][:, -1], wanted, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["gru", "linear"])
def test_before_training_outputs_lean_towards_all_inputs_so_far(name: BackboneName) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = make_backbone(name, width=64, hidden=64)
    inputs = inputs_of(13, 200, 3, width=64) / 8
    last = backbone(inputs)[1][:, -1:]
    likeness = torch.cosine_similarity(last, inputs, -1).mean(0)
    assert likeness.min() > 0.1


def test_every_weight_gets_a_finite_gradient_that_is_not_zero(make: Make) -> None:
    backbone, inputs = make(), inputs_of(6, 3, WINDOW).requires_grad_()
    assert isinstance(backbone, torch.nn.Module)
    _, outputs = backbone(inputs)
    loss = (outputs * inputs_of(7, *outputs.shape[:-1], width=outputs.shape[-1])).sum()
    weights = dict(backbone.named_parameters()) | {"inputs": inputs}
    for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_a_seed_fixes_the_weights(make: Make) -> None:
    inputs = inputs_of(8, 1, 4)
    first, again, other = (make(seed)(inputs)[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("steps", [64, 500])
def test_steps_through_halves_stay_close_to_forward(make: Make, steps: int) -> None:
    # As the worker does it: a state is rounded to halves after every event.
    backbone, inputs = make(width=64, hidden=64), inputs_of(9, 4, steps, width=64)
    assert drift(backbone, inputs) < 1e-3


@torch.inference_mode()
def test_the_slowest_units_on_the_same_input_for_ever_stay_close_too() -> None:
    # The worst case: every step adds a little to a large state, and each time the sum is rounded to halves.
    backbone = slowest(64)
    assert drift(backbone, inputs_of(10, 4, 1, width=64).expand(4, 500, 64)) < 0.02


@torch.inference_mode()
def test_gates_keep_states_bounded() -> None:
    backbone = slowest(16, let_in_all=True)
    states, _ = backbone(inputs_of(11, 1, 5000, width=16))
    bound = (2 * LONGEST_MEMORY) ** 0.5
    assert 0.95 * bound < states.abs().max() < 1.001 * bound


def slowest(width: int, let_in_all: bool = False) -> LinearRecurrence:
    """Whose units all decay as slowly as they can, whatever the input."""
    backbone = LinearRecurrence(width, width)
    biases = [weight.data for name, weight in backbone.named_parameters() if name.endswith("gates.bias")]
    weights = [weight.data for name, weight in backbone.named_parameters() if name.endswith("gates.weight")]
    for bias, weight in zip(biases, weights, strict=True):
        weight[: width // 2] = 0
        bias[: width // 2] = -100
        if let_in_all:
            bias[width // 2 :] = 100
    return backbone


def drift(backbone: Backbone, inputs: Tensor) -> float:
    """The largest distance of outputs by steps through halves from those of `forward`, relative to their length."""
    wanted = backbone(inputs)[1]
    state, found = empty(backbone, len(inputs)), 0.0
    for place in range(inputs.shape[1]):
        state, outputs = backbone.step(inputs[:, place], state.half().float())
        distance = (outputs - wanted[:, place]).norm(dim=-1) / wanted[:, place].norm(dim=-1)
        found = max(found, distance.max().item())
    return found


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 64, 65])
def test_the_scan_is_the_recurrence(steps: int) -> None:
    randomness = np.random.default_rng(steps)
    added, decay = randomness.normal(size=(2, steps, 3)), randomness.uniform(0, 1, (2, steps, 3))
    state = randomness.normal(size=(2, 3))
    found = scan(*map(torch.from_numpy, (added, decay, state)))
    for place in range(steps):
        state = decay[:, place] * state + added[:, place]
        np.testing.assert_allclose(found[:, place].numpy(), state, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_the_gradient_of_the_scan_is_that_of_differences(steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    added, decay, state = (
        torch.rand(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((2, steps, 3), (2, steps, 3), (2, 3))
    )
    assert torch.autograd.gradcheck(scan, (added, decay, state))


def test_decays_to_nothing_do_not_leave_the_numbers() -> None:
    decay = torch.full((1, 64, 2), 1e-30).requires_grad_()
    states = scan(torch.ones(1, 64, 2), decay, torch.ones(1, 2))
    assert torch.equal(states, torch.ones(1, 64, 2))
    assert torch.autograd.grad(states.sum(), decay)[0].isfinite().all()


@torch.inference_mode()
def test_the_transformer_sees_a_window_per_layer_and_no_further() -> None:
    pytest.importorskip("transformers", reason=not_installed("transformers"))
    backbone, reach = Transformer(WIDTH, HIDDEN), LAYERS * (WINDOW - 1)
    inputs = inputs_of(12, 1, reach + 2)
    last = backbone(inputs)[1][:, -1]
    for place, seen in ((0, False), (1, True)):
        changed = inputs.clone()
        changed[:, place] *= -100
        assert torch.equal(backbone(changed)[1][:, -1], last) != seen


def test_a_transformer_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(NextactError, match=r"pip install 'nextact\[transformers\]'"):
        make_backbone("transformer", width=WIDTH, hidden=HIDDEN)


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    pytest.importorskip("transformers", reason=not_installed("transformers"))
    with pytest.raises(ValueError, match="width 6"):
        make_backbone("transformer", width=6, hidden=6)
