"""The network as a ranker, against a loop over every item of its vocabulary."""

from __future__ import annotations

import torch

from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.network_ranker import NetworkRanker, exact_ranks
from model.evaluation.ranking import DEPTHS, MISSED, ranking
from model.network.network import Network, NetworkConfig
from model.rounds.initial_network import cold_start
from tests.unit.builders.sequences import examples, names, random_users

CPU = torch.device("cpu")
KNOWN = "abcdefghijklmnopqrstuvwxyz01234"


def network_of(items: str) -> Network:
    return cold_start(NetworkConfig(items=len(items), width=8, hidden=8), 0).eval()


def test_ranks_and_lists_are_those_of_a_loop() -> None:
    network, vocabulary = network_of(KNOWN), Vocabulary(list(KNOWN))
    holdout = examples(*random_users(2), "ab" * 100 + "c")  # the last is longer than a chunk
    found = NetworkRanker(network, vocabulary, CPU).rank(holdout)
    missed = 0
    for n, (start, position) in enumerate(zip(holdout.starts.tolist(), holdout.positions.tolist(), strict=True)):
        first = max(start, position - 64) if position - start <= 64 else None
        target = int(vocabulary.rows_of(holdout.item_keys[n : n + 1])[0]) - ITEM_BUCKETS
        missed += target < 0
        if target < 0:
            assert found.ranks[n] == MISSED
        if first is None:
            continue
        past = slice(first, position)
        sequences = holdout.sequences
        tokens = vocabulary.tokens(sequences.item_keys[None, past], sequences.contexts[None, past], sequences.queries)
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


def test_scores_that_are_not_numbers_never_rank_first() -> None:
    query = torch.ones(3, 1)
    for worst in (torch.nan, torch.inf, -torch.inf):
        ranks = exact_ranks(query, torch.tensor([[2.0], [worst], [3.0]]), torch.tensor([0, 1, 2]))
        assert ranks.tolist() == ([2, 3, 1] if worst < 0 else [3, 3, 2]), "it counts against the others, too"
    broken = network_of(KNOWN)
    with torch.no_grad():
        broken.items.weight.fill_(torch.nan)
    found = NetworkRanker(broken, Vocabulary(list(KNOWN)), CPU).rank(examples("ab", "ca"))
    assert found.ranks.tolist() == [len(KNOWN), len(KNOWN)]


def test_a_small_vocabulary_leaves_the_ends_of_lists_empty() -> None:
    found = NetworkRanker(network_of("abc"), Vocabulary(list("abc")), CPU).rank(examples("ab"))
    assert sorted(names(found.top[0].tolist())) == ["a", "b", "c"]
