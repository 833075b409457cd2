"""Which applied event each new one shows: a walk from event to event is the oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import Event, actions_of
from model.serving.new_events import AppliedEvents, NewEvents, source_events
from model.state.history_rings import ranks_within

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30)  # slot, and whether it is applied


@given(EVENTS)
def test_an_event_shows_its_users_last_applied_one(events: list[tuple[int, bool]]) -> None:
    slots, applied = np.array([slot for slot, _ in events], np.int64), np.array([one for _, one in events], np.bool_)
    last: dict[int, int] = {}
    expected, count = [], 0
    for slot, is_applied in events:
        if is_applied:
            last[slot] = count
            count += 1
        expected.append(last.get(slot, -1))
    assert source_events(slots, applied).tolist() == expected


@given(EVENTS)
def test_vectors_of_events_without_a_source_follow_those_of_the_applied_ones(events: list[tuple[int, bool]]) -> None:
    slots, applied = np.array([slot for slot, _ in events], np.int64), np.array([one for _, one in events], np.bool_)
    indices = applied_events(slots, applied).vector_indices().tolist()
    stepped = [f"applied {n}" for n in range(int(applied.sum()))]
    sources = source_events(slots, applied).tolist()
    others = [f"event {n}" for n, source in enumerate(sources) if source < 0]
    vectors = [[*stepped, *others][index] for index in indices]
    assert vectors == [f"applied {source}" if source >= 0 else f"event {n}" for n, source in enumerate(sources)]


def applied_events(slots: np.ndarray, applied: np.ndarray) -> AppliedEvents:
    count = int(applied.sum())
    views = actions_of([Event(user_id="u", type="view", item_id="i")] * count, [0] * count)
    return AppliedEvents(
        slots=slots[applied],
        actions=views,
        contexts=np.zeros(count, np.uint32),
        ranks=ranks_within(slots[applied]),
        sources=source_events(slots, applied),
    )


def test_duplicates_are_the_new_events_that_are_not_applied() -> None:
    actions = actions_of([Event(user_id="u", type="view", item_id="i")] * 3, [0, 0, 0])
    nothing = np.zeros(3, np.int64)
    events = NewEvents(
        indices=np.arange(3),
        slots=nothing,
        partitions=nothing.astype(np.int32),
        actions=actions,
        applied=np.array([True, False, False]),
        late=nothing.astype(np.bool_),
        scored=nothing.astype(np.bool_),
    )
    assert events.duplicates == 2
    assert replace(events, applied=np.ones(3, np.bool_)).duplicates == 0
