"""What is told of whole logs, however they are cut into batches and batches overlap: a plain list is the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from model.profile.audiences import Audience, Count, Range
from model.state.sections import TIMERS
from model.state.user_record import section_of
from model.state.visits import read_visit
from tests.unit.builders.signals import SILENCE, START, Bench, Shopped


class Look(NamedTuple):
    """The clock looks at everybody."""

    now: int  # ms


@st.composite
def streams(draw: st.DrawFn) -> list[list[Shopped] | Look]:
    """Batches of events, and looks at the clock between them, all by rising time."""
    time, steps = START, list[list[Shopped] | Look]()
    for _ in range(draw(st.integers(1, 12))):
        if draw(st.booleans()):
            steps.append(Look(time))
            continue
        batch = []
        for _ in range(draw(st.integers(1, 4))):
            time += draw(st.sampled_from([0, 60_000, SILENCE - 1, SILENCE, SILENCE + 60_000]))
            kind = draw(st.sampled_from(["view", "cart", "cart", "remove", "purchase"]))
            batch.append(Shopped(draw(st.sampled_from("abcd")), kind, draw(st.sampled_from("xy")), time))
        steps.append(batch)
    return [*steps, Look(time + SILENCE)]


class OracleUser:
    """A user, as a marketer would keep them on paper."""

    def __init__(self) -> None:
        self.times: list[int] = []  # of the open visit
        self.cart: list[str] = []
        self.touched = False
        self.visits = 0

    def silent_until(self, now: int) -> list[tuple[str, int, list[str]]]:
        if not self.times or now < self.times[-1] + SILENCE:
            return []
        told = [("visit_ended", self.visits, list[str]())]
        if self.touched and self.cart:
            told.append(("cart_abandoned", self.visits, self.cart[:]))
        self.times, self.touched = [], False
        return told

    def do(self, event: Shopped) -> None:
        self.visits += not self.times
        self.times.append(event.time)
        if event.kind == "purchase":
            self.cart = []
        elif event.kind == "cart" or (event.kind == "remove" and event.item in self.cart):
            self.cart = [item for item in self.cart if item != event.item] + [event.item] * (event.kind == "cart")
            self.touched = True


def expected(steps: Sequence[list[Shopped] | Look]) -> dict[str, list[tuple[str, int, list[str]]]]:
    users = {user: OracleUser() for user in "abcd"}
    told: dict[str, list[tuple[str, int, list[str]]]] = {user: [] for user in users}
    for step in steps:
        if isinstance(step, Look):
            for name, user in users.items():
                told[name] += user.silent_until(step.now)
            continue
        for event in step:
            told[event.user] += users[event.user].silent_until(event.time)
            users[event.user].do(event)
    return told


@given(streams(), st.integers(0, 3))
def test_what_silence_says_is_told_once(steps: list[list[Shopped] | Look], ahead: int) -> None:
    bench = Bench(ahead)
    for step in steps:
        if isinstance(step, Look):
            bench.look(step.now)
        else:
            bench.shop(step)
    bench.finish()
    found: dict[str, list[tuple[str, int, list[str]]]] = {user: [] for user in "abcd"}
    for signal in bench.signals:
        items = [item.item_id for item in signal.items or ()]
        found[signal.user_id].append((signal.kind, signal.visit.number, items))
    assert found == expected(steps)
    assert len({signal.signal_id for signal in bench.signals}) == len(bench.signals)
    assert not any(read_visit(section_of(record, TIMERS)).due for record in bench.shelf.values())


AUDIENCES = {
    "carts": Audience(cart_open=True),
    "gone": Audience(idle_hours=Range(at_least=1.25), visits=Range(at_least=2)),
    "lookers": Audience(counts=[Count("view", 1, at_least=2)]),
}


def all_told(steps: Sequence[list[Shopped] | Look], ahead: int) -> list[tuple[str, str, str | None, int, str]]:
    """What is told of each user of a stream, and lately by a look at all of them."""
    bench = Bench(ahead)
    assert bench.pipeline.signals is not None
    bench.pipeline.signals.audiences = AUDIENCES
    for step in [*steps, Look(START + 10**9 - 1)]:
        if isinstance(step, Look):
            bench.look(step.now)
        else:
            bench.shop(step)
    bench.finish()
    told: list[tuple[str, str, str | None, int, str]] = [
        (one.user_id, one.kind, one.audience, one.timestamp, one.signal_id) for one in bench.signals
    ]
    return sorted(told, key=lambda one: one[0])  # the order of each user's stays


@given(streams(), st.integers(0, 3))
def test_audiences_are_entered_and_left_however_the_log_is_cut(steps: list[list[Shopped] | Look], ahead: int) -> None:
    one_by_one = [[event] for step in steps if not isinstance(step, Look) for event in step]
    told = all_told(steps, ahead)
    assert told == all_told(one_by_one, 0)
    assert len({one[-1] for one in told}) == len(told)
    for name in AUDIENCES:
        for user in "abcd":
            moves = [kind for of, kind, audience, _, _ in told if (of, audience) == (user, name)]
            assert moves == (moves and ["audience_entered", "audience_left"] * len(moves))[: len(moves)]


def test_a_signal_has_the_same_id_when_it_is_told_again() -> None:
    """After a kill between the signal and the changelog, whatever else is in the batch."""
    first, second = Bench(0), Bench(0)
    for bench in (first, second):
        bench.shop([Shopped("a", "cart", "x", START)])
    first.look(START + SILENCE)
    second.shop([Shopped("b", "view", "y", START), Shopped("a", "view", "y", START + SILENCE)])
    assert [signal.signal_id for signal in first.signals] == [signal.signal_id for signal in second.signals]
    assert [signal.measured_by for signal in (*first.signals, *second.signals)] == ["clock"] * 2 + ["stream"] * 2


def test_without_signals_nothing_is_told_and_records_are_as_they_were() -> None:
    bench, plain = Bench(0), Bench(0)
    plain.pipeline.signals = None
    for one in (bench, plain):
        one.shop([Shopped("a", "cart", "x", START)])
    assert (plain.signals, plain.timers) == ([], [])
    assert section_of(plain.shelf[0, "a"], TIMERS) is None
    assert len(bench.timers) == 1
    plain.shelf.update(bench.shelf)  # a worker that tells nothing holds the partition for a while
    plain.engine.clear()
    plain.shop([Shopped("a", "view", "x", START + 1)])
    assert section_of(plain.shelf[0, "a"], TIMERS) == section_of(bench.shelf[0, "a"], TIMERS)
