"""Every backbone: one action at a time is the same function as whole sequences, also when states are kept as halves.

The transformer of the benchmarks is held to the same protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import get_args

import pytest
import torch
from torch import Tensor

from model.network.backbones import BACKBONES, Backbone, BackboneName
from tests.bench.transformer import WINDOW, Transformer
from tests.skips import not_installed
from tests.unit.builders.backbones import drift, inputs_of

WIDTH, HIDDEN = 24, 17  # odd, so that the blocks of a recurrence differ in size
NEEDS_TRANSFORMERS = pytest.mark.skipif(find_spec("transformers") is None, reason=not_installed("transformers"))

Make = Callable[..., Backbone]


@pytest.fixture(params=[*BACKBONES.values(), pytest.param(Transformer, marks=NEEDS_TRANSFORMERS)])
def make(request: pytest.FixtureRequest) -> Make:
    def made(seed: int = 0, width: int = WIDTH, hidden: int = HIDDEN) -> Backbone:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            backbone: Backbone = request.param(width, hidden)
            return backbone

    return made


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_every_name_has_a_backbone() -> None:
    assert set(BACKBONES) == set(get_args(BackboneName))


@torch.inference_mode()
def test_steps_equal_forward(make: Make) -> None:
    backbone, inputs = make(), inputs_of(1, 3, WINDOW + 20, width=WIDTH)
    states, outputs = backbone(inputs)
    assert states.shape == (3, WINDOW + 20, backbone.state_size)
    assert outputs.shape == (3, WINDOW + 20, backbone.output_size)
    state = torch.zeros(3, backbone.state_size)
    for t in range(WINDOW + 20):
        state, found = backbone.step(inputs[:, t], state)
        close(found, outputs[:, t])
        close(state, states[:, t])
        close(backbone.readout(inputs[:, t], state), found)


@torch.inference_mode()
@pytest.mark.parametrize("before", [1, 5, WINDOW, WINDOW + 6])
def test_a_sequence_goes_on_from_the_state_after_its_beginning(make: Make, before: int) -> None:
    backbone, inputs = make(), inputs_of(2, 2, WINDOW + 10, width=WIDTH)
    states, outputs = backbone(inputs)
    rest_states, rest = backbone(inputs[:, before:], states[:, before - 1])
    close(rest, outputs[:, before:])
    close(rest_states, states[:, before:])


@torch.inference_mode()
def test_users_of_one_batch_may_have_pasts_of_different_length(make: Make) -> None:
    backbone, inputs = make(), inputs_of(3, 2, 9, width=WIDTH)
    states, outputs = backbone(inputs)
    _, found = backbone.step(inputs[:, 8], torch.stack((states[0, 7], torch.zeros(backbone.state_size))))
    close(found[0], outputs[0, 8])
    close(found[1:], backbone(inputs[1:, 8:])[1][:, 0])


@torch.inference_mode()
def test_what_comes_later_changes_nothing_before_it(make: Make) -> None:
    backbone, inputs = make(), inputs_of(4, 2, 11, width=WIDTH)
    states, outputs = backbone(inputs)
    padded = inputs.clone()
    padded[:, 7:] = 0
    for changed in (padded, inputs[:, :7]):
        close(backbone(changed)[1][:, :7], outputs[:, :7])
        close(backbone(changed)[0][:, :7], states[:, :7])


@torch.inference_mode()
def test_outputs_depend_on_all_that_came_before_and_on_its_order(make: Make) -> None:
    backbone, inputs = make(), inputs_of(5, 1, 8, width=WIDTH)
    wanted = backbone(inputs)[1][:, -1]
    assert not torch.allclose(backbone(inputs[:, 1:])[1][:, -1], wanted, atol=1e-4)
    assert not torch.allclose(backbone(inputs[:, [1, 0, 2, 3, 4, 5, 6, 7]])[1][:, -1], wanted, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["gru", "linear"])
def test_before_training_outputs_lean_towards_all_inputs_so_far(name: BackboneName) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = BACKBONES[name](64, 64)
    inputs = inputs_of(13, 200, 3, width=64) / 8
    last = backbone(inputs)[1][:, -1:]
    likeness = torch.cosine_similarity(last, inputs, -1).mean(0)
    assert likeness.min() > 0.1


def test_every_weight_gets_a_finite_gradient_that_is_not_zero(make: Make) -> None:
    backbone, inputs = make(), inputs_of(6, 3, WINDOW, width=WIDTH).requires_grad_()
    assert isinstance(backbone, torch.nn.Module)
    _, outputs = backbone(inputs)
    loss = (outputs * inputs_of(7, *outputs.shape[:-1], width=outputs.shape[-1])).sum()
    weights = dict(backbone.named_parameters()) | {"inputs": inputs}
    for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_a_seed_fixes_the_weights(make: Make) -> None:
    inputs = inputs_of(8, 1, 4, width=WIDTH)
    first, again, other = (make(seed)(inputs)[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("steps", [64, 500])
def test_steps_through_halves_stay_close_to_forward(make: Make, steps: int) -> None:
    """A worker rounds a state to halves after every event."""
    backbone, inputs = make(width=64, hidden=64), inputs_of(9, 4, steps, width=64)
    assert drift(backbone, inputs) < 1e-3
