"""When events are due, at a rate, at a speed and at full speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.errors import SettingsInvalid
from stream_app.kafka.pace import Pace, Pauses, Schedule


def test_a_rate_gives_due_times_that_do_not_depend_on_when_events_are_sent() -> None:
    schedule = Schedule(Pace(rate=100))
    assert [schedule.due(None) for _ in range(4)] == [0.0, 0.01, 0.02, 0.03]


def test_at_a_speed_events_with_earlier_or_without_times_are_due_at_once() -> None:
    schedule = Schedule(Pace(speed=1))
    assert [schedule.due(ms) for ms in (None, 5000, 7000, 6000, None, 9000)] == [0.0, 0.0, 2.0, 2.0, 2.0, 4.0]


def test_without_a_pace_every_event_is_due_at_once() -> None:
    schedule = Schedule(Pace())
    assert [schedule.due(ms) for ms in (None, 5000, 7000)] == [0.0, 0.0, 0.0]


@given(st.floats(0.01, 100), st.lists(st.none() | st.integers(-(10**13), 10**13)))
def test_due_times_never_fall(speed: float, times: list[int | None]) -> None:
    schedule = Schedule(Pace(speed=speed))
    due = [schedule.due(time) for time in times]
    assert due == sorted(due)


@pytest.mark.parametrize(
    ("pace", "message"),
    [
        ({"rate": 0.0}, "the rate must be a number above 0, not 0.0"),
        ({"speed": -1.0}, "the speed must be a number above 0, not -1.0"),
        ({"rate": float("nan")}, "not nan"),
        ({"rate": float("inf")}, "not inf"),
        ({"rate": 1.0, "speed": 2.0}, r"either a rate \(1\) or a speed \(2\), not both"),
    ],
)
def test_an_impossible_pace_is_refused(pace: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message):
        Pace(**pace)


def test_a_fetch_waits_for_events_that_are_worth_a_batch_at_most_as_long_as_several_batches_take() -> None:
    now = [0.0]
    pauses = Pauses(lambda: now[0])

    def at(rate: float, size: int, took: float) -> float:
        for _ in range(50):
            now[0] += size / rate
            pauses.note(size, took)
        return pauses.seconds

    assert pauses.seconds == 0
    assert at(1000, 4, 0.001) == pytest.approx(0.005, rel=0.01)  # five events come
    assert at(10, 1, 0.001) == pytest.approx(0.011)  # they would come in half a second
    assert at(100_000, 4000, 0.04) == pytest.approx(0.06)  # the worker is busy for longer
