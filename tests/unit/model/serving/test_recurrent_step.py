"""Steps of hidden states where they lie, compiled or not, against the network's own step, user after user."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from model.data.events import item_key
from model.data.vocabulary import Tokens, Vocabulary
from model.network.backbones import BackboneName
from model.network.network import Network, NetworkConfig
from model.serving import recurrent_step as stepper_module
from model.serving.gru_kernel import CompiledStep
from model.serving.recurrent_step import Stepper, TensorStep, stepper_of

ITEMS = [f"item {n}" for n in range(50)]
SLOTS = 300
CPU = torch.device("cpu")
HALF = 5e-4  # of a half precision number around one: two that are rounded from neighbours lie one apart


@pytest.mark.parametrize("rounds", [(0,), (1,), (3,), (4, 4), (63, 9, 1), (64,), (65, 65), (200, 130, 2, 1)])
@pytest.mark.parametrize("sizes", [(128, 128), (24, 16), (20, 70), (64, 65)])
@torch.inference_mode()
def test_a_compiled_step_is_that_of_the_network(sizes: tuple[int, int], rounds: tuple[int, ...]) -> None:
    network = make_network(*sizes)
    check(network, CompiledStep(network), rounds)


@pytest.mark.parametrize("backbone", ["gru", "linear"])
@pytest.mark.parametrize("at_once", [1, 7, 64])
@torch.inference_mode()
def test_so_is_one_by_tensors_however_many_at_once(
    backbone: BackboneName, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepper_module, "_AT_ONCE", at_once)
    network = make_network(24, 16, backbone)
    check(network, TensorStep(network, CPU), (64, 10, 1))


@torch.inference_mode()
def test_gates_that_are_open_or_closed_for_good_leave_numbers() -> None:
    network = make_network(24, 16)
    for weight in network.backbone.parameters():  # type: ignore[attr-defined]
        weight.mul_(1000)
    check(network, CompiledStep(network), (64,), near=HALF)  # sums of thousands


@torch.inference_mode()
def test_what_a_user_becomes_does_not_depend_on_who_else_is_stepped() -> None:
    network, tokens, hidden = make_network(24, 16), make_tokens(70), torch.randn(SLOTS, 16).half()
    step, users = CompiledStep(network).step, torch.arange(70)
    alone, together = hidden.clone(), hidden.clone()
    vectors = step(tokens, users, np.array([0, 70]), together)
    for n in range(70):
        one = step(tokens[n : n + 1], users[n : n + 1], np.array([0, 1]), alone)
        torch.testing.assert_close(one[0], vectors[n], atol=0, rtol=0)
    torch.testing.assert_close(alone, together, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("backbone", "device", "kind"),
    [("gru", "cpu", CompiledStep), ("linear", "cpu", TensorStep), ("gru", "cuda", TensorStep)],
)
def test_gated_units_on_the_cpu_are_stepped_by_what_is_compiled(
    backbone: BackboneName, device: str, kind: type
) -> None:
    assert type(stepper_of(make_network(24, 16, backbone), torch.device(device))) is kind


def make_network(width: int, hidden: int, backbone: BackboneName = "gru") -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(width)
        network = Network(NetworkConfig(items=len(ITEMS), backbone=backbone, width=width, hidden=hidden))
    return network.eval().requires_grad_(False)


def make_tokens(count: int) -> Tokens:
    """Of known and unknown items and of searches, some of them without a word."""
    randomness = np.random.default_rng(count)
    contexts = randomness.integers(0, 2**32, count, dtype=np.uint32)
    contexts -= (contexts % 8 == 7).astype(np.uint32)  # there is no type 7
    item_keys = np.array([*map(item_key, [*ITEMS, "unknown"]), 0, 5 << 12 | 7], np.uint64)
    return Vocabulary(ITEMS).tokens(randomness.choice(item_keys, count), contexts)


def check(network: Network, stepper: Stepper, rounds: tuple[int, ...], *, near: float = 1e-5) -> None:
    """Steps so many users in each round, and compares."""
    randomness = np.random.default_rng(1)
    cuts = np.cumsum([0, *rounds])
    users = rounds_of(randomness.permutation(SLOTS), rounds)
    tokens, size = make_tokens(len(users)), network.backbone.state_size
    before = torch.randn(SLOTS, size, generator=torch.Generator().manual_seed(1)).half()
    hidden, expected = before.clone(), before.clone()
    vectors = stepper.step(tokens, torch.from_numpy(users), cuts, hidden)
    wanted = by_the_network(network, tokens, users, cuts, expected)
    torch.testing.assert_close(vectors, wanted, atol=HALF, rtol=HALF)
    torch.testing.assert_close(vectors[: rounds[0]], wanted[: rounds[0]], atol=near, rtol=near)
    torch.testing.assert_close(hidden, expected, atol=HALF, rtol=2 * HALF)
    others = np.setdiff1d(np.arange(SLOTS), users)
    torch.testing.assert_close(hidden[others], before[others], atol=0, rtol=0)


def rounds_of(users: np.ndarray, rounds: tuple[int, ...]) -> np.ndarray:
    """Each round's users are among those of the round before; those who come last come first in the next one."""
    found = [users[: rounds[0]]]
    for count in rounds[1:]:
        found.append(found[-1][::-1][:count])
    return np.concatenate(found)


def by_the_network(network: Network, tokens: Tokens, users: np.ndarray, cuts: np.ndarray, hidden: Tensor) -> Tensor:
    """The vectors, one user at a time."""
    found = [torch.zeros(0, network.config.width)]
    for begin, end in pairwise(cuts.tolist()):
        for place in range(begin, end):
            user, action = users[place : place + 1], slice(place, place + 1)
            state, vector = network.step(tokens[action], hidden[user].float())
            hidden[user] = state.half()
            found.append(vector)
    return torch.cat(found)
