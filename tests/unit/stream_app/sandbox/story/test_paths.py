"""Paths: the newest steps, of users drawn fairly."""

from __future__ import annotations

import random
from collections import Counter

from stream_app.sandbox.story import paths as module
from stream_app.sandbox.story.paths import SHOWN, Paths, Step
from tests.unit.builders.stories import said, seen


def step(user: str, number: int = 0) -> Step:
    event = seen(user, "a", number)
    return Step(event, said(event, ["b"]), seen(user, "b", number + 1), 1)


def test_a_path_keeps_its_newest_steps() -> None:
    paths = Paths(random.Random(0))
    for number in range(30):
        paths.add(step("u", number))
    (path,) = paths.shown()
    assert [one.event.place.offset for one in path] == list(range(18, 30))


def test_long_paths_come_before_short_ones() -> None:
    paths = Paths(random.Random(0))
    for user in range(60):
        for number in range(1 + user % 3):
            paths.add(step(f"u{user}", number))
    shown = paths.shown()
    assert len(shown) == SHOWN
    assert {len(path) for path in shown} == {3}


def test_each_user_has_the_same_chance() -> None:
    drawn: Counter[str] = Counter()
    for seed in range(200):
        paths = Paths(random.Random(seed))
        for user in range(1200):
            paths.add(step(f"u{user}"))
        assert len(paths._paths) == module._KEPT
        drawn.update(list(paths._paths))
    thirds = [sum(drawn[f"u{user}"] for user in range(first, first + 400)) for first in (0, 400, 800)]
    assert max(thirds) < 1.05 * min(thirds)


def test_it_can_begin_anew() -> None:
    paths = Paths(random.Random(0))
    paths.add(step("u"))
    paths.clear()
    assert paths.shown() == []
    paths.add(step("u"))
    assert len(paths.shown()) == 1
