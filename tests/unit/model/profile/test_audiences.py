"""Who belongs to an audience, and until when: looking at every hour is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import EVENT_TYPES
from model.profile.audiences import HOUR_MS, Audience, Count, Liking, Range, membership, name_problem
from model.state.visits import DAY_MS, Visit

NOW = 20_000 * DAY_MS + 7 * HOUR_MS
CART, PURCHASE = EVENT_TYPES.index("cart"), EVENT_TYPES.index("purchase")


def days(*counted: tuple[int, str, int]) -> list[tuple[int, list[int]]]:
    """Actions of types, so many days ago."""
    found = []
    for ago, kind, count in counted:
        counts = [0] * len(EVENT_TYPES)
        counts[EVENT_TYPES.index(kind)] = count
        found.append((NOW // DAY_MS - ago, counts))
    return found


TWO = {"days": days((3, "purchase", 1), (0, "purchase", 1))}


def of(audience: Audience, now: int = NOW, **fields: Any) -> tuple[bool, int]:
    """Whether a user is in an audience, and until when nothing changes."""
    names, until = membership({"a": audience}, Visit(**{"arrived": NOW, "number": 1} | fields), now)
    return names == ["a"], until


@pytest.mark.parametrize(
    ("audience", "fields", "belongs"),
    [
        (Audience(cart_open=True), {"cart": ["x"]}, True),
        (Audience(cart_open=True), {}, False),
        (Audience(cart_open=False), {}, True),
        (Audience(visits=Range(at_least=2)), {"number": 2}, True),
        (Audience(visits=Range(at_most=1)), {"number": 2}, False),
        (Audience(purchase_probability=Range(at_least=0.3)), {"purchase": 0.3}, True),
        (Audience(purchase_probability=Range(at_least=0.3)), {"purchase": 0.29}, False),
        (
            Audience(counts=[Count("purchase", 7, at_least=2)]),
            TWO,
            True,
        ),
        (
            Audience(counts=[Count("purchase", 3, at_least=2)]),
            TWO,
            False,
        ),
        (Audience(counts=[Count("cart", 7, at_most=0)]), {"days": days((3, "purchase", 1))}, True),
        (Audience(segments=[3]), {"fits": ["a"]}, True),
        (Audience(segments=[3]), {"fits": ["b"]}, False),
        (Audience(segments=[3], cart_open=True), {"fits": ["a"]}, False),
        (Audience(cart_open=True, visits=Range(at_least=2)), {"cart": ["x"]}, False),
        (Audience(cart_open=True, visits=Range(at_least=2)), {"cart": ["x"], "number": 3}, True),
    ],
)
def test_all_conditions_must_hold(audience: Audience, fields: dict[str, Any], belongs: bool) -> None:
    assert of(audience, **fields)[0] is belongs


def test_it_is_known_when_time_alone_changes_it() -> None:
    idle = Audience(idle_hours=Range(at_least=24, at_most=72))
    assert of(idle) == (False, NOW + 24 * HOUR_MS)
    assert of(idle, NOW + 24 * HOUR_MS) == (True, NOW + 72 * HOUR_MS + 1)
    assert of(idle, NOW + 72 * HOUR_MS + 1) == (False, 0)
    bought = Audience(counts=[Count("purchase", 7, at_least=1)])
    midnight = (NOW // DAY_MS + 4) * DAY_MS
    assert of(bought, days=days((3, "purchase", 1))) == (True, midnight)
    assert of(bought, midnight, days=days((3, "purchase", 1))) == (False, 0)
    assert of(Audience(cart_open=True, idle_hours=Range(at_least=1))) == (False, 0)  # there is nothing to wait for


LOW, WIDTH = st.sampled_from([0, 0.1, 5, 30]), st.sampled_from([0, 3.3, 50])
RANGES = st.builds(lambda low, width: Range(at_least=low, at_most=low + width), LOW, WIDTH)
LEAST = st.sampled_from([None, 1, 2])
COUNTS = st.builds(Count, st.sampled_from(["cart", "purchase"]), st.integers(1, 30), LEAST, st.just(9))
OPEN, SEVERAL = st.sampled_from([None, True]), st.lists(COUNTS, max_size=2)
AUDIENCES = st.builds(Audience, idle_hours=st.none() | RANGES, cart_open=OPEN, counts=SEVERAL)
VISITS = st.builds(
    lambda ago, cart, bought: Visit(
        arrived=NOW - ago,
        number=1,
        cart=["x"] * cart,
        days=sorted((NOW // DAY_MS - day, [0, 0, bought, 0, 1, 0, 0]) for day in {0, ago % 31}),
    ),
    st.sampled_from([0, 1, HOUR_MS, 3 * HOUR_MS + 7, DAY_MS, 20 * DAY_MS]),
    st.integers(0, 1),
    st.integers(0, 2),
)


@given(AUDIENCES, VISITS)
def test_nothing_changes_before_it_is_said_to(audience: Audience, visit: Visit) -> None:
    def belongs(now: int) -> bool:
        return membership({"a": audience}, visit, now).names == ["a"]

    now, steps = NOW, 0
    looked = [NOW + hour * HOUR_MS // 2 for hour in range(2 * 24 * 40)]
    while True:
        until = membership({"a": audience}, visit, now).until
        assert until == 0 or until > now
        same = [time for time in looked if now <= time and (not until or time < until)]
        assert {belongs(time) for time in same} <= {belongs(now)}
        if not until:
            break
        now, steps = until, steps + 1
        assert steps < 10


@pytest.mark.parametrize(
    ("audience", "said"),
    [
        (Audience(), "there is no condition"),
        (Audience(about="all"), "there is no condition"),
        (Audience(visits=Range()), "visits: at_least or at_most is missing"),
        (Audience(visits=Range(2, 1)), "nothing is at least 2 and at most 1"),
        (Audience(counts=[Count("view", 31, at_least=1)]), "counts[0].days: it is 31"),
        (Audience(likes=[Liking(at_least=0.5)]), "likes[0]: it takes a category or a brand"),
        (Audience(likes=[Liking("a", "b", 0.5)]), "likes[0]: it takes a category or a brand"),
        (Audience(likes=[Liking("a")]), "at_least above 0"),
        (Audience(counts=[Count("view")]), "counts[0]: at_least or at_most is missing"),
    ],
)
def test_what_is_wrong_is_said(audience: Audience, said: str) -> None:
    (problem,) = audience.problems()
    assert said in problem


def test_names_fit_into_keys_and_logs() -> None:
    assert [name_problem(name) for name in ("a", "lost-buyers", "7.x_")] == [None] * 3
    assert all(name_problem(name) for name in ("", "A", "-a", "a b", "a/b", "x" * 65, "ü"))
