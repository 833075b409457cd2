"""The fusion as a ranker, against a loop over the candidates of each target."""

from __future__ import annotations

import numpy as np
import torch

from model.data.vocabulary import Vocabulary
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion
from model.network.network import Network, NetworkConfig
from model.rounds.fit_model import held_out
from model.rounds.initial_network import cold_start
from model.statistics.log_statistics import counter_of
from model.training.fit_network import TrainConfig
from tests.unit.builders.basics import CPU, drawn_combiner
from tests.unit.builders.sequences import random_users, sequences

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = Vocabulary(list(LETTERS[:-3]))  # three letters are not known
ONCE = TrainConfig(actions=1, least_epochs=1, most_epochs=1)
SMALL = NetworkConfig(items=len(VOCABULARY), width=8, hidden=8)


def network(seed: int = 1) -> Network:
    return cold_start(SMALL, seed).eval()


def holdout(seed: int) -> Holdout:
    log = sequences(*random_users(seed))
    positions = np.flatnonzero(log.has_next) + 1
    return Holdout(log, positions[log.types[positions] != 1])


def test_ranks_are_those_of_a_loop_and_agree_with_what_is_served() -> None:
    asked = holdout(3)
    fusion = Fusion(counter_of(sequences(*random_users(4))).table, drawn_combiner(5))
    ranker = FusionRanker(network(), VOCABULARY, fusion, CPU)
    found = ranker.rank(asked)
    inputs = ranker.inputs_of(asked)
    ranking = ranker.ranking
    served, _ = ranking.rank(inputs.recent, inputs.best, LIST_SIZE)
    keys = ranking.live.table.arrays.items.keys

    for n, position in enumerate(asked.positions):
        candidates, _ = ranker.collect(inputs.select(np.array([n])))
        by_key = dict(zip(keys[candidates.items].tolist(), ranking.score(candidates).tolist(), strict=True))
        key = int(asked.sequences.item_keys[position])
        expected = sum(score >= by_key[key] for score in by_key.values()) if key in by_key else MISSED
        assert found.ranks[n] == expected
        best = sorted(by_key, key=lambda item: -by_key[item])[:LIST_SIZE]
        assert found.top[n][found.top[n] != 0].tolist() == best
        assert ranking.live.item_keys[served[n]].tolist() == best


def test_ties_count_against_the_model() -> None:
    silent = Combiner().eval()
    with torch.no_grad():
        silent.linear.weight.zero_()
    asked = holdout(6)
    ranker = FusionRanker(network(), VOCABULARY, Fusion(counter_of(asked.sequences).table, silent), CPU)
    counts = np.diff(ranker.collect(ranker.inputs_of(asked))[0].starts)
    found = ranker.rank(asked)

    known = found.ranks != MISSED
    assert known.any()
    np.testing.assert_array_equal(found.ranks[known], counts[known])


def test_held_out_are_the_newest_next_items() -> None:
    log = sequences("abc", "a?d", "xy")
    everything = held_out(log, 0, 100)
    assert everything.positions.tolist() == [1, 2, 5, 7]  # no first action, no search
    assert held_out(log, 0, 2).positions.tolist() == [5, 7]
    late = held_out(log, int(log.times[5]), 100)  # the first user did nothing then
    assert late.item_keys.tolist() == log.item_keys[[5, 7]].tolist()
    assert late.positions.tolist() == [2, 4]
