"""The simulated shop as the demo publishes it: as faulty as real publishers, and it ends when it is asked to."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from itertools import count, islice

from stream_app.sandbox.demo_source import simulated_source, until, with_faults
from stream_app.sandbox.simulate import Shop


def numbers(stop: asyncio.Event, at: int) -> Iterator[int]:
    """Numbers from 0; `stop` is set when `at` is taken."""
    for number in count():
        if number == at:
            stop.set()
        yield number


def test_events_end_by_count_by_time_and_when_asked_to() -> None:
    stop = asyncio.Event()
    assert list(until(stop, numbers(stop, 9), 3)) == [0, 1, 2]
    assert list(until(stop, numbers(stop, 9), None, seconds=0)) == []
    assert list(until(stop, numbers(stop, 4), None)) == [0, 1, 2, 3]


def test_some_events_are_repeated_and_some_records_are_not_events() -> None:
    events = list(with_faults(Shop(1, start=0).events(5000), random.Random(1)))
    raw = [event for event in events if isinstance(event, tuple)]
    ids = [event["event_id"] for event in events if isinstance(event, dict)]
    assert 0 < len(raw) < 50
    assert len(set(ids)) == 5000
    assert 0 < len(ids) - 5000 < 100


def test_the_simulated_shop_has_a_past_titles_and_events_that_follow() -> None:
    source = simulated_source(5000, 1)
    past = [event for event in islice(source.records, 500) if isinstance(event, dict)]
    live = [event for event in islice(source.live, 50) if isinstance(event, dict)]
    assert source.simulated
    assert max(event["timestamp"] for event in past) < 1000 * time.time()
    assert live
    items = {event["item_id"] for event in past if "item_id" in event}
    assert items
    assert all(source.title_of(item) and source.category_of(item) for item in items)
    assert source.title_of("nothing of ours") == ""
