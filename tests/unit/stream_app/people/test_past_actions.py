"""What a record remembers; `test_user_view` has it for people."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.contexts import FIRST_GAP, GAP_SHIFT
from model.data.events import EVENT_TYPES, NO_TIME, Event, item_key
from model.errors import RecordCorrupt
from model.state.user_record import UserRecords, pack
from stream_app.people.past_actions import remembered_past
from tests.unit.builders.basics import Logged
from tests.unit.builders.engines import make_engines


def test_the_past_is_named_newest_first_and_a_search_has_no_item() -> None:
    engines = make_engines()
    for offset, (kind, item, time) in enumerate([("view", "a", 0), ("search", "b", 5_000), ("cart", "c", 65_000)]):
        event = Event(user_id="u", type=kind, item_id=None if kind == "search" else item, query=item)
        engines.advance([Logged(event, time, offset)])
    record = pack(engines.states.snapshot(np.array([0])))[0]
    names = {item_key("a"): "a"}
    past = remembered_past(record, lambda keys: [names.get(key, "") for key in keys.tolist()])
    assert (past.actions, past.last_time) == (3, 65_000)
    assert [(one.type, one.item_id) for one in past.history] == [("cart", None), ("search", None), ("view", "a")]
    assert past.history[0].seconds_before == 0
    assert past.history[2].seconds_before == pytest.approx(65, rel=0.4)
    with pytest.raises(RecordCorrupt):
        remembered_past(record[:-1], lambda keys: [""] * len(keys))


ACTIONS = st.lists(st.tuples(st.sampled_from(EVENT_TYPES), st.integers(0, FIRST_GAP), st.integers(0, 3)), max_size=9)


@given(ACTIONS, st.none() | st.integers(0, 10))
def test_every_action_is_told_as_one_after_the_other_would_be(
    actions: list[tuple[str, int, int]], most: int | None
) -> None:
    names = {1: "a", 2: "b"}
    past = remembered_past(record_of(actions), lambda keys: [names.get(key, "") for key in keys.tolist()], most)
    told: list[Any] = []
    seconds: float | None = 0.0
    for kind, gap, item in reversed(actions):
        name = None if kind == "search" else names.get(item)
        told.append((kind, name, None if seconds is None else round(seconds)))
        seconds = None if seconds is None or gap == FIRST_GAP else seconds + middle(gap)
    assert [(one.type, one.item_id, one.seconds_before) for one in past.history] == told[:most]
    assert all(type(one.seconds_before) is not float for one in past.history)  # or JSON would say 65.0
    assert (past.actions, past.last_time) == (len(actions), None)


def middle(gap: int) -> float:
    """Seconds in the middle of a bucket, on a scale of logarithms."""
    return math.sqrt(max(2 ** (0.8 * gap) - 1, 0.5) * (2 ** (0.8 * (gap + 1)) - 1)) if gap else 0.0


def record_of(actions: list[tuple[str, int, int]]) -> bytes:
    """A user's record with actions: type, gap and item."""
    size = len(actions)
    contexts = [EVENT_TYPES.index(kind) | gap << GAP_SHIFT for kind, gap, _ in actions]
    zeros = np.zeros(1, np.uint64)
    user = UserRecords(
        epoch=1,
        offsets=np.array([7]),
        counts=np.array([size]),
        last_times=np.array([NO_TIME]),
        sessions=zeros,
        weights_id=zeros,
        hidden=np.zeros((1, 4), np.float16),
        event_ids=np.zeros((1, 2), np.uint64),
        item_keys=np.array([[item for *_, item in actions]], np.uint64).reshape(1, size),
        contexts=np.array([contexts], np.uint32).reshape(1, size),
        sizes=np.array([size]),
    )
    return pack(user)[0]
