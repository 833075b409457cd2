"""The answer engine: each answer is scored by its user's next event, whenever and by whichever version it was given."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace

import numpy as np

from model.data.events import item_key
from model.serving.answers import RANKED, ranked_keys
from model.serving.canary import Canary
from tests.unit.builders.basics import CPU, ITEMS
from tests.unit.builders.engines import BatchOutcome, make_engines, serving_on, view


def test_each_item_scores_the_answer_before_it() -> None:
    serving = serving_on(CPU)
    engines = make_engines(serving=serving)
    first = engines.advance([view(0)]).answers
    for column in (0, 7, RANKED - 1):
        again = make_engines(serving=serving)
        item = ITEMS[first.items[0, column]]
        outcome = again.advance([view(0), view(1, item=item), view(2, user="b")])
        assert outcome.scores.ranks.tolist() == [column + 1]
    outside = next(item for n, item in enumerate(ITEMS) if n not in first.items[0])
    assert engines.advance([view(1, item=outside)]).scores.ranks.tolist() == [0]


def test_forgotten_users_take_their_answers_along() -> None:
    engines = make_engines(serving=serving_on(CPU), rules_share=1)
    engines.advance([view(0)])
    engines.state_engine.clear()
    outcome = engines.advance([view(0, user="other")])
    assert outcome.scores.ranks.tolist() == outcome.stepped.rules_ranks.tolist() == []


def test_a_user_whose_slot_was_another_ones_is_not_scored_by_the_answers_to_that_one() -> None:
    engines = make_engines(serving=serving_on(CPU), rules_share=1, most=1)
    assert len(engines.advance([view(0), view(1)]).scores.ranks) == 1
    engines.states.settled = engines.states.batch + 1
    after = engines.advance([view(2, "b")])
    assert engines.states.evicted.tolist() == after.stepped.events.slots.tolist()
    assert len(after.scores.ranks) == len(after.stepped.rules_ranks) == 0
    assert len(engines.advance([view(3, "b")]).stepped.rules_ranks) == 1


def test_purchases_are_settled_by_the_version_that_predicted_them_also_of_users_who_leave() -> None:
    before = serving_on(CPU, name="before", seed=1)
    engines = make_engines(serving=serving_on(CPU))
    engines.state_engine.serve(serving_on(CPU), Canary(before, 0.5))
    users = np.array([f"user {n}" for n in range(40)])
    stays = Canary(before, 0.5).stays(users.tolist())
    leaving, coming = [*users[stays][:2], users[~stays][0]], [users[stays][2], users[~stays][1]]
    first = engines.advance_shares([view(n, user) for n, user in enumerate(leaving)])
    engines.advance_shares([view(3, leaving[0], type="purchase")])
    predicted: dict[str, list[float]] = {share.answers.version: share.answers.purchase.tolist() for share in first}
    settled, bought = defaultdict[str, list[float]](list), []
    for batch in range(70):  # elsewhere, which says nothing about when partition 0 has got to
        there = replace(view(20_000 + batch, coming[1]), partition=1)
        assert not any(len(share.scores.purchases.came) for share in engines.advance_shares([there]))
    for batch in range(70):
        for share in engines.advance_shares([view(20_000 + 2 * batch + n, user) for n, user in enumerate(coming)]):
            outcomes = share.scores.purchases
            for number, chance in zip(outcomes.versions.tolist(), outcomes.predicted.tolist(), strict=True):
                settled[share.scores.versions[number]].append(chance)
            bought += outcomes.came.tolist()
    assert settled == predicted
    assert sum(bought) == 1


def test_batches_that_are_answered_after_the_next_one_was_stepped_get_the_same_answers() -> None:
    versions = [serving_on(CPU), serving_on(CPU, name="v2", seed=1)]
    users, rng = [f"user {n}" for n in range(9)], random.Random(1)
    batches = [[view(6 * n + k, rng.choice(users), rng.choice(ITEMS)) for k in range(6)] for n in range(40)]
    at_once, staggered = (make_engines(rules_share=1, most=7) for _ in range(2))  # users take each other's slots
    expected, answered, waiting = list[BatchOutcome](), list[BatchOutcome](), None
    for number, batch in enumerate(batches):
        for engines in (at_once, staggered):
            engines.states.settled = engines.states.batch + 1
            if number in (4, 20):
                engines.state_engine.serve(versions[number // 20])
            if number == 30:
                engines.state_engine.clear()
        expected.append(at_once.advance(batch))
        stepped = staggered.step(batch)
        answered += [] if waiting is None else [staggered.answer(waiting)]
        waiting = stepped
    assert waiting is not None
    answered.append(staggered.answer(waiting))
    assert [outcome.answers.version for outcome in answered[::10]] == ["baseline", "v1", "v2", "v2"]
    assert sum(len(outcome.scores.ranks) for outcome in answered) > 50
    for one, other in zip(expected, answered, strict=True):
        assert one.answers.version == other.answers.version
        np.testing.assert_array_equal(one.answers.items, other.answers.items)
        np.testing.assert_array_equal(one.answers.purchase, other.answers.purchase)
        np.testing.assert_array_equal(one.scores.ranks, other.scores.ranks)
        np.testing.assert_array_equal(one.scores.purchases, other.scores.purchases)


def test_a_new_version_is_not_scored_by_answers_of_the_old_one() -> None:
    engines = make_engines(serving=serving_on(CPU))
    engines.advance([view(0)])
    engines.state_engine.serve(serving_on(CPU, name="new", seed=1))
    assert engines.advance([view(1)]).scores.ranks.tolist() == []
    assert len(engines.advance([view(2)]).scores.ranks) == 1


def test_items_that_are_given_have_the_scores_of_the_answer_and_related_ones_have_names() -> None:
    serving = serving_on(CPU)
    engines = make_engines(serving=serving)
    outcome = engines.advance([view(0), view(1, "b")])
    request = outcome.stepped.request
    assert request is not None
    keys = ranked_keys(outcome.answers.items, serving.ranking.item_keys)
    scores = engines.answer_engine.score(request, [keys[0], keys[1][::-1]])
    np.testing.assert_array_equal(scores[0], outcome.answers.probabilities[0])
    np.testing.assert_array_equal(scores[1][::-1], outcome.answers.probabilities[1])
    related = engines.answer_engine.related(serving, item_key(ITEMS[3]), 7)
    assert related is not None
    assert len({item for item, _ in related} & set(ITEMS) - {ITEMS[3]}) == 7
    assert [score for _, score in related] == sorted((score for _, score in related), reverse=True)
    assert engines.answer_engine.related(serving, item_key("nobody's"), 7) is None
