"""When a visit begins and ends, and what is left undone by then."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from model.data.events import TYPE_CODES
from model.state.sections import TIMERS
from model.state.user_record import FIRST_VERSION, pack
from model.state.visits import (
    MOST_IN_CART,
    ActedEvent,
    Visit,
    VisitAction,
    VisitRules,
    act,
    arrival,
    end,
    has_ended_before,
    read_visit,
    visit_of,
    written_visit,
)
from tests.unit.builders.basics import make_states

START = 1_700_000_000_000
MINUTE = 60_000
RULES = VisitRules(30 * MINUTE, 0.5)


def event(minute: float, *acted: str, came: float | None = None, purchase: float = 0.0) -> ActedEvent:
    """An event of actions such as `cart a`, at a minute of the user's clock, which came at another one perhaps."""
    actions = [VisitAction(TYPE_CODES[kind], item) for kind, item in (one.split() for one in acted or ("view x",))]
    arrived = minute if came is None else came
    return ActedEvent(START + round(arrived * MINUTE), START + round(minute * MINUTE), actions, purchase)


def acted(*events: ActedEvent) -> Visit:
    visit = Visit()
    for one in events:
        act(visit, one, RULES)
    return visit


def test_a_visit_lasts_until_nothing_came_for_so_long() -> None:
    visit = acted(event(0), event(20, "view a", "view b"))
    assert (visit.number, visit.actions, visit.ends) == (1, 3, START + 50 * MINUTE)
    assert not has_ended_before(visit, event(49.9), RULES)
    assert has_ended_before(visit, event(50), RULES)
    ended = end(visit, RULES)
    assert (ended.number, ended.begun, ended.last) == (1, START, START + 20 * MINUTE)
    assert (ended.ended, ended.actions) == (START + 50 * MINUTE, 3)
    assert not visit.is_open
    assert not has_ended_before(visit, event(300), RULES)  # it is told once
    act(visit, event(300), RULES)
    assert (visit.number, visit.begun, visit.actions) == (2, START + 300 * MINUTE, 1)


def test_a_user_is_silent_by_the_log_or_by_their_own_clock() -> None:
    """Events of long ago that come at once: their own times tell visits apart; late ones keep a visit open."""
    visit = acted(event(0, came=1000))
    assert has_ended_before(visit, event(31, came=1000), RULES)
    assert not has_ended_before(visit, event(30, came=1000), RULES)
    late = acted(event(0, came=100), event(-5, came=110))
    assert late.ends == START + 140 * MINUTE
    assert acted(event(0, came=100), event(1, came=90)).ends == START + 130 * MINUTE


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([event(0, "cart a"), event(1, "cart b")], ["a", "b"]),
        ([event(0, "cart a"), event(1, "cart b", "cart a")], ["b", "a"]),
        ([event(0, "cart a"), event(1, "remove a")], []),
        ([event(0, "cart a"), event(1, "remove b")], ["a"]),
        ([event(0, "cart a", "cart b"), event(1, "purchase a")], []),
        ([event(0, "cart a"), event(1, "purchase c"), event(2, "cart b")], ["b"]),
    ],
)
def test_what_is_left_in_a_cart(events: list[ActedEvent], left: list[str]) -> None:
    assert end(acted(*events), RULES).left_in_cart == left


def test_a_cart_is_left_once() -> None:
    visit = acted(event(0, "cart a"))
    assert end(visit, RULES).left_in_cart == ["a"]
    act(visit, event(100), RULES)
    assert end(visit, RULES).left_in_cart == []
    act(visit, event(200, "cart b"), RULES)
    assert end(visit, RULES).left_in_cart == ["a", "b"]


def test_a_cart_is_bounded() -> None:
    visit = acted(event(0, *(f"cart {number}" for number in range(MOST_IN_CART + 3))))
    assert visit.cart == [str(number) for number in range(3, MOST_IN_CART + 3)]


def test_a_purchase_is_expected_until_it_comes() -> None:
    assert end(acted(event(0, purchase=0.7), event(1, purchase=0.1)), RULES).expected == 0.7
    assert end(acted(event(0, purchase=0.49)), RULES).expected == 0.0
    assert end(acted(event(0, purchase=0.7), event(1, "purchase a", purchase=0.9)), RULES).expected == 0.0
    visit = acted(event(0, purchase=0.7))
    end(visit, RULES)
    act(visit, event(100, purchase=0.2), RULES)
    assert end(visit, RULES).expected == 0.0


def test_the_section_holds_the_visit_and_says_first_when_to_look() -> None:
    visit = acted(event(0, "cart ä", purchase=0.25))
    assert read_visit(written_visit(visit)) == visit
    assert read_visit(written_visit(visit)[:-2]) == read_visit(None) == Visit()
    later = msgspec.msgpack.encode([*msgspec.msgpack.decode(written_visit(visit)), "of a later version"])
    assert read_visit(later) == visit


def test_a_record_says_when_to_look_at_its_user() -> None:
    states = make_states()
    slots = states.slots_of([0, 0], ["u", "v"])
    states.set_section(int(slots[0]), TIMERS, written_visit(acted(event(0))))
    states.set_section(int(slots[0]), 9, b"of a later version")
    known, other = pack(states.snapshot(slots))
    assert (visit_of(known).ends, visit_of(other)) == (START + 30 * MINUTE, Visit())
    assert visit_of(known[:-60]) == visit_of(b"") == visit_of(b"\x02") == Visit()
    states.version = FIRST_VERSION
    assert visit_of(pack(states.snapshot(slots))[0]) == Visit()
    states.set_section(int(slots[0]), TIMERS, b"nonsense")
    assert visit_of(pack(states.snapshot(np.array([slots[0]])))[0]) == Visit()


def test_an_event_came_when_its_record_says_unless_that_cannot_be() -> None:
    assert arrival(START - 5, START) == START - 5
    assert [arrival(time, START) for time in (START + 1, -1, 0)] == [START] * 3
