"""V-SkNN against a plain loop, and by hand."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest

from model.evaluation.baselines import ItemIndex
from model.evaluation.ranking import MISSED
from model.evaluation.session_knn import SessionKnn
from tests.unit.builders.sequences import examples, names, random_users, sequences


def scores_of(sessions: list[str], current: str, neighbours: int, candidates: int) -> dict[str, float]:
    """The scores of all items that have one, for items viewed in order."""
    holds = [set(session.replace("?", "")) for session in sessions]
    holds = [items for items in holds if items]
    idf = {item: math.log((len(holds) + 1) / sum(item in items for items in holds)) for item in set().union(*holds)}
    latest = [item for item in dict.fromkeys(current[::-1].replace("?", "")) if item in idf][:20]
    weight = {item: 1 - age / len(latest) for age, item in enumerate(latest)}
    shared = [number for number, items in enumerate(holds) if items & set(latest)][::-1][:candidates]
    near = {
        number: sum(weight[item] * idf[item] for item in holds[number] & set(latest)) / math.sqrt(len(holds[number]))
        for number in shared
    }
    scores: defaultdict[str, float] = defaultdict(float)
    for number in sorted(shared, key=lambda number: -round(near[number], 12))[:neighbours]:
        for item in holds[number]:
            scores[item] += near[number] * max(weight[other] for other in holds[number] & set(latest))
    return dict(scores)


def test_a_tiny_example_by_hand() -> None:
    known = sequences("ab", "ac", "bd")
    found = SessionKnn(known, ItemIndex(known)).rank(examples("ab", "ac", "bd", "ae", "xa"))
    # After a: of the two sessions with a, both of two items and equally near, b and c get the same; ties count against.
    assert found.ranks.tolist() == [3, 3, 3, MISSED, MISSED]
    assert names(found.top[0].tolist())[0] == "a"  # it is in both
    # After a, then b (weight 1; a has 1/2): "ab" is nearest, and b stands in two neighbours.
    idf_a = idf_b = math.log(4 / 2)
    ab, ac, bd = (idf_b + idf_a / 2) / math.sqrt(2), idf_a / 2 / math.sqrt(2), idf_b / math.sqrt(2)
    expected = {"b": ab + bd, "a": ab + ac * 0.5, "d": bd, "c": ac * 0.5}
    order = "".join(sorted(expected, key=lambda item: -expected[item]))
    assert names(SessionKnn(known, ItemIndex(known)).rank(examples("abz")).top[0].tolist()) == order


@pytest.mark.parametrize(("neighbours", "candidates"), [(500, 1000), (5, 12)])
def test_ranks_and_lists_are_those_of_a_plain_loop(neighbours: int, candidates: int) -> None:
    sessions, current = random_users(6, users=150, items="abcdefghijklmno"), random_users(7, items="abcdefghijklmnopq")
    known = sequences(*sessions)
    found = SessionKnn(known, ItemIndex(known), neighbours=neighbours, candidates=candidates).rank(examples(*current))
    for n, user in enumerate(current):
        scores = scores_of(sessions, user[:-1], neighbours, candidates)
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
