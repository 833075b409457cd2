"""A model fitted to a log: what is held out for the combiner, and what each half of it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.data.events import Event, actions_of
from model.data.log_summary import DatedItems, summarise
from model.data.sequences import Sequences, concatenate_sequences, sequences_of
from model.data.vocabulary import Vocabulary
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.ranking import LIST_SIZE, Holdout
from model.fusion.candidate_features import FEATURES, LATER_FEATURES
from model.fusion.combiner import Combiner, CombinerConfig, Examples, fit_combiner
from model.network.network import NetworkConfig
from model.rounds import fit_model as fit_model_module
from model.rounds.fit_model import FitModelConfig, StartingPoint, fine_tune, fit_model, held_out
from model.rounds.initial_network import cold_start
from model.training.fit_network import TrainConfig
from model.training.fit_run import FitRun, Progress
from tests.unit.builders.basics import CPU, drawn_combiner
from tests.unit.builders.rounds import CONFIG
from tests.unit.builders.sequences import random_users, sequences

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = Vocabulary(list(LETTERS[:-3]))  # three letters are not known
ONCE = TrainConfig(actions=1, least_epochs=1, most_epochs=1)
SMALL = NetworkConfig(items=len(VOCABULARY), width=8, hidden=8)


def start() -> StartingPoint:
    return StartingPoint(lambda vocabulary: cold_start(replace(SMALL, items=len(vocabulary)), 1))


def items_of(log: Sequences, letters: str) -> DatedItems:
    return summarise(log).dated(list(letters))


def holdout(seed: int) -> Holdout:
    log = sequences(*random_users(seed))
    positions = np.flatnonzero(log.has_next) + 1
    return Holdout(log, positions[log.types[positions] != 1])


def test_learning_listens_to_the_log_where_the_network_knows_too_little() -> None:
    """Everyone comes back to the item before the last: nothing to learn in one epoch, but plain to the evidence."""
    users = [first + second + first + second + first for first in LETTERS[:20] for second in LETTERS[:20]]
    rng = np.random.default_rng(1)
    log = sequences(*[users[n] for n in rng.permutation(len(users))])
    told: list[str] = []

    def tell(stage: str, _: Progress) -> None:
        if stage not in told:
            told.append(stage)

    config = FitModelConfig(train=ONCE, combiner=CombinerConfig(least=50))
    model = fit_model(log, items_of(log, LETTERS[:20]), start(), config, FitRun(CPU, 1, tell))

    test = held_out(sequences(*users[::7], begin=10**9), 0, 10_000)
    fused = FusionRanker(model.network, model.vocabulary, model.fusion, CPU).rank(test).ranks
    alone = NetworkRanker(model.network, model.vocabulary, CPU).rank(test).ranks
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
    first, again = (fit_model(log, items_of(log, LETTERS[:-3]), start(), config, FitRun(CPU, seed)) for seed in (1, 1))
    for one, other in ((first.network, again.network), (first.fusion.combiner, again.fusion.combiner)):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert first.report.epochs == stages


@pytest.mark.parametrize("from_scratch", [True, False])
def test_to_the_combiner_items_that_appear_in_its_examples_are_unknown(
    from_scratch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are to what serves, which would trust its network too much otherwise."""
    old, new = sequences(*["abcdabcd" for _ in range(200)]), "xyxyxyxy"
    log = concatenate_sequences([old, sequences(*[new for _ in range(50)], begin=int(old.times.max()) + 1000)])
    given = list[Examples]()

    def noted(examples: Examples, *arguments: Any, **named: Any) -> Combiner:
        given.append(examples)
        return fit_combiner(examples, *arguments, **named)

    monkeypatch.setattr(fit_model_module, "fit_combiner", noted)
    combiner = CombinerConfig(examples=1, least_epochs=1, least=20)
    config = FitModelConfig(from_scratch=from_scratch, train=ONCE, combiner=combiner)
    model = fit_model(log, items_of(log, "abcdxy"), start(), config, FitRun(CPU, 1))
    assert len(given[0]) > 100
    right = given[0].candidates.items == given[0].targets[given[0].candidates.answers]
    assert right.sum() > 100, "they are candidates, once somebody has touched them"
    assert given[0].candidates.features[FEATURES.index("later"), right].all()
    assert model.vocabulary.items == tuple("abcdxy"), "what serves knows them"
    assert model.network.config.items == len(model.fusion.statistics) == 6


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("warm", [True, False])
def test_a_combiner_for_statistics_that_stand_still_does_without_what_came_later(live: bool, warm: bool) -> None:
    log, unseen = sequences(*random_users(8, users=200)), [FEATURES.index(name) for name in LATER_FEATURES]
    combiner = CombinerConfig(examples=1, least_epochs=1, least=20)
    config = FitModelConfig(live=live, from_scratch=False, train=ONCE, combiner=combiner)
    begin = replace(start(), combiner=drawn_combiner(3)) if warm else start()
    fusion = fit_model(log, items_of(log, LETTERS[:-3]), begin, config, FitRun(CPU, 1)).fusion
    assert fusion.live == live
    for layer in (fusion.combiner.first, fusion.combiner.linear):
        assert bool(layer.weight[:, unseen].any()) == live
        assert layer.weight.any()
        assert layer.weight.isfinite().all()


