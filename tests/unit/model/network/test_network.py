"""The network: one action at a time is the same function as whole sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.data.events import EVENT_TYPES, SEARCH, item_key
from model.data.queries import QueryWords
from model.data.query_table import QueryTable
from model.data.vocabulary import ITEM_BUCKETS, Tokens, Vocabulary
from model.network.backbones import BackboneName
from model.network.network import LARGE_WORDS, SMALL_WORDS, Network, NetworkConfig, WordRows
from model.state.searches import queries_of_first_keys
from tests.unit.builders.basics import BACKBONES

ITEMS = [f"item {n}" for n in range(20)]


def random_tokens(seed: int, *shape: int) -> Tokens:
    randomness = np.random.default_rng(seed)
    contexts = randomness.integers(0, 2**32, shape, dtype=np.uint32)
    contexts -= (contexts % 8 == 7).astype(np.uint32)  # type 7 does not exist
    items = np.array([item_key(item) for item in [*ITEMS, "unknown"]], np.uint64)
    return Vocabulary(ITEMS).tokens(randomness.choice(items, shape), contexts, QueryTable(queries_of_first_keys(items)))


@pytest.mark.parametrize("backbone", BACKBONES)
@torch.inference_mode()
def test_steps_equal_forward(backbone: BackboneName) -> None:
    network = Network(NetworkConfig(items=len(ITEMS), backbone=backbone, width=24, hidden=16)).eval()
    tokens = random_tokens(1, 5, 12)
    states, vectors = network(tokens)
    state = network.initial_state(5)
    for t in range(12):
        state, vector = network.step(tokens[:, t], state)
        torch.testing.assert_close(state, states[:, t], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vector, vectors[:, t], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network.readout(tokens[:, t], state), vector, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_large_table_has_a_row_for_each_word_and_a_small_one_shares_them() -> None:
    buckets = [1, 4095, 4096, 65_520, 7, 9, 0, 0, 0, 0, 0, 0]
    queries = QueryTable(QueryWords(np.array([3], np.uint64), np.array([buckets], np.uint16)))
    tokens = Vocabulary(ITEMS).tokens(np.array([[3]], np.uint64), np.array([[SEARCH]], np.uint32), queries)
    cases: list[tuple[WordRows, list[int]]] = [(SMALL_WORDS, [1, 4095, 1, 4095, 7]), (LARGE_WORDS, buckets[:6])]
    for rows, wanted in cases:
        network = Network(NetworkConfig(items=len(ITEMS), width=24, hidden=16, word_rows=rows)).eval()
        torch.testing.assert_close(network.embed(tokens)[0][0, 0], network.words.weight[wanted].mean(0))


@torch.inference_mode()
def test_items_are_read_alike_beside_searches_and_without_any() -> None:
    network, vocabulary = Network(NetworkConfig(items=len(ITEMS), width=24, hidden=16)).eval(), Vocabulary(ITEMS)
    item_keys = np.array([[item_key("item 3"), 5 << 12 | 7, item_key("item 4")]], np.uint64)
    contexts = np.array([[3, SEARCH, 3]], np.uint32)
    queries = QueryTable(queries_of_first_keys(item_keys[0, 1:2]))
    mixed = vocabulary.tokens(item_keys, contexts, queries)
    items = vocabulary.tokens(item_keys[:, ::2], contexts[:, ::2])
    assert not items.words.numel()
    embedded, inputs = network.embed(mixed)
    torch.testing.assert_close(network.embed(items), (embedded[:, ::2], inputs[:, ::2]))
    torch.testing.assert_close(embedded[0, 0], network.items.weight[ITEM_BUCKETS + 3])
    torch.testing.assert_close(embedded[0, 1], network.words.weight[[5, 7]].mean(0))


def test_the_input_of_a_step_is_the_embedded_item_and_the_rows_of_its_context() -> None:
    network = Network(NetworkConfig(items=len(ITEMS), width=24, hidden=16)).eval()
    tokens = random_tokens(6, 5, 12)
    embedded, inputs = network.embed(tokens)  # with a gradient to keep, row 0 is left out
    wanted = embedded + network.contexts.weight[tokens.contexts].sum(-2)
    torch.testing.assert_close(inputs, wanted)
    with torch.inference_mode():
        torch.testing.assert_close(network.embed(tokens)[1], wanted)
    inputs.sum().backward()  # type: ignore[no-untyped-call]
    assert network.contexts.weight.grad is not None
    assert not network.contexts.weight.grad[0].any()


def test_forward_goes_on_from_a_state() -> None:
    network = Network(NetworkConfig(items=len(ITEMS), width=24, hidden=16)).eval()
    tokens = random_tokens(2, 3, 9)
    states, vectors = network(tokens)
    _, rest = network(tokens[:, 4:], states[:, 3])
    torch.testing.assert_close(rest, vectors[:, 4:], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing_before_it() -> None:
    network = Network(NetworkConfig(items=len(ITEMS), width=8, hidden=8)).eval()
    tokens = random_tokens(3, 2, 6)
    torch.testing.assert_close(network(tokens[:, :4])[1], network(tokens)[1][:, :4], atol=1e-6, rtol=1e-5)


def test_before_training_the_users_own_items_are_the_best_guess() -> None:
    torch.manual_seed(0)
    network, vocabulary = Network(NetworkConfig(items=len(ITEMS))).eval(), Vocabulary(ITEMS)
    viewed = np.array([np.random.default_rng(user).permutation(len(ITEMS))[:3] for user in range(100)])
    item_keys = np.array([item_key(item) for item in ITEMS], np.uint64)[viewed]
    vectors = network(vocabulary.tokens(item_keys, np.zeros(item_keys.shape, np.uint32)))[1][:, -1]
    best = (network.queries(vectors) @ network.item_vectors().T).topk(3).indices
    found = (best[:, :, None] == torch.from_numpy(viewed)[:, None]).any(1).float().mean(0)
    assert found[2] == 1  # the last item of each user
    assert found[1] > 0.5  # by chance it would be 3 of 20


def test_item_logits_are_scaled_cosines() -> None:
    network = Network(NetworkConfig(items=len(ITEMS), width=8, hidden=8, logit_scale=10.0)).eval()
    vectors = network(random_tokens(4, 2, 3))[1][:, -1]
    logits = network.queries(vectors) @ network.item_vectors().T
    assert logits.shape == (2, len(ITEMS))
    item = network.items.weight[ITEM_BUCKETS + 4]
    cosine = (vectors[1] @ item) / (vectors[1].norm() * item.norm())
    torch.testing.assert_close(logits[1, 4], 10 * cosine)


def test_nobody_searches_on_an_item() -> None:
    network = Network(NetworkConfig(items=len(ITEMS), width=8, hidden=8)).eval()
    vectors = network(random_tokens(5, 2, 3))[1]
    logits = network.type_given_item_logits(vectors, network.item_vectors()[:3].expand(2, 3, 8))
    probabilities = logits.softmax(-1)
    assert probabilities.shape == (2, 3, len(EVENT_TYPES))
    assert (probabilities[..., SEARCH] == 0).all()
    assert network.purchase_soon_logits(vectors).shape == (2, 3)
