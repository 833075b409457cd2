"""The fusion as a ranker, against a loop over the candidates of each target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout
from model.fusion.combiner import Combiner, CombinerConfig
from model.fusion.fusion import Fusion
from model.fusion.item_statistics import item_statistics_of
from model.network.network import Network, NetworkConfig
from model.rounds.fit_model import FitModelConfig, StartingPoint, fit_model, held_out
from model.rounds.initial_network import cold_start
from model.training.fit_network import TrainConfig
from model.training.fit_run import FitRun, Progress
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
    fusion = Fusion(item_statistics_of(sequences(*random_users(4)), VOCABULARY), drawn_combiner(5))
    ranker = FusionRanker(network(), VOCABULARY, fusion, CPU)
    found = ranker.rank(asked)
    inputs = ranker.inputs_of(asked)
    served, _ = fusion.rank(inputs.recent, inputs.best, LIST_SIZE)

    for n, position in enumerate(asked.positions):
        candidates = inputs.collect(fusion, np.array([n]))
        by_item = dict(zip(candidates.items.tolist(), fusion.score(candidates).tolist(), strict=True))
        row = int(VOCABULARY.rows_of(asked.sequences.item_keys[position : position + 1])[0]) - ITEM_BUCKETS
        expected = sum(score >= by_item[row] for score in by_item.values()) if row in by_item else MISSED
        assert found.ranks[n] == expected
        best = sorted(by_item, key=lambda item: -by_item[item])[:LIST_SIZE]
        assert VOCABULARY.rows_of(found.top[n][found.top[n] != 0]).tolist() == [ITEM_BUCKETS + item for item in best]
        assert served[n].tolist() == best


def test_ties_count_against_the_model() -> None:
    silent = Combiner().eval()
    with torch.no_grad():
        silent.linear.weight.zero_()
    asked = holdout(6)
    fusion = Fusion(item_statistics_of(asked.sequences, VOCABULARY), silent)
    ranker = FusionRanker(network(), VOCABULARY, fusion, CPU)
    counts = np.diff(ranker.inputs_of(asked).collect(fusion, np.arange(len(asked))).starts)
    found = ranker.rank(asked)

    known = found.ranks != MISSED
    assert known.any()
    np.testing.assert_array_equal(found.ranks[known], counts[known])


def test_learning_listens_to_the_log_where_the_network_knows_too_little() -> None:
    """Everyone comes back to the item before the last: nothing to learn in one epoch, but plain to the evidence."""
    users = [first + second + first + second + first for first in LETTERS[:20] for second in LETTERS[:20]]
    rng = np.random.default_rng(1)
    log = sequences(*[users[n] for n in rng.permutation(len(users))])
    vocabulary = Vocabulary(list(LETTERS[:20]))
    told: list[str] = []

    def tell(stage: str, _: Progress) -> None:
        if stage not in told:
            told.append(stage)

    config = FitModelConfig(train=ONCE, combiner=CombinerConfig(least=50))
    shape = NetworkConfig(items=20, width=8, hidden=8)
    model = fit_model(log, vocabulary, StartingPoint(lambda: cold_start(shape, 1)), config, FitRun(CPU, 1, tell))

    test = held_out(sequences(*users[::7], begin=10**9), 0, 10_000)
    fused = FusionRanker(model.network, vocabulary, model.fusion, CPU).rank(test).ranks
    alone = NetworkRanker(model.network, vocabulary, CPU).rank(test).ranks
    assert (fused == 1).mean() > (alone == 1).mean() + 0.2
    assert told == ["fitting", "weighing", "fitting to everything"]


@pytest.mark.parametrize(("from_scratch", "stages"), [(True, 2), (False, 2)])
def test_a_seed_fixes_a_model(from_scratch: bool, stages: int) -> None:
    log = sequences(*random_users(8, users=200))
    config = FitModelConfig(
        from_scratch=from_scratch,
        train=ONCE,
        combiner=CombinerConfig(examples=1, least_epochs=1, least=20),
    )
    first, again = (
        fit_model(log, VOCABULARY, StartingPoint(lambda: cold_start(SMALL, 1)), config, FitRun(CPU, seed))
        for seed in (1, 1)
    )
    for one, other in ((first.network, again.network), (first.fusion.combiner, again.fusion.combiner)):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert first.report.epochs == stages


def test_a_log_that_is_too_short_to_hold_anything_out_is_ranked_by_the_network() -> None:
    log = sequences(*random_users(9, users=60))
    config = FitModelConfig(train=ONCE, combiner=CombinerConfig(least=10**6))
    model = fit_model(log, VOCABULARY, StartingPoint(lambda: cold_start(SMALL, 1)), config, FitRun(CPU, 1))

    asked = holdout(10)
    fused = FusionRanker(model.network, VOCABULARY, model.fusion, CPU).rank(asked).ranks
    alone = NetworkRanker(model.network, VOCABULARY, CPU).rank(asked).ranks
    # Behind the listed ones, what is least probable is all the same to the fusion.
    np.testing.assert_array_equal(np.minimum(fused, LIST_SIZE + 1), np.minimum(alone, LIST_SIZE + 1))


def test_of_a_small_log_a_larger_share_is_held_out() -> None:
    log = sequences(*random_users(11, users=200))
    tenth, half = (len(log.before(log.newest(share))) for share in (0.1, 0.5))
    config = FitModelConfig(train=ONCE, combiner=CombinerConfig(examples=1, least_epochs=1, least=20))

    def actions_before(config: FitModelConfig) -> int:
        model = fit_model(log, VOCABULARY, StartingPoint(lambda: cold_start(SMALL, 1)), config, FitRun(CPU, 1))
        return model.report.actions - len(log)  # of two passes the second is over everything

    assert actions_before(replace(config, enough_held_out=1)) == tenth
    assert actions_before(replace(config, enough_held_out=len(log), most_held_out=0.5)) == half
    assert config.share(10**9) == config.held_out
    assert config.share(1) == config.most_held_out
    assert config.share(round(config.enough_held_out / 0.15)) == pytest.approx(0.15, rel=1e-3)
    assert replace(config, held_out=0.4).share(1) == 0.4  # what is asked for is held out


def test_held_out_are_the_newest_next_items() -> None:
    log = sequences("abc", "a?d", "xy")
    everything = held_out(log, 0, 100)
    assert everything.positions.tolist() == [1, 2, 5, 7]  # no first action, no search
    assert held_out(log, 0, 2).positions.tolist() == [5, 7]
    late = held_out(log, int(log.times[5]), 100)  # the first user did nothing then
    assert late.item_keys.tolist() == log.item_keys[[5, 7]].tolist()
    assert late.positions.tolist() == [2, 4]