def test_a_log_that_is_too_short_to_hold_anything_out_is_ranked_by_the_network() -> None:
    log = sequences(*random_users(9, users=60))
    config = FitModelConfig(train=ONCE, combiner=CombinerConfig(least=10**6))
    model = fit_model(log, items_of(log, LETTERS), start(), config, FitRun(CPU, 1))

    asked = holdout(10)
    fused = FusionRanker(model.network, model.vocabulary, model.fusion, CPU).rank(asked).ranks
    alone = NetworkRanker(model.network, model.vocabulary, CPU).rank(asked).ranks
    # Behind the listed ones, what is least probable is all the same to the fusion.
    np.testing.assert_array_equal(np.minimum(fused, LIST_SIZE + 1), np.minimum(alone, LIST_SIZE + 1))


def test_of_a_small_log_a_larger_share_is_held_out() -> None:
    log = sequences(*random_users(11, users=200))
    tenth, half = (len(log.before(log.newest(share))) for share in (0.1, 0.5))
    config = FitModelConfig(train=ONCE, combiner=CombinerConfig(examples=1, least_epochs=1, least=20))

    def actions_before(config: FitModelConfig) -> int:
        model = fit_model(log, items_of(log, LETTERS[:-3]), start(), config, FitRun(CPU, 1))
        return model.report.actions - len(log)  # of two passes the second is over everything

    assert actions_before(replace(config, enough_held_out=1)) == tenth
    assert actions_before(replace(config, enough_held_out=len(log), most_held_out=0.5)) == half
    assert config.share(10**9) == config.held_out
    assert config.share(1) == config.most_held_out
    assert config.share(round(config.enough_held_out / 0.15)) == pytest.approx(0.15, rel=1e-3)
    assert replace(config, held_out=0.4).share(1) == 0.4  # what is asked for is held out


def test_the_newest_is_taken_in_beside_no_more_of_what_is_older() -> None:
    long_ago = [Event(user_id=str(k % 50), type="view", item_id=f"i{k // 50 % 8}") for k in range(1000)]
    lately = [Event(user_id=f"new-{k % 5}", type="view", item_id=f"i{k // 5 % 8}") for k in range(100)]
    known = sequences_of(actions_of([*long_ago, *lately], [1000 * k for k in range(1100)]))
    vocabulary = Vocabulary([f"i{k}" for k in range(8)])
    network = cold_start(NetworkConfig(items=8, hidden=8), seed=1)
    run = FitRun(CPU, 1)
    assert fine_tune(network, vocabulary, known, 1_000_000, CONFIG.fitting.train, run).actions == 200
    assert fine_tune(network, vocabulary, known, 0, CONFIG.fitting.train, run).actions == 1100
