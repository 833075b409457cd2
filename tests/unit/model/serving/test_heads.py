"""The heads' compiled call, against the network's layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.data.recent import RecentActions
from model.network.calibration import Calibration
from model.network.network import Network, NetworkConfig
from model.network.purchase_features import purchase_features
from model.serving.heads import HeadAnswers, Heads, exponentials

WIDTH, ITEMS, SEARCH = 24, 30, 1
CALIBRATION = Calibration(slope=0.7, intercept=-0.2)


@pytest.mark.parametrize("count", [0, 1, 5])
@torch.inference_mode()
def test_the_call_computes_what_the_layers_compute(count: int) -> None:
    network, item_vectors, items = make_network(), torch.randn(ITEMS, WIDTH), torch.randint(ITEMS, (count, 20))
    vectors, recent = 3 * torch.randn(count, WIDTH), some_actions(count)

    answers = answers_of(network, item_vectors, vectors, recent, items)
    close(answers.next_type, network.type_logits(vectors).softmax(-1))
    close(answers.type_given_item, on_items(network, vectors, item_vectors[items]))
    logits = network.purchase(torch.from_numpy(purchase_features(recent)))
    close(answers.purchase, CALIBRATION.probabilities(logits))


@torch.inference_mode()
def test_logits_far_apart_give_finite_probabilities() -> None:
    network, item_vectors = make_network(), torch.randn(ITEMS, WIDTH)
    vectors, items = 1e4 * torch.randn(20, WIDTH), torch.randint(ITEMS, (20, 20))
    answers = answers_of(network, item_vectors, vectors, some_actions(20), items)
    close(answers.next_type, network.type_logits(vectors).softmax(-1))
    assert (answers.next_type == 0).any()
    assert np.isfinite(answers.purchase).all()


@torch.inference_mode()
def test_an_answer_is_the_same_bit_for_bit_in_whatever_batch() -> None:
    network, item_vectors, items = make_network(), torch.randn(ITEMS, WIDTH), torch.randint(ITEMS, (40, 20))
    vectors, recent = torch.randn(40, WIDTH), some_actions(40)
    together = answers_of(network, item_vectors, vectors, recent, items)
    for n in range(40):
        one = slice(n, n + 1)
        alone = answers_of(network, item_vectors, vectors[one], recent.select(one), items[one])
        for column, row in zip(together, alone, strict=True):
            np.testing.assert_array_equal(column[one], row)


@torch.inference_mode()
def test_items_that_come_later_are_answered_about_as_the_layers_do() -> None:
    network, item_vectors = make_network(), torch.randn(ITEMS, WIDTH)
    heads, count = Heads(network, item_vectors, CALIBRATION), ITEMS
    all_vectors = item_vectors.clone()
    vectors, recent = torch.randn(40, WIDTH), some_actions(40)
    for fresh, moved in ((0, []), (1, []), (7, [ITEMS]), (300, [ITEMS + 3, ITEMS + 5]), (0, [ITEMS + 1])):
        room = torch.zeros(count + fresh + 20, WIDTH)  # more than there are items
        room[:count] = all_vectors[:count]
        numbers = [*moved, *range(count, count + fresh)]
        room[numbers] = torch.randn(len(numbers), WIDTH)
        all_vectors, count = room, count + fresh
        heads.take_items(np.array(numbers, np.int64), all_vectors.numpy())
        items = torch.randint(count, (40, 20))
        answers = heads.answer(vectors.numpy(), recent, items.numpy())
        close(answers.type_given_item, on_items(network, vectors, all_vectors[items]))


def test_exponentials_give_a_softmax_also_of_logits_far_apart() -> None:
    logits = torch.tensor([[1000.0, 1001.0, float("-inf")], [-1000.0, 0.0, -5.0]])
    powers = exponentials(logits)
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), logits.double().softmax(-1).numpy())


def make_network() -> Network:
    """A network in which every weight counts, the purchase head's too."""
    torch.manual_seed(1)
    network = Network(NetworkConfig(items=5, width=WIDTH, hidden=16)).eval().requires_grad_(False)
    for layer in (network.next_type, network.type_by_vector, network.type_by_item, network.purchase):
        for weight in layer.parameters():
            weight.normal_()
    return network


def some_actions(count: int) -> RecentActions:
    """Last actions of so many users, from none to more than count."""
    rng = np.random.default_rng(1)
    starts = np.arange(count, dtype=np.int64)
    contexts = rng.integers(0, 4, 2 * count + 40).astype(np.uint32)
    items = rng.integers(-1, 5, len(contexts)).astype(np.int32)
    return RecentActions(items, contexts, starts, starts + rng.integers(0, 40, count), np.zeros(len(items), np.uint64))


def on_items(network: Network, vectors: Tensor, item_vectors: Tensor) -> Tensor:
    """P(type | item) of ranked items' vectors (N, k, D); a search is not on an item."""
    probabilities = network.type_given_item_logits(vectors[:, None], item_vectors).softmax(-1)
    assert not probabilities[..., SEARCH].any()
    return probabilities


def answers_of(
    network: Network, item_vectors: Tensor, vectors: Tensor, recent: RecentActions, items: Tensor
) -> HeadAnswers:
    return Heads(network, item_vectors, CALIBRATION).answer(vectors.numpy(), recent, items.numpy())


def close(computed: np.ndarray, expected: Tensor) -> None:
    np.testing.assert_allclose(computed, expected.numpy(), rtol=1e-4, atol=1e-6)
