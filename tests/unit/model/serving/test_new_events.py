"""Which applied event each new one shows: a walk from event to event is the oracle."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import EVENT_TYPES, Event, actions_of
from model.serving.new_events import AppliedActions, NewActions, source_actions
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
    assert source_actions(slots, applied).tolist() == expected


@given(EVENTS)
def test_vectors_of_events_without_a_source_follow_those_of_the_applied_ones(events: list[tuple[int, bool]]) -> None:
    slots, applied = np.array([slot for slot, _ in events], np.int64), np.array([one for _, one in events], np.bool_)
    indices = applied_actions(slots, applied).vector_indices().tolist()
    stepped = [f"applied {n}" for n in range(int(applied.sum()))]
    sources = source_actions(slots, applied).tolist()
    others = [f"event {n}" for n, source in enumerate(sources) if source < 0]
    vectors = [[*stepped, *others][index] for index in indices]
    assert vectors == [f"applied {source}" if source >= 0 else f"event {n}" for n, source in enumerate(sources)]


def applied_actions(slots: np.ndarray, applied: np.ndarray) -> AppliedActions:
    count = int(applied.sum())
    views = actions_of([Event(user_id="u", type="view", item_id="i")] * count, [0] * count)
    return AppliedActions(
        slots=slots[applied],
        actions=views,
        contexts=np.zeros(count, np.uint32),
        ranks=ranks_within(slots[applied]),
        sources=source_actions(slots, applied),
        one_each=bool(applied.all()),
    )


def new_actions(events: list[tuple[int, list[str], bool]]) -> NewActions:
    """Returns the actions of events: slot, types of the actions, and whether it is applied."""
    flat = [(slot, line, kind, applied) for slot, kinds, applied in events for line, kind in enumerate(kinds)]
    views = [Event(user_id="u", type=kind, item_id=f"item {n}", query="q") for n, (_, _, kind, _) in enumerate(flat)]
    actions = actions_of(views, [10 * n for n in range(len(flat))], [line for _, line, _, _ in flat])
    return NewActions(
        indices=100 + np.arange(len(flat)),
        slots=np.array([slot for slot, *_ in flat], np.int64),
        actions=actions,
        applied=np.array([applied for *_, applied in flat], np.bool_),
        late=np.array([applied for *_, applied in flat], np.bool_),
    )


KINDS = st.lists(st.sampled_from(EVENT_TYPES), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.integers(0, 3), KINDS, st.booleans()), min_size=1, max_size=8))
def test_an_event_is_what_its_actions_are(events: list[tuple[int, list[str], bool]]) -> None:
    new = new_actions(events)
    found = new.events(10 * new.slots.astype(np.int32))
    ends = list(accumulate(len(kinds) for _, kinds, _ in events))
    begins = [0, *ends[:-1]]
    assert found.indices.tolist() == [100 + end - 1 for end in ends]
    assert found.slots.tolist() == [slot for slot, _, _ in events]
    assert found.partitions.tolist() == [10 * slot for slot, _, _ in events]
    assert found.item_keys.tolist() == [new.actions.item_keys[begin] for begin in begins]
    kinds = ["purchase" if "purchase" in kinds else kinds[-1] for _, kinds, _ in events]
    assert [EVENT_TYPES[code] for code in found.types.tolist()] == kinds
    assert found.times.tolist() == [10 * (end - 1) for end in ends]
    assert found.applied.tolist() == found.late.tolist() == [applied for *_, applied in events]
    assert found.scored.tolist() == [applied and kinds[0] not in ("search", "remove") for _, kinds, applied in events]


def test_duplicates_are_the_new_events_that_are_not_applied() -> None:
    new = new_actions([(0, ["view"], True), (0, ["cart", "cart"], False), (1, ["view"], False)])
    assert new.events(np.zeros(4, np.int32)).duplicates == 2
