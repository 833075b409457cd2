"""The seam of everything that ranks, and the network behind it, against loops over every item."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.data.events import item_key
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.ranking import DEPTHS, MISSED, Holdout, RankedTargets, listed, rank_all, ranking
from model.network.network import Network, NetworkConfig
from model.rounds.initial_network import cold_start
from tests.unit.builders.sequences import examples, names, random_users, rows, sequences

CPU = torch.device("cpu")
KNOWN = "abcdefghijklmnopqrstuvwxyz01234"


def network_of(items: str) -> Network:
    return cold_start(NetworkConfig(items=len(items), width=8, hidden=8), 0).eval()


def test_metrics_of_ranks_by_hand() -> None:
    found = ranking(np.array([1, 3, 7, MISSED]))
    assert found.recall == {1: 0.25, 5: 0.5, 10: 0.75, 20: 0.75}
    assert found.mrr[20] == pytest.approx((1 + 1 / 3 + 1 / 7) / 4)
    assert found.ndcg[5] == pytest.approx((1 + 1 / 2) / 4)
    assert found.ndcg[20] == pytest.approx((1 + 1 / 2 + 1 / math.log2(8)) / 4)
    assert set(ranking(np.zeros(0, np.int64)).mrr.values()) == {0.0}


def test_lists_rank_by_place_and_miss_what_they_do_not_have() -> None:
    found = listed(rows("abc", "abc", ""), np.array([item_key(item) for item in "cza"], np.uint64))
    assert found.ranks.tolist() == [3, MISSED, MISSED]


def test_parts_are_the_same_targets_with_the_same_past() -> None:
    whole = sequences(*random_users(1))
    steps = np.flatnonzero(whole.has_next) + 1
    holdout = Holdout(whole, steps[steps % 3 != 0])
    for most in (1, 7, 10_000):
        parts = list(holdout.parts(most))
        assert len(parts) == 1 or len(parts) > len(holdout) / (most + 9)
        past = [
            part.sequences.item_keys[start : place + 1].tolist()
            for part in parts
            for start, place in zip(part.starts.tolist(), part.places.tolist(), strict=True)
        ]
        starts = holdout.starts.tolist()
        assert past == [
            whole.item_keys[start : place + 1].tolist()
            for start, place in zip(starts, holdout.places.tolist(), strict=True)
        ]


def test_all_parts_are_ranked_and_told() -> None:
    class Last:
        def rank(self, holdout: Holdout) -> RankedTargets:
            return RankedTargets(holdout.places - holdout.starts, np.zeros((len(holdout), 20), np.uint64))

    holdout = examples(*["a" * (1 + n % 7) + "b" for n in range(9000)])
    told: list[int] = []
    assert rank_all(Last(), holdout, told.append).ranks.tolist() == [1 + n % 7 for n in range(9000)]
    assert len(told) == 3
    assert told[-1] == 9000


def test_the_network_ranks_like_a_loop_over_its_vocabulary() -> None:
    network, vocabulary = network_of(KNOWN), Vocabulary(list(KNOWN))
    holdout = examples(*random_users(2), "ab" * 100 + "c")  # the last is longer than a chunk
    found = NetworkRanker(network, vocabulary, CPU).rank(holdout)
    missed = 0
    for n, (start, place) in enumerate(zip(holdout.starts.tolist(), holdout.places.tolist(), strict=True)):
        first = max(start, place - 64) if place - start <= 64 else None
        target = int(vocabulary.rows_of(holdout.item_keys[n : n + 1])[0]) - ITEM_BUCKETS
        missed += target < 0
        if target < 0:
            assert found.ranks[n] == MISSED
        if first is None:
            continue
        past = slice(first, place)
        tokens = vocabulary.tokens(holdout.sequences.item_keys[None, past], holdout.sequences.contexts[None, past])
        with torch.inference_mode():
            scores = (network.queries(network(tokens)[1][0, -1]) @ network.item_vectors().T).tolist()
        if target >= 0:
            assert found.ranks[n] == sum(score >= scores[target] - 1e-6 for score in scores)
        best = sorted(range(len(KNOWN)), key=lambda item: -scores[item])[:20]
        assert names(found.top[n].tolist()) == "".join(KNOWN[item] for item in best)
    assert missed
    assert found.ranks[-1] < MISSED


def test_ties_count_against_the_network() -> None:
    network = network_of(KNOWN)
    with torch.no_grad():
        network.items.weight.fill_(1.0)
    found = NetworkRanker(network, Vocabulary(list(KNOWN)), CPU).rank(examples("ab", "ca"))
    assert found.ranks.tolist() == [len(KNOWN), len(KNOWN)]
    assert ranking(found.ranks).recall == dict.fromkeys(DEPTHS, 0.0)


def test_a_small_vocabulary_leaves_places_empty() -> None:
    found = NetworkRanker(network_of("abc"), Vocabulary(list("abc")), CPU).rank(examples("ab"))
    assert sorted(names(found.top[0].tolist())) == ["a", "b", "c"]
