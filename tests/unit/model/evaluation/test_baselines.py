"""Baselines against plain loops, and the floors on a real log."""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict

import numpy as np
import pytest

from model.evaluation.baselines import (
    ItemIndex,
    OwnItems,
    PopularItems,
    RulesRanker,
    Transitions,
    fill_lists,
    latest_items,
)
from model.evaluation.evaluate import learned_rules
from model.evaluation.ranking import MISSED, Ranker, rank_all, ranking
from model.evaluation.session_knn import SessionKnn
from model.evaluation.split import split_sessions
from tests.paths import SHARED_DATA
from tests.skips import NO_SHARED_DATA
from tests.unit.builders.sequences import examples, names, random_users, rows, sequences


def test_popular_items_rank_by_count_with_ties_against_them() -> None:
    known = sequences("aab", "abc", "cd?", "?")  # a 3, b 2, c 2, d 1
    found = PopularItems(ItemIndex(known)).rank(examples("xa", "xb", "xc", "xd", "xe"))
    assert found.ranks.tolist() == [1, 3, 3, 4, MISSED]
    assert names(found.top[0].tolist())[0] == "a"
    assert sorted(names(found.top[0].tolist())) == ["a", "b", "c", "d"]


def test_recent_actions_weigh_more_by_half_lives() -> None:
    known = sequences("aaaa", "b", "c")  # with a half-life of one action: a 15/32, b 1/2, c 1
    found = PopularItems(ItemIndex(known), half_life=1).rank(examples("xa", "xb", "xc"))
    assert names(found.top[0].tolist()) == "cba"
    assert found.ranks.tolist() == [3, 2, 1]


def test_latest_items_are_distinct_and_not_searches() -> None:
    found = latest_items(examples("abca?bz", "?z", "abcdz"), 3)
    assert [names(row) for row in found.tolist()] == ["bac", "", "dcb"]


def test_lists_are_filled_with_what_they_do_not_have() -> None:
    found = fill_lists(rows("cb", "", "abcd", width=4), rows("abcde")[0, :5])
    assert [names(row) for row in found.tolist()] == ["cbad", "abcd", "abcd"]


def test_own_items_come_before_popular_ones() -> None:
    found = OwnItems(PopularItems(ItemIndex(sequences("ppq")))).rank(examples("abap", "abab"))
    assert [names(row) for row in found.top.tolist()] == ["abpq", "abpq"]
    assert found.ranks.tolist() == [3, 2]


def test_transitions_are_those_of_a_plain_loop() -> None:
    users = random_users(3, users=200, items="abcdefghijkl")
    known = sequences(*users)
    items = ItemIndex(known)
    weights: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for user in users:
        viewed = user.replace("?", "")
        for later in range(len(viewed)):
            for earlier in range(max(0, later - 10), later):
                after = weights[viewed[earlier]]
                after[viewed[later]] = after.get(viewed[later], 0.0) + 1 / (later - earlier)
    found = Transitions(items, PopularItems(items)).rank(examples(*[f"{item}z" for item in "abcdefghijkl"]))
    for n, item in enumerate("abcdefghijkl"):
        after = weights[item]
        shown = names(found.top[n].tolist())[: len(after)]
        assert set(shown) == set(after)
        assert [round(after[other], 6) for other in shown] == sorted(
            (round(w, 6) for w in after.values()), reverse=True
        )
        # Equal ones stand as a dictionary keeps them, which is as they were first seen.
        assert list(shown) == sorted(after, key=lambda other: -round(after[other], 9))


def test_rules_are_ranked_as_they_answer() -> None:
    users = random_users(4)
    rules, holdout = learned_rules(sequences(*users)), examples(*random_users(5))
    found = RulesRanker(rules).rank(holdout)
    for n, (start, position) in enumerate(zip(holdout.starts.tolist(), holdout.positions.tolist(), strict=True)):
        past = range(position - 1, start - 1, -1)
        recent = [int(holdout.sequences.item_keys[p]) for p in past if holdout.sequences.types[p] != 1]
        assert [item for item in found.top[n].tolist() if item] == rules.rank(recent, 20)


@pytest.mark.parametrize("users", [[], ["?"], ["a"], ["aa"]])
def test_hardly_any_training_data_is_not_an_error(users: list[str]) -> None:
    known, holdout = sequences(*users), examples("ab", "?a")
    items = ItemIndex(known)
    popular = PopularItems(items)
    rankers: list[Ranker] = [popular, OwnItems(popular), Transitions(items, popular), SessionKnn(known, items)]
    for ranker in rankers:
        assert rank_all(ranker, holdout).ranks[0] == MISSED


def yoochoose(name: str) -> list[list[str]]:
    sessions: dict[str, list[tuple[float, str]]] = defaultdict(list)
    with gzip.open(SHARED_DATA / "yoochoose100k" / name, "rt") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            sessions[row["SessionId"]].append((float(row["Time"]), row["ItemId"]))
    clicks = sorted((sorted(clicks, key=lambda click: click[0]) for clicks in sessions.values()), key=lambda c: c[0][0])
    return [[item for _, item in session] for session in clicks]


@pytest.mark.skipif(not SHARED_DATA.exists(), reason=NO_SHARED_DATA)
def test_floors_on_yoochoose() -> None:
    test = yoochoose("test.tsv.gz")
    steps = [(session[:n], session[n]) for session in test for n in range(1, len(session))]
    split = split_sessions(yoochoose("train_full.tsv.gz"), steps)
    items = ItemIndex(split.known)
    popular = PopularItems(items)
    floors: list[tuple[Ranker, float, float]] = [
        (popular, 8.94, 2.64),
        (OwnItems(popular), 38.18, 29.99),
        (Transitions(items, popular), 62.17, 34.83),
        (RulesRanker(learned_rules(split.known)), 66.42, 36.42),
        (SessionKnn(split.known, items), 68.76, 36.61),  # what it reached when it was written
    ]
    for ranker, recall, mrr in floors:
        found = ranking(rank_all(ranker, split.holdout).ranks)
        assert 100 * found.recall[20] == pytest.approx(recall, abs=0.08)
        assert 100 * found.mrr[20] == pytest.approx(mrr, abs=0.03)


def test_items_of_a_log_have_codes() -> None:
    items = ItemIndex(sequences("ab?a", "c"))
    assert Counter(items.codes.tolist()) == Counter(items.codes_of(rows("abac", width=4)[0]).tolist())
    assert items.item_keys_of(np.array([-1])).tolist() == [0]
