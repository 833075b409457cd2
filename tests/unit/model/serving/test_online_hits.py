"""Online hits: each event scores the answer right before it; a dictionary of lists is the oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.serving.answers import RANKED
from model.serving.online_hits import OnlineHitRate


@dataclass
class AnsweredEvent:
    """An event that scores the answer before it, and the answer after it."""

    slot: int
    item: int  # 0: a search
    counts: bool
    ranked: list[int]
    answered: bool


EVENTS = st.builds(
    AnsweredEvent,
    slot=st.integers(0, 3),
    item=st.integers(0, 6),
    counts=st.booleans(),
    ranked=st.lists(st.integers(1, 6), unique=True, max_size=4),
    answered=st.booleans(),
)


def score(hit_rate: OnlineHitRate, events: list[AnsweredEvent], width: int = 4) -> list[int]:
    ranked = np.zeros((len(events), width), np.uint64)
    for n, event in enumerate(events):
        if event.answered:
            ranked[n, : len(event.ranked)] = event.ranked
    scored = hit_rate.score(
        np.array([event.slot for event in events], np.int64),
        np.array([event.item for event in events], np.uint64),
        np.array([event.counts for event in events], np.bool_),
        ranked,
        np.array([event.answered for event in events], np.bool_),
        capacity=4,
    )
    assert [slot for slot in scored.slots.tolist() if slot not in {event.slot for event in events}] == []
    return [int(rank) for rank in scored.ranks]


@given(st.lists(st.lists(EVENTS, max_size=15), max_size=4))
def test_each_event_scores_the_answer_right_before_it(batches: list[list[AnsweredEvent]]) -> None:
    hit_rate, oracle = OnlineHitRate(), dict[int, list[int]]()
    for batch in batches:
        wanted = []
        for event in batch:
            before = oracle.pop(event.slot, None)
            if before is not None and event.counts:
                wanted.append(before.index(event.item) + 1 if event.item in before else 0)
            if event.answered:
                oracle[event.slot] = event.ranked
        assert score(hit_rate, batch) == wanted


def test_a_shorter_answer_replaces_all_of_a_longer_one() -> None:
    hit_rate = OnlineHitRate()
    score(hit_rate, [AnsweredEvent(0, 0, False, [1, 2, 3, 4], True)])
    score(hit_rate, [AnsweredEvent(0, 1, True, [5], True)], width=1)
    assert score(hit_rate, [AnsweredEvent(0, 2, True, [], False)]) == [0]


def test_forgotten_slots_have_no_answer() -> None:
    hit_rate = OnlineHitRate()
    hit_rate.forget(np.array([3]))
    score(hit_rate, [AnsweredEvent(0, 0, False, [1], True), AnsweredEvent(1, 0, False, [1], True)])
    hit_rate.forget(np.array([0, 900]))
    assert score(hit_rate, [AnsweredEvent(0, 1, True, [], False), AnsweredEvent(1, 1, True, [], False)]) == [1]
    assert hit_rate.nbytes == 4 * (4 * RANKED + 1)
