"""The fused ranking, against a softmax over the combiner's scores by PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from model.data.events import item_key
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import FOLLOWED, OWN
from model.fusion.combiner import identity_combiner
from tests.unit.builders.basics import drawn_combiner
from tests.unit.builders.candidates import CATALOGUE, asked_after, random_log, ranking_of, shoppers

K = 10


def test_the_best_candidates_are_ranked_with_their_probabilities() -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE)
    fusion = ranking_of(log, vocabulary, seed=3, combiner=drawn_combiner(2))
    recent, best = asked_after(log, vocabulary, range(0, len(log), 11), seed=3)
    items, log_probabilities = fusion.rank(recent, best, K)

    candidates = fusion.collect(recent, best)
    with torch.no_grad():
        scores = fusion.combiner(torch.from_numpy(np.ascontiguousarray(candidates.features)))
    np.testing.assert_allclose(fusion.score(candidates), scores.numpy(), rtol=1e-3, atol=1e-4)
    for n, (begin, end) in enumerate(zip(candidates.starts[:-1], candidates.starts[1:], strict=True)):
        with_none = torch.cat((scores[begin:end], fusion.combiner.none_logit.detach()))
        numbers = fusion.live.arrays.numbers[candidates.items[begin:end]].tolist()
        expected = dict(zip(numbers, with_none.log_softmax(0).tolist(), strict=False))
        ranked = sorted(expected.values(), reverse=True)[:K]
        np.testing.assert_allclose(log_probabilities[n], ranked, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose([expected[item] for item in items[n].tolist()], ranked, rtol=1e-3, atol=1e-3)


def test_an_identity_combiner_leaves_the_networks_ranking() -> None:
    log, vocabulary = random_log(4), Vocabulary(CATALOGUE)
    fusion = ranking_of(log, vocabulary, seed=5)
    recent, best = asked_after(log, vocabulary, range(0, len(log), 11), seed=5)
    np.testing.assert_array_equal(fusion.rank(recent, best, K)[0], best.items[:, :K])


def test_no_more_items_are_ranked_than_the_network_named() -> None:
    log, vocabulary = random_log(6), Vocabulary(CATALOGUE)
    fusion = ranking_of(log, vocabulary, seed=7)
    recent, best = asked_after(log, vocabulary, [0, 1], seed=7, best=3)
    items, log_probabilities = fusion.rank(recent, best, K)
    assert items.shape == log_probabilities.shape == (2, 3)


def test_a_copy_for_another_thread_ranks_the_same() -> None:
    log, vocabulary = random_log(8), Vocabulary(CATALOGUE)
    fusion = ranking_of(log, vocabulary, seed=10, combiner=drawn_combiner(9))
    recent, best = asked_after(log, vocabulary, range(20), seed=10)
    for one, other in zip(fusion.rank(recent, best, K), fusion.for_another_thread().rank(recent, best, K), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_item_that_the_vocabulary_lacks_is_recommended_after_what_it_followed() -> None:
    log, vocabulary = shoppers([["item 0", "born"]] * 30 + [["item 1", "item 2"]] * 30), Vocabulary(CATALOGUE)
    combiner = identity_combiner()
    with torch.no_grad():
        combiner.linear.weight[0, FOLLOWED] = 100
    ranking = ranking_of(log, vocabulary, seed=11, combiner=combiner)
    recent, best = asked_after(log, vocabulary, [0, 60], seed=11)
    first = ranking.rank(recent, best, K)[0][:, 0].tolist()
    assert first == [len(CATALOGUE), 2]
    assert ranking.live.item_keys[first[0]] == item_key("born")


def test_a_crowd_of_new_accounts_makes_no_item_that_the_vocabulary_lacks_a_recommendation() -> None:
    """Users with a past do, and whoever touched it is recommended it in any case."""
    vocabulary, combiner = Vocabulary(CATALOGUE), identity_combiner()
    with torch.no_grad():
        combiner.linear.weight[0, [FOLLOWED, OWN]] = 100
    regulars = [[*(f"item {2 + (user + n) % 50}" for n in range(200)), "item 0"] for user in range(30)]
    crowd = [["item 1", "item 0", "pushed"]] * 300
    for last, found in (([], False), (["pushed"], True)):
        log = shoppers([*([*items, *last] for items in regulars), *crowd])
        ranking = ranking_of(log, vocabulary, seed=12, combiner=combiner)
        recent, best = asked_after(log, vocabulary, [len(log) - 2, len(log) - 1], seed=12)  # before and after the last
        first, second = ranking.rank(recent, best, K)[0].tolist()
        pushed = len(CATALOGUE)
        assert (pushed in first) == found
        assert pushed in second
