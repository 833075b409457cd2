"""V-SkNN against a plain loop, and by hand."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest

from model.evaluation.baselines import ItemIndex
from model.evaluation.ranking import MISSED
from model.evaluation.session_knn import SessionKnn, SessionKnnConfig
from tests.unit.builders.sequences import examples, names, random_users, sequences

TUNED = SessionKnnConfig(neighbours=5, candidates=12, position_power=1.0, shared_power=2.0, idf_weighting=0.5)
COSINE = SessionKnnConfig(neighbours=9, candidates=40, idf_weighting=0.0, cosine=True)


def scores_of(sessions: list[str], present: str, config: SessionKnnConfig) -> dict[str, float]:
    """The scores of all items that have one, for items viewed in order."""
    holds = [set(session.replace("?", "")) for session in sessions]
    holds = [items for items in holds if items]
    idf = {item: math.log(len(holds) / sum(item in items for items in holds)) for item in set().union(*holds)}
    present = present.replace("?", "")
    last = {item: place for place, item in enumerate(present, 1) if item in idf}
    weight = {item: (place / len(present)) ** config.position_power for item, place in last.items()}
    shared = [number for number, items in enumerate(holds) if items & set(last)][::-1][: config.candidates]
    latest = sorted(last, key=lambda item: -last[item])  # sums in one order, so that equal ones are equal
    near = {number: sum(weight[item] for item in latest if item in holds[number]) for number in shared}
    if config.cosine:
        near = {
            number: sum(weight[item] * idf[item] for item in latest if item in holds[number])
            / math.sqrt(len(holds[number]))
            for number in shared
        }
    scores: defaultdict[str, float] = defaultdict(float)
    for number in sorted(shared, key=lambda number: -near[number])[: config.neighbours]:
        back = len(present) + 1 - max(last[item] for item in holds[number] & set(last))
        for item in holds[number]:
            scores[item] += near[number] * (1 + config.idf_weighting * idf[item]) / back**config.shared_power
    return dict(scores)


def test_a_tiny_example_by_hand() -> None:
    known = sequences("ab", "ac", "bd")
    found = SessionKnn(known, ItemIndex(known)).rank(examples("ab", "ac", "bd", "ae", "xa"))
    # After a: of the two sessions with a, both equally near, c, which is rarer than b, gets more; a is in both.
    assert found.ranks.tolist() == [3, 1, 1, MISSED, MISSED]
    assert names(found.top[0].tolist()) == "cab"
    # After a, then b (weight 1; a has a quarter): "ab" is nearest, and b stands in two neighbours.
    common, rare = 1 + 5 * math.log(3 / 2), 1 + 5 * math.log(3)
    expected = {"b": 2.25 * common, "a": (1.25 + 0.25 * 0.5) * common, "d": rare, "c": 0.25 * 0.5 * rare}
    order = "".join(sorted(expected, key=lambda item: -expected[item]))
    assert names(SessionKnn(known, ItemIndex(known)).rank(examples("abz")).top[0].tolist()) == order


@pytest.mark.parametrize("config", [SessionKnnConfig(), TUNED, COSINE], ids=["example", "tuned", "cosine"])
def test_ranks_and_lists_are_those_of_a_plain_loop(config: SessionKnnConfig) -> None:
    sessions, present = random_users(6, users=150, items="abcdefghijklmno"), random_users(7, items="abcdefghijklmnopq")
    known = sequences(*sessions)
    found = SessionKnn(known, ItemIndex(known), config).rank(examples(*present))
    again = SessionKnn(known, ItemIndex(known), COSINE).with_config(config).rank(examples(*present))
    assert (again.ranks == found.ranks).all()
    for n, user in enumerate(present):
        scores = scores_of(sessions, user[:-1], config)
        own = scores.get(user[-1])
        rank = MISSED if own is None else sum(score >= own - 1e-12 for score in scores.values())
        assert found.ranks[n] == rank
        shown = names(found.top[n].tolist())
        assert [scores[item] for item in shown] == pytest.approx(sorted(scores.values(), reverse=True)[:20])


def test_sessions_of_one_user_are_separated_by_their_boundaries() -> None:
    known = sequences("ab")
    halves = sequences("ab")
    halves.contexts[1] |= 1 << 3  # b opens a session
    assert SessionKnn(known, ItemIndex(known)).rank(examples("ab")).ranks.tolist() == [2]
    assert SessionKnn(halves, ItemIndex(halves)).rank(examples("ab")).ranks.tolist() == [MISSED]


def test_the_present_session_is_that_of_the_action_before_and_not_the_whole_user() -> None:
    known = sequences("ax", "by")
    holdout = examples("aby")
    holdout.sequences.contexts[1] |= 1 << 3  # b opens a session; a, the one before, has nothing to say then
    found = SessionKnn(known, ItemIndex(known)).rank(holdout)
    assert sorted(names(found.top[0].tolist())) == ["b", "y"]
    whole = SessionKnn(known, ItemIndex(known), SessionKnnConfig(whole_user=True)).rank(holdout)
    assert sorted(names(whole.top[0].tolist())) == ["a", "b", "x", "y"]


def test_whether_the_target_begins_a_session_is_not_known() -> None:
    known = sequences("ax", "by")
    holdout = examples("ax")
    before = SessionKnn(known, ItemIndex(known)).rank(holdout).ranks.tolist()
    holdout.sequences.contexts[1] |= 1 << 3
    assert SessionKnn(known, ItemIndex(known)).rank(holdout).ranks.tolist() == before


def test_the_most_recent_sessions_are_those_that_ended_last() -> None:
    known = sequences("ab", "ac")
    known.times[1] = known.times[-1] + 1  # "ab" began first and ended last
    found = SessionKnn(known, ItemIndex(known), SessionKnnConfig(candidates=1)).rank(examples("az"))
    assert sorted(names(found.top[0].tolist())) == ["a", "b"]
