"""Rankings of actions and their scores: loops over Python lists are the oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import EVENT_TYPES, SEARCH
from model.serving.answers import RANKED, Answers, next_actions
from model.serving.online_hits import OnlineHitRate

TYPES = len(EVENT_TYPES)


def make_answers(seed: int, n: int, k: int, missing: int) -> Answers:
    random = np.random.default_rng(seed)
    items = np.tile(np.arange(k), (n, 1))
    items[:, k - missing :] = -1
    on_item = random.dirichlet(np.ones(TYPES), (n, k)).astype(np.float32)
    on_item[..., SEARCH] = 0
    on_item[items < 0] = 0
    shares = -np.sort(-random.dirichlet(np.ones(k + 1), n)[:, :k], 1) if k else np.zeros((n, 0))
    return Answers(
        version="v",
        names=[f"item {i}" for i in range(k)],
        items=items,
        probabilities=np.where(items < 0, 0, shares).astype(np.float32),
        next_type=random.dirichlet(np.ones(TYPES), n).astype(np.float32),
        type_given_item=on_item,
        purchase=random.random(n, np.float32),
    )


@given(st.integers(0, 2**32), st.integers(0, 3), st.integers(1, 4), st.integers(0, 2), st.integers(1, 50))
def test_next_actions_are_the_most_probable_pairs(seed: int, n: int, k: int, missing: int, count: int) -> None:
    answers = make_answers(seed, n, k, min(missing, k))
    types, places, probabilities = next_actions(answers, count)
    for row in range(n):
        oracle = {(SEARCH, -1): float(answers.next_type[row, SEARCH])}
        for place in range(k):
            for kind in set(range(TYPES)) - {SEARCH}:
                of_item = answers.probabilities[row, place] * answers.type_given_item[row, place, kind]
                oracle[kind, place] = float((1 - answers.next_type[row, SEARCH]) * of_item)
        best = sorted(oracle.values(), reverse=True)[:count]
        assert probabilities[row].tolist()[: len(best)] == pytest.approx(best, abs=1e-6)
        found = list(zip(types[row].tolist(), places[row].tolist(), strict=True))
        for pair, probability in zip(found, probabilities[row].tolist(), strict=True):
            assert probability == pytest.approx(oracle.get(pair, 0.0), abs=1e-6)
        assert len(set(found)) == len(found)


@dataclass
class Scored:
    """An event for the scoreboard."""

    slot: int
    item: int  # 0: a search
    counts: bool
    ranked: list[int]
    answered: bool


EVENTS = st.builds(
    Scored,
    slot=st.integers(0, 3),
    item=st.integers(0, 6),
    counts=st.booleans(),
    ranked=st.lists(st.integers(1, 6), unique=True, max_size=4),
    answered=st.booleans(),
)


def score(board: OnlineHitRate, events: list[Scored], width: int = 4) -> list[int]:
    ranked = np.zeros((len(events), width), np.uint64)
    for place, event in enumerate(events):
        if event.answered:
            ranked[place, : len(event.ranked)] = event.ranked
    places = board.score(
        np.array([event.slot for event in events], np.int64),
        np.array([event.item for event in events], np.uint64),
        np.array([event.counts for event in events], np.bool_),
        ranked,
        np.array([event.answered for event in events], np.bool_),
        capacity=4,
    )
    return [int(place) for place in places]


@given(st.lists(st.lists(EVENTS, max_size=15), max_size=4))
def test_each_event_scores_the_answer_right_before_it(batches: list[list[Scored]]) -> None:
    board, oracle = OnlineHitRate(), dict[int, list[int]]()
    for batch in batches:
        wanted = []
        for event in batch:
            before = oracle.pop(event.slot, None)
            if before is not None and event.counts:
                wanted.append(before.index(event.item) + 1 if event.item in before else 0)
            if event.answered:
                oracle[event.slot] = event.ranked
        assert score(board, batch) == wanted


def test_a_shorter_answer_leaves_nothing_of_the_longer_one_before() -> None:
    board = OnlineHitRate()
    score(board, [Scored(0, 0, False, [1, 2, 3, 4], True)])
    score(board, [Scored(0, 1, True, [5], True)], width=1)
    assert score(board, [Scored(0, 2, True, [], False)]) == [0]


def test_forgotten_slots_have_no_answer() -> None:
    board = OnlineHitRate()
    board.forget(np.array([3]))
    score(board, [Scored(0, 0, False, [1], True), Scored(1, 0, False, [1], True)])
    board.forget(np.array([0, 900]))
    assert score(board, [Scored(0, 1, True, [], False), Scored(1, 1, True, [], False)]) == [1]
    assert board.nbytes == 4 * (4 * RANKED + 1)
