"""Full ranking against loops over every item and every target."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.data.events import EVENT_TYPES, REMOVE, SEARCH, Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.evaluate import Evaluation, TimeSlice, evaluate, learned_rules, served_quality
from model.evaluation.ranking import DEPTHS
from model.network.network import Network, NetworkConfig
from model.rounds.initial_network import cold_start
from model.serving.rules import NO_TYPE, Rules
from model.versions.version import Version
from tests.unit.builders.basics import make_fusion, make_version

CPU = torch.device("cpu")
ITEMS = [f"i{n}" for n in range(40)]


def version_of(network: Network, vocabulary: Vocabulary) -> Version:
    made = make_version(vocabulary.items)
    return replace(made, network=network, vocabulary=vocabulary, fusion=make_fusion(vocabulary))


def random_log(seed: int, users: int = 12, actions: int = 400, lines: int = 1) -> Sequences:
    """Events of so many actions each, all of one type."""
    randomness = random.Random(seed)
    rows: list[Event] = []
    for n in range(actions):
        if n % lines == 0:
            user, kind = str(randomness.randrange(users)), randomness.choice(EVENT_TYPES)
        item = ITEMS[min(randomness.randrange(44), randomness.randrange(44)) % 40]
        rows.append(
            Event(
                user_id=user,
                type=kind,
                item_id=item if randomness.random() < 0.9 else "unseen",
                query="red shoes",
            )
        )
    numbers = range(actions)
    return sequences_of(actions_of(rows, [1000 * (n // lines) for n in numbers], [n % lines for n in numbers]))


def late_targets(sequences: Sequences, cut: int) -> list[tuple[int, int]]:
    """(start of its user, position) of the first action of every next event at or after the cut."""
    found = []
    for start, stop in zip(sequences.offsets[:-1].tolist(), sequences.offsets[1:].tolist(), strict=True):
        firsts = [position for position in range(start + 1, stop) if not sequences.continues[position]]
        found += [(start, position) for position in firsts if sequences.times[position] >= cut]
    return found


def evaluated(network: Network, sequences: Sequences, cut: int) -> Evaluation:
    version = version_of(network, Vocabulary(ITEMS))
    version = replace(version, fusion=replace(version.fusion, live=False))  # no items come later
    return evaluate(version, TimeSlice(sequences.before(cut), sequences, cut, CPU))


def passed_by_rules(sequences: Sequences, cut: int) -> dict[int, list[int]]:
    """What the rules list before each action from the cut on, by position; they learn after a user's second action or
    64 of them."""
    rules, lists = learned_rules(sequences.before(cut)), dict[int, list[int]]()
    users = sequences.users_at(np.arange(len(sequences))).tolist()
    waiting: list[int] = []

    def before(position: int) -> list[int]:
        history = range(position - 1, int(sequences.offsets[users[position]]) - 1, -1)
        return [int(sequences.item_keys[p]) for p in history if sequences.types[p] != SEARCH]

    for position in np.argsort(sequences.times, kind="stable").tolist():
        if sequences.times[position] < cut:
            continue
        if len(waiting) == 64 or users[position] in {users[other] for other in waiting}:
            for other in waiting:
                if sequences.types[other] != SEARCH:
                    rules.learn(before(other), int(sequences.item_keys[other]), "")
            waiting = []
        lists[position] = rules.rank(before(position), 20)
        waiting.append(position)
    return lists


@pytest.mark.parametrize("lines", [1, 4])
def test_ranks_are_those_of_a_plain_loop(lines: int) -> None:
    sequences, cut, vocabulary = random_log(1, lines=lines), 250_000 // lines, Vocabulary(ITEMS)
    network = cold_start(NetworkConfig(items=len(ITEMS), width=8, hidden=8), 0).eval()
    rules = learned_rules(sequences.before(cut))
    found = evaluated(network, sequences, cut)
    ranked_by_rules = passed_by_rules(sequences, cut)
    ranks, types, by_rules, by_popularity = [], [], [], []
    vectors = network.item_vectors()
    for start, position in late_targets(sequences, cut):
        columns = sequences.item_keys[None, start:position], sequences.contexts[None, start:position]
        tokens = vocabulary.tokens(*columns, sequences.queries)
        with torch.inference_mode():
            vector = network(tokens)[1][0, -1]
            scores = (network.queries(vector) @ vectors.T).tolist()
            types.append(network.type_logits(vector).softmax(-1)[sequences.types[position]].item())
        if sequences.types[position] in (SEARCH, REMOVE):
            continue
        row = int(vocabulary.rows_of(sequences.item_keys[position : position + 1])[0]) - ITEM_BUCKETS
        ranks.append(sum(score >= scores[row] - 1e-6 for score in scores) if row >= 0 else math.inf)
        item = int(sequences.item_keys[position])
        by_rules.append([*ranked_by_rules[position], item].index(item) + 1)
        by_popularity.append([*rules.popular(20), item].index(item) + 1)
    assert (found.targets, found.steps) == (len(ranks), len(types))
    for k in DEPTHS:
        assert found.network.recall[k] == pytest.approx(sum(rank <= k for rank in ranks) / len(ranks))
        assert found.network.mrr[k] == pytest.approx(sum(1 / rank for rank in ranks if rank <= k) / len(ranks))
        gain = sum(1 / math.log2(rank + 1) for rank in ranks if rank <= k)
        assert found.network.ndcg[k] == pytest.approx(gain / len(ranks))
        # All 40 items are candidates, and the combiner passes on what the network says.
        assert found.served.recall[k] == found.network.recall[k]
        assert found.rules.recall[k] == pytest.approx(sum(rank <= k for rank in by_rules) / len(ranks))
        assert found.popularity.recall[k] == pytest.approx(sum(rank <= k for rank in by_popularity) / len(ranks))
    assert found.type_log_loss == pytest.approx(-sum(map(math.log, types)) / len(types), rel=1e-4)


def test_blocks_of_scores_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = random_log(2)
    network = cold_start(NetworkConfig(items=len(ITEMS), width=8, hidden=8), 0).eval()
    whole = evaluated(network, sequences, 0)
    monkeypatch.setattr("model.evaluation.network_ranker._SCORES", 100)
    blocks = evaluated(network, sequences, 0)
    assert blocks.metrics() == whole.metrics()


def test_ties_count_against_the_model() -> None:
    sequences = random_log(3)
    network = cold_start(NetworkConfig(items=len(ITEMS), width=8, hidden=8), 0).eval()
    with torch.no_grad():
        network.items.weight.fill_(1.0)
    found = evaluated(network, sequences, 0)
    assert found.network.recall[20] == 0.0  # every item has the same score, so every target is the last of 40


@pytest.mark.parametrize("lines", [1, 4])
def test_rules_learn_in_the_order_of_time_as_a_worker_would(lines: int) -> None:
    sequences = random_log(4, lines=lines)
    rules, expected = learned_rules(sequences), Rules()
    users = np.repeat(np.arange(len(sequences.offsets) - 1), np.diff(sequences.offsets)).tolist()
    histories: dict[int, list[int]] = {}
    types: dict[int, int] = {}
    for position in sorted(range(len(sequences)), key=lambda position: int(sequences.times[position])):
        if sequences.types[position] != SEARCH:
            history = histories.setdefault(users[position], [])
            expected.learn(history[::-1], int(sequences.item_keys[position]), "")
            history.append(int(sequences.item_keys[position]))
        if not sequences.continues[position]:  # a type is that of an event, whatever the number of its lines
            expected.learn_type(types.get(users[position], NO_TYPE), int(sequences.types[position]))
            types[users[position]] = int(sequences.types[position])
    assert rules._followers == expected._followers
    assert rules._popularity == expected._popularity
    assert rules._types == expected._types


def test_without_targets_all_metrics_are_zero() -> None:
    sequences = random_log(5)
    network = cold_start(NetworkConfig(items=len(ITEMS), width=8, hidden=8), 0).eval()
    found = evaluated(network, sequences, 10**12)
    assert set(found.metrics().values()) == {0.0}
    assert {
        "recall@20",
        "network_recall@20",
        "rules_mrr@5",
        "popularity_ndcg@1",
        "type_log_loss",
    } <= found.metrics().keys()


def test_purchases_are_judged_where_it_is_known_whether_they_came() -> None:
    sequences, vocabulary = random_log(3), Vocabulary(ITEMS)
    late = replace(sequences, times=sequences.times * 60)  # over seven hours, so that purchases settle
    cut = late.newest(0.4)
    rules = learned_rules(late.before(cut))
    version = version_of(cold_start(NetworkConfig(items=len(ITEMS), width=8, hidden=8), 0).eval(), vocabulary)
    found = evaluate(version, TimeSlice(late.before(cut), late, cut, CPU))
    purchases, labels = found.purchases, late.purchase_soon
    positions = [
        position
        for position in range(len(late))
        if cut <= late.times[position] <= late.times.max() - 30 * 60_000 and late.ends_event[position]
    ]
    assert 0 < purchases.bought.sum() < len(positions) == len(purchases.losses)
    for n, position in enumerate(positions):
        theirs = rules.purchase_probability(int(late.types[position]))
        assert purchases.bought[n] == labels[position]
        assert purchases.rules_losses[n] == pytest.approx(-math.log(theirs if labels[position] else 1 - theirs))
        assert late.offsets[purchases.owners[n]] <= position < late.offsets[purchases.owners[n] + 1]
    metrics = found.metrics()
    assert metrics["purchase_log_loss"] == pytest.approx(purchases.losses.mean())
    assert metrics["rules_purchase_log_loss"] == pytest.approx(purchases.rules_losses.mean())
    served = served_quality(version, TimeSlice(late.before(cut), late, cut, CPU))
    assert np.array_equal(served.ranks, found.served_ranks)
    assert np.array_equal(served.purchases.losses, purchases.losses)
