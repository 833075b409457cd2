"""Losses against plain arithmetic, and the sampled softmax against what it stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.data.batches import batches
from model.data.events import EVENT_TYPES, Event, actions_of
from model.data.sequences import sequences_of
from model.data.targets import targets_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.network.network import Network, NetworkConfig
from model.training.losses import FULL_SOFTMAX_ITEMS, NextItems, Popularity, Recency, Sample, item_loss, losses_of

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(items: int) -> Network:
    torch.manual_seed(1)
    return Network(NetworkConfig(items=items, width=6, hidden=6)).eval()


def strangers(*items: int) -> NextItems:
    """Next items of as many sequences, all of one weight."""
    return NextItems(torch.tensor(items), torch.arange(len(items)), torch.ones(len(items)))


def sample_of(popularity: Popularity, *items: int) -> Sample:
    """What the softmax of a batch with these next items is over."""
    return popularity.sample(torch.tensor(items, dtype=torch.int64), generator())


def cosine_logits(network: Network, vector: torch.Tensor) -> list[float]:
    """Scaled cosines of one vector and all items, number by number."""
    table = network.items.weight[ITEM_BUCKETS:].tolist()
    x = vector.tolist()
    return [
        network.config.logit_scale
        * sum(a * b for a, b in zip(x, row, strict=True))
        / math.sqrt(sum(a * a for a in x) * sum(b * b for b in row))
        for row in table
    ]


def test_a_small_vocabulary_gets_the_full_softmax() -> None:
    network, vectors = small(7), torch.randn(3, 6, generator=generator())
    expected = 0.0
    for vector, target in zip(vectors, (0, 6, 3), strict=True):
        logits = cosine_logits(network, vector)
        expected += math.log(sum(map(math.exp, logits))) - logits[target]
    result = item_loss(network, vectors, strangers(0, 6, 3), sample_of(Popularity(np.ones(7, np.int64)), 0, 6, 3))
    assert result.item() == pytest.approx(expected / 3, rel=1e-4)


def test_a_large_vocabulary_gets_a_sample_with_the_log_of_its_chances() -> None:
    items = FULL_SOFTMAX_ITEMS + 1
    network = small(items)
    counts = np.random.default_rng(2).integers(0, 50, items)
    popularity = Popularity(counts, negatives=40)
    vectors, targets = torch.randn(6, 6, generator=generator()), [5, 5, 4000, 5, 17, 17]
    sequences, weights = [0, 0, 0, 1, 2, 2], [0.5, 1.0, 2.0, 1.5, 0.25, 3.0]
    candidates = popularity.candidates(torch.tensor(targets), generator(9)).tolist()
    assert len(set(candidates)) == len(candidates) <= 43
    total, flat = counts.sum(), sum((count + 1) ** 0.75 for count in counts)
    expected = 0.0
    for step, (vector, target) in enumerate(zip(vectors, targets, strict=True)):
        logits = cosine_logits(network, vector)
        certain = [t for n, t in enumerate(targets) if sequences[n] == sequences[step] and n != step]
        corrected = {}
        for item in candidates:
            times = 6 * counts[item] / total + 40 * (counts[item] + 1) ** 0.75 / flat
            corrected[item] = logits[item] - (0 if item in certain else math.log(1 - math.exp(-times)))
        normaliser = math.log(sum(map(math.exp, corrected.values())))
        expected += weights[step] * (normaliser - corrected[target])
        if sequences[step] == [*sequences, None][step + 1]:
            expected += 0.3 * weights[step] * (normaliser - corrected[targets[step + 1]])
    next_items = NextItems(torch.tensor(targets), torch.tensor(sequences), torch.tensor(weights))
    result = item_loss(network, vectors, next_items, popularity.sample(torch.tensor(targets), generator(9)))
    assert result.item() == pytest.approx(expected / 6, rel=1e-4)


def test_the_inclusion_chances_are_those_of_the_draw() -> None:
    counts = np.array([400, 100, 50, 10, 3, 1, 0, 0])
    popularity = Popularity(counts, negatives=4)
    shares, draws, rounds = torch.from_numpy(counts / counts.sum()), generator(3), 4000
    seen = torch.zeros(8)
    for _ in range(rounds):
        targets = torch.multinomial(shares, 5, replacement=True, generator=draws)
        seen[popularity.candidates(targets, draws)] += 1
    chances = popularity.log_inclusion(torch.arange(8), 5).exp()
    # 1 - exp(-n) stands for 1 - (1 - p)^draws, a little less for an item that is nearly always there.
    torch.testing.assert_close(seen / rounds, chances, atol=0.05, rtol=0.0)


def test_with_everything_drawn_the_sample_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network, vectors, targets = small(30), torch.randn(8, 6, generator=generator()), strangers(*range(8))
    popularity = Popularity(np.full(30, 3), negatives=3000)
    full = item_loss(network, vectors, targets, sample_of(popularity, *range(8)))
    monkeypatch.setattr("model.training.losses.FULL_SOFTMAX_ITEMS", 0)
    sampled = item_loss(network, vectors, targets, sample_of(popularity, *range(8)))
    torch.testing.assert_close(full, sampled)


def test_all_losses_of_a_batch_by_hand() -> None:
    rows = [("u", "view", "a"), ("u", "search", "q"), ("u", "purchase", "b")]
    rows += [("v", "cart", "b"), ("v", "view", "new")]
    events = [Event(user_id=user, type=kind, item_id=thing, query=thing) for user, kind, thing in rows]
    sequences, vocabulary = sequences_of(actions_of(events, range(5))), Vocabulary(["a", "b"])
    network = small(2)
    (batch,) = batches(sequences, tokens=100)
    tokens = vocabulary.tokens(batch.item_keys, batch.contexts, batch.queries)
    sample, weights = sample_of(Popularity(np.ones(2, np.int64)), 1), torch.full(batch.counted.shape, 1.0)
    result = losses_of(network, tokens, targets_of(batch, vocabulary, CPU), weights, sample).values()
    counted = torch.from_numpy(batch.counted)
    vectors = dict(zip(batch.positions[batch.counted].tolist(), network(tokens)[1][counted], strict=True))
    names = [kind for _, kind, _ in rows]

    def log_p(logits: torch.Tensor, kind: str) -> float:
        values = logits.tolist()
        return float(values[EVENT_TYPES.index(kind)] - math.log(sum(map(math.exp, values))))

    # Actions 2 and 4 end their users' sequences; of the next ones, 1 is a search and 4 is on an unknown item.
    assert result["next_type"] == pytest.approx(
        -sum(log_p(network.type_logits(vectors[action]), names[action + 1]) for action in (0, 1, 3)) / 3,
        rel=1e-4,
    )
    logits = cosine_logits(network, vectors[1])
    assert result["item"] == pytest.approx(math.log(sum(map(math.exp, logits))) - logits[1], rel=1e-4)
    rows_of_next = vocabulary.rows_of(sequences.item_keys[[2, 4]])
    given = network.type_given_item_logits(
        torch.stack([vectors[1], vectors[3]]), network.item_vectors(torch.from_numpy(rows_of_next))
    )
    assert result["type_given_item"] == pytest.approx(
        -(log_p(given[0], "purchase") + log_p(given[1], "view")) / 2, rel=1e-4
    )
    expected = 0.0
    for action in range(5):
        p = 1 / (1 + math.exp(-network.purchase_soon_logits(vectors[action]).item()))
        expected -= math.log(p if action in (0, 1) else 1 - p) / 5
    assert result["purchase"] == pytest.approx(expected, rel=1e-4)


def test_without_targets_a_loss_is_zero_and_not_nan() -> None:
    sequences = sequences_of(actions_of([Event(user_id="u", type="search", query="x")], [0]))
    (batch,) = batches(sequences, tokens=10)
    vocabulary, network = Vocabulary(["a", "b"]), small(2)
    tokens = vocabulary.tokens(batch.item_keys, batch.contexts, batch.queries)
    sample, weights = sample_of(Popularity(np.ones(2, np.int64))), torch.full(batch.counted.shape, 1.0)
    result = losses_of(network, tokens, targets_of(batch, vocabulary, CPU), weights, sample).values()
    assert (result["item"], result["next_type"], result["type_given_item"]) == (0.0, 0.0, 0.0)
    assert result["purchase"] > 0


def test_recency_halves_with_every_share_of_the_log_that_came_later() -> None:
    times = np.array([30, 10, 20, 40, 10**12])  # in the order of time: 1, 2, 0, 3, 4
    weights = Recency(np.sort(times), half_life=0.4).weights(times)
    np.testing.assert_allclose(weights[[1, 2, 0, 3]] / weights[[2, 0, 3, 4]], 0.5**0.5, rtol=1e-6)
    assert weights.mean() == pytest.approx(1)
    assert len(Recency(times[:0], half_life=0.4).weights(times[:0])) == 0
