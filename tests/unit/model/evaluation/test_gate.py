"""The gate: what may serve, and how sure it is of it."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.disk_log import window_in_memory
from model.data.events import Actions
from model.data.sequences import sequences_of
from model.evaluation.evaluate import Evaluation, ServedQuality, TimeSlice, evaluate
from model.evaluation.gate import Difference, GateConfig, Reason, check_published, difference, judge
from model.evaluation.purchase_quality import PurchaseLosses
from model.evaluation.ranking import MISSED, Ranking
from model.rounds.training_round import train_round
from tests.unit.builders.basics import CPU
from tests.unit.builders.rounds import CONFIG, as_version, circle

NOTHING = Ranking({20: 0.0}, {20: 0.0}, {20: 0.0})


def purchases_of(losses: list[float], rules: list[float] | None = None, bought: int = 50) -> PurchaseLosses:
    """Labels of as many users, the first so many of which came true."""
    count = len(losses)
    return PurchaseLosses(np.arange(count), np.arange(count) < bought, np.array(losses), np.array(rules or losses))


NO_PURCHASES = purchases_of([])


def evaluation(
    served: list[int],
    rules: list[int],
    owners: list[int] | None = None,
    loss: float = 1.0,
    purchases: PurchaseLosses = NO_PURCHASES,
) -> Evaluation:
    return Evaluation(
        targets=len(served),
        served=NOTHING,
        network=NOTHING,
        rules=NOTHING,
        popularity=NOTHING,
        steps=len(served),
        type_accuracy=0.5,
        type_log_loss=loss,
        rules_type_log_loss=1.0,
        positions=np.arange(len(served)),
        owners=np.array(owners if owners is not None else range(len(served))),
        served_ranks=np.array(served),
        rules_ranks=np.array(rules),
        purchases=purchases,
    )


HIT, MISS = [1] * 1000, [MISSED] * 1000


def reason(
    challenger: Evaluation, champion: Evaluation | None = None, *, seconds: float = 1e-4, **config: float
) -> Reason:
    return judge(challenger, champion, seconds, GateConfig(**config)).reason  # type: ignore[arg-type]


def test_without_a_champion_the_rules_are_to_be_beaten() -> None:
    assert reason(evaluation(HIT, MISS)) == "better"
    assert reason(evaluation(MISS, HIT)) == "no_better"
    assert reason(evaluation(HIT, HIT)) == "no_better"


def test_with_a_champion_fresh_knowledge_must_not_be_worse() -> None:
    assert reason(evaluation(HIT, MISS), evaluation(HIT, MISS)) == "as_good"
    assert reason(evaluation(MISS, MISS), evaluation(HIT, MISS)) == "worse"
    assert reason(evaluation(HIT, HIT), evaluation(MISS, HIT)) == "better"
    slightly = [MISSED] * 4 + [1] * 996
    assert reason(evaluation(slightly, MISS), evaluation(HIT, MISS)) == "as_good"
    assert reason(evaluation(slightly, MISS), evaluation(HIT, MISS), recall_margin=0.004) == "uncertain"


def test_what_may_be_worse_by_chance_is_uncertain() -> None:
    """Of a hundred targets none was lost: that fits with losing three of a hundred."""
    assert reason(evaluation(HIT[:100], MISS[:100]), evaluation(HIT[:100], MISS[:100])) == "uncertain"
    mixed = evaluation([1, MISSED] * 500, MISS), evaluation([MISSED, 1] * 500, MISS)
    assert reason(*mixed) == "uncertain"


def test_a_first_version_that_is_ahead_of_the_rules_by_chance_is_not_enough() -> None:
    lucky = ([1] * 6 + [MISSED] * 5) * 2
    assert reason(evaluation(lucky, [MISSED if rank == 1 else 1 for rank in lucky])) == "uncertain"


def test_purchase_probabilities_must_not_be_worse_either() -> None:
    before = purchases_of([0.1] * 1000)
    for loss, verdict in ((0.09, "as_good"), (0.104, "as_good"), (0.106, "purchases"), (math.nan, "purchases")):
        after = purchases_of([loss] * 1000)
        assert reason(evaluation(HIT, MISS, purchases=after), evaluation(HIT, MISS, purchases=before)) == verdict
    few = purchases_of([0.2] * 1000, bought=49)
    assert reason(evaluation(HIT, MISS, purchases=few), evaluation(HIT, MISS, purchases=before)) == "as_good"
    against_rules = purchases_of([0.2] * 1000, [0.1] * 1000)
    assert reason(evaluation(HIT, MISS, purchases=against_rules)) == "purchases"


def test_what_is_published_is_held_to_what_was_judged() -> None:
    judged, config = evaluation(HIT, MISS), GateConfig()
    verdict = judge(judged, None, 1e-4, config)
    assert check_published(verdict, judged, ServedQuality(np.array(HIT), NO_PURCHASES), config) is verdict
    fewer = ServedQuality(np.array([MISSED] * 21 + HIT[21:]), NO_PURCHASES)
    refused = check_published(verdict, judged, fewer, config)
    assert (refused.reason, refused.promoted) == ("spoiled", False)
    assert refused.sentence.startswith("rejected (spoiled): but with what it took in since, Recall@20 fell from 1.0000")
    later = ServedQuality(np.array([2] * 1000), NO_PURCHASES)
    assert "MRR@20 fell from 1.0000 to 0.5000" in check_published(verdict, judged, later, config).sentence


def test_a_gain_of_a_single_user_says_nothing() -> None:
    assert reason(evaluation(HIT, MISS, owners=[7] * 1000)) == "uncertain"


def test_more_hits_at_worse_ranks_are_not_a_gain() -> None:
    champion = evaluation([1] * 900 + [MISSED] * 100, MISS)
    assert reason(evaluation([20] * 1000, MISS), champion) == "worse"


@pytest.mark.parametrize("loss", [math.nan, math.inf, 3.0])
def test_a_network_that_predicts_types_worse_than_a_guess_has_diverged(loss: float) -> None:
    assert reason(evaluation(HIT, MISS, loss=loss)) == "diverged"


def test_what_is_too_slow_to_serve_is_not_promoted() -> None:
    assert reason(evaluation(HIT, MISS), seconds=1e-2) == "slow"
    assert reason(evaluation(HIT, MISS), seconds=1e-2, slowest=0.1) == "better"


def test_a_first_version_must_be_ahead_of_the_rules_by_what_is_asked_for() -> None:
    ahead = evaluation([1] * 100 + [MISSED] * 900, MISS)
    assert reason(ahead) == "better"
    assert reason(ahead, ahead=0.11) == "no_better"


def test_the_figures_are_all_numbers_and_the_sentence_has_them() -> None:
    verdict = judge(evaluation(HIT, MISS, owners=[7] * 1000), None, 1e-4, GateConfig())
    assert verdict.metrics() == {
        "seconds_per_event": 1e-4,
        "recall@20_gain_mean": 1.0,
        "mrr@20_gain_mean": 1.0,
    }
    assert verdict.sentence.startswith("rejected (uncertain): Recall@20 1.0000 against the rules' 0.0000 on 1,000")


@given(st.integers(0, 2**32 - 1))
def test_the_interval_is_that_of_drawing_users_again(seed: int) -> None:
    """Against a bootstrap over users, which knows no formula."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, 80)
    owners = np.repeat(np.arange(80), sizes)
    gains = (rng.normal(0, 1, 80)[owners] + rng.normal(0, 1, len(owners))) / 2
    found = difference(gains, owners)
    sums, draws = np.bincount(owners, gains), rng.integers(0, 80, (2000, 80))
    means = sums[draws].sum(1) / sizes[draws].sum(1)
    assert found.mean == pytest.approx(gains.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.645 * means.std(), rel=0.25)
    assert (found.high + found.low) / 2 == pytest.approx(found.mean)


def test_users_and_not_targets_are_counted() -> None:
    gains = np.tile([1.0, -1.0], 50)
    alone, together = difference(gains, np.arange(100)), difference(gains, np.tile([0, 1], 50))
    assert isinstance(alone, Difference)
    assert together.high > 5 * alone.high


def test_a_version_trained_on_shuffled_targets_is_refused() -> None:
    log = circle(items=60)
    order = np.random.default_rng(1).permutation(len(log))
    shuffled = replace(log, item_keys=log.item_keys[order], items=[log.items[index] for index in order])
    good, bad = _evaluated(log, log), _evaluated(shuffled, log)
    assert good.served.recall[20] > 0.9
    assert reason(bad, good) == "worse"
    assert reason(good, bad) == "better"


def _evaluated(training: Actions, log: Actions) -> Evaluation:
    """A version that learned from one log, on the end of another."""
    version = as_version(train_round(window_in_memory(training), None, CONFIG, device=CPU, clock=time.thread_time))
    sequences = sequences_of(log)
    cut = sequences.newest(0.2)
    return evaluate(version, TimeSlice(sequences.before(cut), sequences, cut, CPU))
