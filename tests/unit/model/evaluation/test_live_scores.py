"""Scores of a live run: what kind each target is, and means, gains and the ceiling over them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation.live_scores import (
    BORN_NOT_OWN,
    BORN_OWN,
    OTHER,
    UNTOUCHED,
    LiveScores,
    Touches,
    ranks_of,
    target_kinds,
)
from model.evaluation.ranking import MISSED


def touches(rows: list[tuple[int, int, int]]) -> Touches:
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return Touches(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.uint64))


def by_hand(targets: list[tuple[int, int, int]], log: list[tuple[int, int, int]], known: set[int]) -> list[int]:
    kinds = []
    for event, user, item in targets:
        before = [row for row in log if row[0] < event and row[2] == item]
        if item in known:
            kinds.append(OTHER)
        elif not before:
            kinds.append(UNTOUCHED)
        else:
            kinds.append(BORN_OWN if any(row[1] == user for row in before) else BORN_NOT_OWN)
    return kinds


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 6)), max_size=40),
    st.sets(st.integers(1, 6)),
    st.data(),
)
def test_kinds_are_those_that_a_look_back_finds(
    steps: list[tuple[int, int, int]], known: set[int], data: st.DataObject
) -> None:
    """Several touches of one event: the lines of a basket, which do not make each other known."""
    events = np.cumsum([step for step, _, _ in steps]).tolist() if steps else []
    log = [(event, user, item) for event, (_, user, item) in zip(events, steps, strict=True)]
    targets = [row for row in log if data.draw(st.booleans())]
    kinds = target_kinds(touches(targets), touches(log), np.array(sorted(known), np.uint64))
    assert kinds.tolist() == by_hand(targets, log, known)


def made_scores() -> LiveScores:
    return LiveScores(
        targets=touches([(1, 0, 5), (2, 1, 6), (3, 0, 7), (4, 2, 8)]),
        model_ranks=ranks_of(np.array([1, 0, 4, 2])),
        rules_ranks=ranks_of(np.array([2, 0, 0, 20])),
        known_users=np.array([True, False, True, False]),
        kinds=np.array([OTHER, UNTOUCHED, BORN_OWN, OTHER], np.uint8),
    )


def test_means_are_over_all_targets_or_some() -> None:
    scores = made_scores()
    assert scores.model_ranks.tolist() == [1, MISSED, 4, 2]
    model, rules = scores.means()
    assert (model.recall[20], rules.recall[20]) == (0.75, 0.5)
    assert model.mrr[20] == pytest.approx((1 + 1 / 4 + 1 / 2) / 4)
    assert scores.means(scores.known_users)[1].recall[20] == 0.5
    assert scores.ceiling == 0.75
    slices = {(kind, name): mask.tolist() for kind, name, mask in scores.slices()}
    assert slices["users", "new"] == [False, True, False, True]
    assert slices["targets", "other"] == [True, False, False, True]
    assert ("targets", "born_not_own") not in slices, "there are none"


def test_gains_are_differences_target_by_target() -> None:
    recall, mrr = made_scores().gains()
    assert recall.mean == 0.25
    assert mrr.mean == pytest.approx((1 - 1 / 2 + 1 / 4 + 1 / 2 - 1 / 20) / 4)
    assert recall.low < recall.mean < recall.high
