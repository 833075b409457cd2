"""What is counted of records: all items of events, nothing of what is no event."""

from __future__ import annotations

import json
from typing import Any

from model.data.events import MOST_LINES
from tests.unit.builders.basics import make_record
from tests.unit.builders.exact_counting import ExactCounter, exact_counting


def record(**fields: Any) -> Any:
    return make_record(json.dumps({"user_id": "u", **fields}).encode(), key=b"u")


BASKET = record(type="purchase", items=[{"item_id": f"b{n}"} for n in range(2 * MOST_LINES)])
VIEW = record(type="view", item_id="a")


def test_all_items_of_events_are_counted() -> None:
    counting = exact_counting()
    assert counting.learn([VIEW, BASKET, make_record(b"{", key=b"u"), VIEW]) == 3
    changes = counting.counter.take_changes()
    assert dict(zip(changes.keys, changes.values, strict=True)) == {
        b"a": b"2",
        **{f"b{n}".encode(): b"1" for n in range(2 * MOST_LINES)},
    }
    assert not counting.counter.take_changes().keys


def test_what_was_counted_before_is_only_noted() -> None:
    counting = exact_counting()
    assert counting.learn([VIEW], counted=False) == 1
    assert counting.learn([]) == 0
    assert isinstance(counting.counter, ExactCounter)
    assert (counting.counter.seen, len(counting.table)) == (1, 0)
