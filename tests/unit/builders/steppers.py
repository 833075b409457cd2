"""Small networks to step users with, and the network's own step as the oracle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from model.data.events import item_key
from model.data.queries import BUCKETS, MOST_WORDS, QueryWords
from model.data.query_table import QueryTable
from model.data.vocabulary import Tokens, Vocabulary
from model.network.backbones import BackboneName
from model.network.network import SMALL_WORDS, Network, NetworkConfig, WordRows
from model.serving.recurrent_step import Stepper

ITEMS = [f"item {n}" for n in range(50)]
SLOTS = 300
HALF = 5e-4  # of a half precision number around one: two that are rounded from neighbours lie one apart


def make_network(width: int, hidden: int, backbone: BackboneName = "gru", word_rows: WordRows = SMALL_WORDS) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(width)
        config = NetworkConfig(items=len(ITEMS), backbone=backbone, width=width, hidden=hidden, word_rows=word_rows)
        network = Network(config)
    return network.eval().requires_grad_(False)


def make_tokens(count: int) -> Tokens:
    """Actions on known and unknown items, and searches, some of them without a word."""
    randomness = np.random.default_rng(count)
    contexts = randomness.integers(0, 2**32, count, dtype=np.uint32)
    contexts -= (contexts % 8 == 7).astype(np.uint32)  # there is no type 7
    item_keys = np.array([*map(item_key, [*ITEMS, "unknown"]), 0, 5 << 12 | 7], np.uint64)
    words = randomness.integers(1, BUCKETS + 1, (len(item_keys), MOST_WORDS))
    words[np.arange(MOST_WORDS) >= np.array([0, 12, 6, *[5] * (len(item_keys) - 3)])[:, None]] = 0
    queries = QueryTable(QueryWords(item_keys, words[::-1].astype(np.uint16)))
    return Vocabulary(ITEMS).tokens(randomness.choice(item_keys, count), contexts, queries)


def check_steps(network: Network, stepper: Stepper, rounds: tuple[int, ...], *, near: float = 1e-5) -> None:
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
    chosen = [users[: rounds[0]]]
    for count in rounds[1:]:
        chosen.append(chosen[-1][::-1][:count])
    return np.concatenate(chosen)


def by_the_network(network: Network, tokens: Tokens, users: np.ndarray, cuts: np.ndarray, hidden: Tensor) -> Tensor:
    """The vectors by the network's own step, one user at a time."""
    vectors = [torch.zeros(0, network.config.width)]
    for begin, end in pairwise(cuts.tolist()):
        for n in range(begin, end):
            user, action = users[n : n + 1], slice(n, n + 1)
            state, vector = network.step(tokens[action], hidden[user].float())
            hidden[user] = state.half()
            vectors.append(vector)
    return torch.cat(vectors)
