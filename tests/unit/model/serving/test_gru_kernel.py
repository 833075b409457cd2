"""The compiled step of gated recurrent units, against the network's own step, user after user."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.network.network import LARGE_WORDS
from model.serving.gru_kernel import CompiledStep
from tests.unit.builders.steppers import HALF, SLOTS, check_steps, make_network, make_tokens


@pytest.mark.parametrize("rounds", [(0,), (1,), (3,), (4, 4), (63, 9, 1), (64,), (65, 65), (200, 130, 2, 1)])
@pytest.mark.parametrize("sizes", [(128, 128), (24, 16), (20, 70), (64, 65)])
@torch.inference_mode()
def test_a_compiled_step_equals_the_networks(sizes: tuple[int, int], rounds: tuple[int, ...]) -> None:
    network = make_network(*sizes)
    check_steps(network, CompiledStep(network), rounds)


@torch.inference_mode()
def test_a_large_table_of_words_is_read_as_the_network_reads_it() -> None:
    network = make_network(24, 16, word_rows=LARGE_WORDS)
    check_steps(network, CompiledStep(network), (64, 9))


@torch.inference_mode()
def test_saturated_gates_give_finite_numbers() -> None:
    network = make_network(24, 16)
    for weight in network.backbone.parameters():  # type: ignore[attr-defined]
        weight.mul_(1000)
    check_steps(network, CompiledStep(network), (64,), near=HALF)  # sums of thousands


@torch.inference_mode()
def test_a_users_step_does_not_depend_on_the_others_of_the_batch() -> None:
    network, tokens, hidden = make_network(24, 16), make_tokens(70), torch.randn(SLOTS, 16).half()
    step, users = CompiledStep(network).step, torch.arange(70)
    alone, together = hidden.clone(), hidden.clone()
    vectors = step(tokens, users, np.array([0, 70]), together)
    for n in range(70):
        one = step(tokens[n : n + 1], users[n : n + 1], np.array([0, 1]), alone)
        torch.testing.assert_close(one[0], vectors[n], atol=0, rtol=0)
    torch.testing.assert_close(alone, together, atol=0, rtol=0)
