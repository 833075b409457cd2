"""The network that a fit begins with: drawn from a seed, or carried over from an earlier version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.data.events import SEARCH, Event, actions_of, item_key
from model.data.queries import QueryWords
from model.data.query_table import QueryTable
from model.data.sequences import sequences_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.network.backbones import BackboneName
from model.network.network import LARGE_WORDS, SMALL_WORDS, Network, NetworkConfig
from model.rounds.initial_network import carried_over, cold_start, warm_start, with_word_rows, word_rows_for
from model.versions.version import Version
from tests.unit.builders.basics import BACKBONES, make_version


def tiny(vocabulary: Vocabulary, seed: int = 0, backbone: BackboneName = "gru") -> Network:
    return cold_start(NetworkConfig(items=len(vocabulary), backbone=backbone, width=16, hidden=16), seed)


def as_version(network: Network, vocabulary: Vocabulary) -> Version:
    return replace(make_version(vocabulary.items), network=network.eval(), vocabulary=vocabulary)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_warm_start_keeps_what_was_known(backbone: BackboneName) -> None:
    old_words, new_words = Vocabulary(["a", "b", "c"]), Vocabulary(["a", "b", "c", "new", "newer"])
    old = as_version(tiny(old_words, backbone=backbone), old_words)
    network = warm_start(old, new_words, torch.Generator().manual_seed(0))
    weights = old.network.state_dict()
    known = ITEM_BUCKETS + 3
    for key, tensor in network.state_dict().items():
        result = tensor[:known] if key in ("items.weight", "sides") else tensor
        assert torch.equal(result, weights[key])
    bucket = weights["items.weight"][item_key("new") % ITEM_BUCKETS]
    distance = (network.items.weight[known] - bucket).norm().item()
    assert 0 < distance < 0.3 * bucket.norm().item()


def test_a_warm_start_follows_ids_and_not_rows() -> None:
    old_words, new_words = Vocabulary(["a", "b"]), Vocabulary(["b", "a"])
    old = as_version(tiny(old_words), old_words)
    network = warm_start(old, new_words, torch.Generator().manual_seed(0))
    assert torch.equal(network.item_vectors(), old.network.item_vectors().flip(0))


@torch.inference_mode()
def test_a_network_with_more_words_answers_as_before_and_tells_them_apart() -> None:
    vocabulary = Vocabulary(["a", "b"])
    small = tiny(vocabulary).eval()
    large = with_word_rows(small, LARGE_WORDS).eval()
    assert with_word_rows(large, SMALL_WORDS) is large
    assert (large.config.word_rows, len(large.words.weight)) == (65_536, 65_536)
    words = np.random.default_rng(1).integers(1, 65_521, (50, 12)).astype(np.uint16)
    words[:, 5:] = 0  # a small network reads no more
    keys = np.arange(50, dtype=np.uint64)
    tokens = vocabulary.tokens(keys[None], np.full((1, 50), SEARCH, np.uint32), QueryTable(QueryWords(keys, words)))
    torch.testing.assert_close(large(tokens), small(tokens), atol=0, rtol=0)
    assert not large.words.weight[0].any()


def test_a_log_without_searches_needs_no_words_of_its_own() -> None:
    search, view = Event("u", "search", query="red shoes"), Event("u", "view", "a")
    assert word_rows_for(sequences_of(actions_of([search, view], [1, 2]))) == 65_536
    assert word_rows_for(sequences_of(actions_of([search, view], [1, 2])), SMALL_WORDS) == 4_096
    assert word_rows_for(sequences_of(actions_of([view], [2]))) == 4_096


def test_what_is_appended_grows_a_network_and_nothing_else_does() -> None:
    words = Vocabulary(["a", "b"])
    network = tiny(words)
    assert carried_over(network, words, words.grown(["b"]), 1) is network
    first, again, other = (carried_over(network, words, words.grown(["c"]), seed) for seed in (1, 1, 2))
    assert torch.equal(first.item_vectors()[:2], network.item_vectors())
    assert torch.equal(first.items.weight, again.items.weight)
    assert not torch.equal(first.items.weight[-1], other.items.weight[-1])
    assert not first.training


def test_a_seed_fixes_the_first_weights_and_leaves_the_callers_randomness_alone() -> None:
    vocabulary, before = Vocabulary(["a", "b"]), torch.get_rng_state()
    first, again, other = (tiny(vocabulary, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["items.weight"], other["items.weight"])
