"""Who is in the wheel comes out once when their time has come, and not before: a sorted list is the oracle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.signals.wheel import TimerWheel

DUE = st.integers(0, 20_000)  # ms
ADDED = st.tuples(st.just("add"), DUE, st.integers(0, 9))
TAKEN = st.tuples(st.just("take"), DUE, st.integers(1, 4))


@given(st.lists(st.one_of(ADDED, TAKEN), max_size=40))
def test_users_come_out_when_they_are_due(steps: list[tuple[str, int, int]]) -> None:
    wheel, inside = TimerWheel(), list[tuple[int, int, bytes]]()
    for number, (step, time, of) in enumerate(steps):
        if step == "add":
            user = f"{'ü' * of}{number}".encode()
            wheel.add(time, user)
            inside.append((time // 1000 + 1, number, user))
        else:
            due = [one for one in inside if one[0] * 1000 <= time]
            taken = wheel.take(time, of)
            assert len(taken) == min(of, len(due)) or len(taken) > len(due)  # those who were due before, too
            for user in taken:
                inside.remove(next(one for one in inside if one[2] == user))
        assert len(wheel) == len(inside)
    rest = wheel.take(10**9, 1000)
    assert sorted(rest) == sorted(user for *_, user in inside)


def test_the_earliest_come_first_and_a_user_once() -> None:
    wheel = TimerWheel()
    for due, user in ((5_000, b"b"), (1_000, b"a"), (5_500, b"b"), (5_999, b"c")):
        wheel.add(due, user)
    assert wheel.take(1_999, 9) == []
    assert wheel.take(2_000, 9) == [b"a"]
    assert wheel.take(6_000, 9) == [b"b", b"c"]
    assert len(wheel) == 0
