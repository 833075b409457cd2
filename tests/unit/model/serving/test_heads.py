"""The heads' compiled loops, against the network's layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.network.network import Network, NetworkConfig
from model.network.purchase_features import NUM_FEATURES, ROWS
from model.serving.heads import Heads, exponentials, type_given_item


@pytest.mark.parametrize("count", [0, 1, 5])
@torch.inference_mode()
def test_the_loops_compute_what_the_layers_compute(count: int) -> None:
    network = make_network()
    heads, vectors = Heads(network), 3 * torch.randn(count, 24)
    close(heads.next_type(vectors.numpy()), network.type_logits(vectors).softmax(-1))
    close(heads.of_user(vectors.numpy()), torch.from_numpy(exponentials(network.type_by_vector(vectors))))
    features = np.random.default_rng(1).integers(ROWS, size=(count, NUM_FEATURES)).astype(np.int32)
    close(heads.purchase(features), network.purchase(torch.from_numpy(features)))


@torch.inference_mode()
def test_logits_far_apart_give_finite_probabilities() -> None:
    network = make_network()
    vectors = 1e4 * torch.randn(20, 24)
    computed = Heads(network).next_type(vectors.numpy())
    close(computed, network.type_logits(vectors).softmax(-1))
    assert (computed == 0).any()


def make_network() -> Network:
    """A network in which every weight counts, the purchase head's too."""
    torch.manual_seed(1)
    network = Network(NetworkConfig(items=5, width=24, hidden=16)).eval().requires_grad_(False)
    for head in (network.next_type, network.type_by_vector, network.purchase):
        for weight in head.parameters():
            weight.normal_()
    return network


def close(computed: np.ndarray, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(computed, expected.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_the_type_given_the_item_is_the_softmax_of_the_sum(spread: float) -> None:
    drawn = torch.Generator().manual_seed(1)
    users, catalogue = torch.randn(7, 8, generator=drawn) * spread, torch.randn(30, 8, generator=drawn)
    catalogue[:, 3] = float("-inf")
    items = torch.randint(30, (7, 20), generator=drawn)

    computed = type_given_item(exponentials(users), exponentials(catalogue), items.numpy())
    expected = (users.double()[:, None] + catalogue.double()[items]).softmax(-1).numpy()
    np.testing.assert_allclose(computed, expected, atol=1e-6)
    assert not computed[:, :, 3].any()
