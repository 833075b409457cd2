"""The clocks: a half-life is a share of the stream's age, up to a longest one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.statistics.decay import FAST, FLOOR_MS, SLOW, Decay, decay_of_span
from tests.unit.model.statistics.oracle import DAY, HOUR, START


@pytest.mark.parametrize(
    ("column", "age", "half_life"),
    [
        (SLOW, HOUR, 0.4 * HOUR),
        (SLOW, DAY, 0.4 * DAY),
        (SLOW, 74 * DAY, 0.4 * 74 * DAY),
        (SLOW, 76 * DAY, 30 * DAY),
        (SLOW, 2000 * DAY, 30 * DAY),
        (FAST, HOUR, 0.03 * HOUR),
        (FAST, 33 * DAY, 0.03 * 33 * DAY),
        (FAST, 34 * DAY, DAY),
        (FAST, 2000 * DAY, DAY),
    ],
)
def test_a_clock_ticks_once_per_half_life(column: int, age: int, half_life: float) -> None:
    """The stream begins with an age of one hour."""
    at, step = START + age - HOUR, 1000
    before, after = Decay(START).clocks(np.array([at, at + step]))[:, column]
    assert step / (after - before) == pytest.approx(half_life, rel=1e-3)


def test_clocks_begin_at_zero_and_stand_still_before_the_start() -> None:
    clocks = Decay(START).clocks(np.array([START, START - 1, START - 10 * DAY, np.iinfo(np.int64).min]))
    assert clocks.tolist() == [[0, 0]] * 4


@given(st.lists(st.integers(0, 4000 * DAY), min_size=2), st.sampled_from([1, 1000, HOUR, 100 * DAY]))
def test_clocks_never_run_backward_nor_jump(ages: list[int], floor: int) -> None:
    times = START + np.sort(np.array(ages))
    clocks = Decay(START, floor).clocks(times)
    steps, hours = np.diff(clocks, axis=0), np.diff(times) / HOUR
    shortest = np.minimum(np.outer((0.4, 0.03), times[:-1] - START + floor) / HOUR, [[30 * 24], [24]]).T
    assert np.isfinite(clocks).all()
    assert (steps >= 0).all()
    assert (steps <= hours[:, None] / shortest + 1e-6).all()  # half-lives only ever grow


@pytest.mark.parametrize("scale", [10, 250])
def test_in_short_logs_only_the_proportions_of_times_count(scale: int) -> None:
    times = np.array([0, 3, 500, 77_000, 400_000, 1_000_000])
    one = decay_of_span(START, START + 1_000_000).clocks(START + times)
    other = decay_of_span(START, START + 1_000_000 * scale).clocks(START + times * scale)
    np.testing.assert_allclose(one, other, rtol=0.01, atol=0.05)
    assert one[-1, FAST] > 200  # what is old does count as old, though all took a quarter of an hour


def test_long_logs_have_the_clocks_of_a_stream() -> None:
    assert decay_of_span(START, START + 60 * DAY) == Decay(START, FLOOR_MS)
    assert decay_of_span(START, START).floor == 1
