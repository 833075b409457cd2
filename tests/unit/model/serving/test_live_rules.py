"""The rules in the stream: the rules themselves, called event by event with Python lists, are the oracle."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.data.contexts import contexts_of
from model.data.covisits import COVISIT_WINDOW
from model.data.events import NO_TIME, SEARCH, Event, actions_of
from model.serving.answers import RANKED, Answers
from model.serving.live_rules import LiveRules
from model.serving.rules import NO_TYPE, Rules
from model.state.history_rings import Histories
from tests.unit.builders.basics import Logged, logs, splits


def test_what_the_rules_would_show_now_has_names() -> None:
    rules = Rules()
    rules.learn([], 1, "one")
    rules.learn([1], 2, "two")
    live = LiveRules(rules)
    assert live.recommended([1], 20) == ["two", "one"]
    assert live.recommended([], 1) == [{1: "one", 2: "two"}[rules.rank([], 1)[0]]]
    assert live.recommended([7] * 100 + [1], 20) == [{1: "one", 2: "two"}[item] for item in rules.popular(20)]
    assert LiveRules(Rules()).recommended([1], 20) == []


class Stream:
    """Live rules with the histories that the state engine would keep for them."""

    def __init__(self, rules: Rules) -> None:
        self.rules = LiveRules(rules)
        self.histories = Histories(64, 8)

    def follow(self, batch: list[Logged], applied: list[bool]) -> tuple[Answers, NDArray[np.uint64]]:
        events, times = [logged.event for logged in batch], [logged.time for logged in batch]
        actions = actions_of(events, times, [logged.line for logged in batch])
        slots = np.array(["abc".index(user) for user in actions.users], np.int64)
        mask = np.array(applied, np.bool_)
        answers, ranked = self.rules.follow(actions, slots, mask, self.histories)
        indices = np.flatnonzero(mask)
        assert answers is not None
        some, slots = actions.take(indices), slots[indices]
        contexts = contexts_of(some, slots, np.full(len(indices), NO_TIME), np.zeros(len(indices), np.uint64))
        self.histories.append(slots, some.item_keys, contexts)
        return answers, ranked


class Oracle:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.items: defaultdict[str, list[int]] = defaultdict(list)
        self.last_type: defaultdict[str, int] = defaultdict(lambda: NO_TYPE)

    def take(self, logged: Logged) -> None:
        event, action = logged.event, actions_of([logged.event], [0])
        kind, item = int(action.types[0]), int(action.item_keys[0])
        if logged.line == 0:
            self.rules.learn_type(self.last_type[event.user_id], kind)
        self.last_type[event.user_id] = kind
        if kind != SEARCH:
            self.rules.learn(self.items[event.user_id][::-1], item, event.item_id or "")
            self.items[event.user_id].append(item)

    def rank(self, user: str) -> list[int]:
        return self.rules.rank(self.items[user][::-1], RANKED)


@settings(max_examples=60)
@given(st.data(), logs(most=COVISIT_WINDOW), st.sampled_from([2, 50_000]))
def test_batches_learn_and_answer_like_single_events(data: st.DataObject, log: list[Logged], most: int) -> None:
    """The rules look back at COVISIT_WINDOW actions, whatever the batches; with room for two items, the
    weakest are dropped in the midst of a batch, after they were ranked in it."""
    stream, oracle = Stream(Rules(max_items=most)), Oracle(Rules(max_items=most))
    first: set[str] = set()
    start = 0
    while start < len(log):
        batch = joined(log[start : data.draw(st.integers(start + 1, len(log)))], data)
        start += len(batch)
        applied = data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch)))
        wanted, types, purchases = [], [], []
        for n, logged in enumerate(batch):
            user = logged.event.user_id
            applied[n] = applied[n] or user not in first  # a repeat comes after something else
            applied[n] = applied[n - 1] if logged.line else applied[n]
            first.add(user)
            if applied[n]:
                oracle.take(logged)
            if n + 1 < len(batch) and batch[n + 1].line:
                continue
            wanted.append(oracle.rank(user))
            types.append(oracle.rules.type_probabilities(oracle.last_type[user]))
            purchases.append(oracle.rules.purchase_probability(oracle.last_type[user]))
        answers, ranked = stream.follow(batch, applied)
        assert [[int(item) for item in row if item] for row in ranked] == wanted
        assert answers.next_type.tolist() == [pytest.approx(row) for row in types]
        assert answers.purchase.tolist() == pytest.approx(purchases)
        assert len(answers.items) == len(wanted)


def joined(batch: list[Logged], data: st.DataObject) -> list[Logged]:
    """Makes some events of a user that follow each other one event."""
    found: list[Logged] = []
    for logged in batch:
        before = found[-1] if found and found[-1].owner == logged.owner and data.draw(st.booleans()) else None
        found.append(replace(logged, line=before.line + 1) if before else logged)
    return found


def names_of(answers: Answers, row: int) -> list[str]:
    return [answers.names[item] for item in answers.items[row] if item >= 0]


@settings(max_examples=40)
@given(logs(most=20), st.data())
def test_answers_are_probabilities(log: list[Logged], data: st.DataObject) -> None:
    stream = Stream(Rules())
    for batch in data.draw(splits(log)):
        answers, ranked = stream.follow(batch, [True] * len(batch))
        stream.rules.count_ranks(np.array(data.draw(st.lists(st.integers(0, RANKED), max_size=9)), np.int64))
        assert answers.version == "baseline"
        assert answers.next_type.sum(1) == pytest.approx(1)
        assert (answers.next_type > 0).all()
        assert ((answers.purchase > 0) & (answers.purchase < 1)).all()
        assert (np.diff(answers.probabilities, axis=1) <= 0).all()
        assert (answers.probabilities.sum(1) < 1).all()
        assert ((answers.probabilities > 0) == (answers.items >= 0)).all()
        assert (answers.type_given_item[..., SEARCH] == 0).all()
        assert answers.type_given_item.sum(2) == pytest.approx(1)
        for row in range(len(batch)):
            assert len(names_of(answers, row)) == np.count_nonzero(ranked[row])


def test_an_empty_batch_has_no_answers() -> None:
    stream = Stream(Rules())
    answers, ranked = stream.follow([], [])
    assert answers.items.shape == (0, RANKED)
    assert answers.next_type.shape == (0, 7)
    assert ranked.shape == (0, RANKED)


def test_ranks_that_were_right_more_often_get_more_of_the_probability() -> None:
    stream = Stream(Rules())
    stream.rules.count_ranks(np.array([1] * 60 + [2] * 20 + [0] * 19, np.int64))
    two = [Logged(Event(user_id="a", type="view", item_id=item), 0, n) for n, item in enumerate("xy")]
    answers, _ = stream.follow(two, [True] * 2)
    total = 60 + 20 + 19 + RANKED + 1
    assert answers.probabilities[1, :2].tolist() == pytest.approx([61 / total, 21 / total])
