"""Features of candidates: which of them are zero for whom, and what the network says of items that it did not name."""

from __future__ import annotations

import numpy as np

from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import (
    ANSWER_FEATURES,
    FEATURES,
    LOG_PROBABILITY,
    LOG_PROBABILITY_SCALE,
    OWN,
    OWN_ITEM_FEATURES,
)
from tests.unit.builders.candidates import CATALOGUE, asked_after, random_log, ranking_of, vectors_of


def test_some_features_are_of_own_items_only_and_some_of_the_answer() -> None:
    log, vocabulary = random_log(9), Vocabulary(CATALOGUE[:250])
    recent, best = asked_after(log, vocabulary, range(100), seed=10)
    found = ranking_of(log, vocabulary, seed=10).collect(recent, best)

    own = found.features[OWN] > 0
    assert found.features[list(OWN_ITEM_FEATURES)][:, own].any(axis=1).all()
    assert not found.features[list(OWN_ITEM_FEATURES)][:, ~own].any()
    first = found.features[:, found.starts[found.answers]]
    of_answer = np.flatnonzero((found.features == first).all(axis=1))
    assert set(of_answer) == set(ANSWER_FEATURES)


def test_items_that_the_network_did_not_name_get_its_probability_too() -> None:
    log, vocabulary = random_log(11), Vocabulary(CATALOGUE)
    recent, best = asked_after(log, vocabulary, range(0, len(log), 20), seed=12, best=3)
    ranking = ranking_of(log, vocabulary, seed=12)
    found = ranking.collect(recent, best)

    logits = best.queries @ vectors_of(vocabulary, 12).T
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    numbers = ranking.live.arrays.numbers[found.items]
    expected = np.maximum(log_probabilities[found.answers, numbers], -20) / LOG_PROBABILITY_SCALE
    np.testing.assert_allclose(found.features[LOG_PROBABILITY], expected, rtol=1e-4, atol=1e-5)


def test_a_user_without_actions_is_like_nothing() -> None:
    log, vocabulary = random_log(13), Vocabulary(CATALOGUE)
    recent, best = asked_after(log, vocabulary, [0, 5], seed=14)
    nobody = recent._replace(starts=recent.stops)
    found = ranking_of(log, vocabulary, seed=14).collect(nobody, best)

    silent = [
        row
        for row, name in enumerate(FEATURES)
        if name.startswith(("own", "like", "same", "category", "followed", "preceded", "gap", "boundary"))
    ]
    assert not found.features[silent].any()


def test_selected_answers_are_those_of_the_whole() -> None:
    log, vocabulary = random_log(15), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=16)
    recent, best = asked_after(log, vocabulary, range(30), seed=16)
    whole = ranking.collect(recent, best)
    answers = np.array([3, 4, 20])
    some = ranking.collect(recent.select(answers), best.select(answers))

    columns = np.isin(whole.answers, answers)
    np.testing.assert_array_equal(some.items, whole.items[columns])
    np.testing.assert_array_equal(some.features, whole.features[:, columns])
