"""Candidates in order: the best first, what nobody knows last."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import item_key
from stream_app.contract.questions.answers import RankedItem
from stream_app.query.ranking import distinct_items, keys_of, ranked_items

NAN = float("nan")


def test_what_is_known_comes_first_and_ties_as_they_were_given() -> None:
    scores = np.array([0.25, NAN, 0.5, 0.25, NAN], np.float32)
    assert ranked_items(list("abcde"), scores) == [
        RankedItem("c", 0.5, True),
        RankedItem("a", 0.25, True),
        RankedItem("d", 0.25, True),
        RankedItem("b", 0.0, False),
        RankedItem("e", 0.0, False),
    ]


@given(st.lists(st.tuples(st.text(max_size=3), st.floats(0, 1, width=32) | st.just(NAN)), max_size=40))
def test_all_candidates_come_back_once(pairs: list[tuple[str, float]]) -> None:
    items = distinct_items([item for item, _ in pairs])
    scores = np.array([dict(pairs)[item] for item in items], np.float32)
    ranked = ranked_items(items, scores)
    assert sorted(one.item_id for one in ranked) == sorted(set(items))
    known = [one.score for one in ranked if one.known]
    assert known == sorted(known, reverse=True)
    assert [one.known for one in ranked] == [True] * len(known) + [False] * (len(ranked) - len(known))
    assert keys_of(items).tolist() == [item_key(item) for item in items]
