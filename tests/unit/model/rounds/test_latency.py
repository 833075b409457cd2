"""What a prediction costs, by a clock that counts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from model.data.events import MOST_LINES
from model.rounds import latency
from model.rounds.latency import seconds_per_event
from model.serving.serving import serve
from model.serving.state_engine import StateEngine, SteppedEvents
from tests.unit.builders.basics import CPU, make_version
from tests.unit.builders.logs import baskets_of
from tests.unit.builders.rounds import circle


class SlowStart:
    """A clock on which the first batch takes a minute, and each later one a second more than the one before."""

    def __init__(self) -> None:
        self._durations = itertools.chain((60.0,), itertools.count(1.0))
        self._now = 0.0
        self._running = False

    def __call__(self) -> float:
        if self._running:
            self._now += next(self._durations)
        self._running = not self._running
        return self._now


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (200, 3 / 512),  # 4,000 actions: the newest six batches, of which the median of the last five counts
        (77, 2 / 512),  # 1,540: the first batch warms up; then 1, 2 and, for the four that are left, 3 seconds
        (5, 60 / 100),  # 100: the only batch counts, warm or not
    ],
)
def test_the_median_of_the_batches_counts_and_the_first_one_only_warms_up(users: int, expected: float) -> None:
    serving = serve(make_version(), CPU)
    assert seconds_per_event(serving, circle(users=users), device=CPU, clock=SlowStart()) == pytest.approx(expected)


@pytest.mark.parametrize(("first", "expected"), [(0, 1 / 88), (1, 1 / 87)])
def test_an_event_of_several_actions_counts_once_and_only_as_a_whole(
    first: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600 events of three actions, but for those that come before the first action; the last one has too many."""
    lines = list[int]()

    class Engine(StateEngine):
        def step(self, *arguments: Any, **options: Any) -> SteppedEvents:
            lines.extend(arguments[1].lines.tolist())
            return super().step(*arguments, **options)

    monkeypatch.setattr(latency, "StateEngine", Engine)
    log = baskets_of([(str(n % 7), "cart", "abc" if n < 599 else "a" * 40, 1000 * n) for n in range(600)])
    newest = log.take(np.arange(first, len(log)))
    assert seconds_per_event(serve(make_version(), CPU), newest, device=CPU, clock=SlowStart()) == expected
    assert max(lines) == MOST_LINES - 1, "as in a worker"
