"""What is seen of records of any format, and which are targets."""

from __future__ import annotations

import json

import pytest

from stream_app.sandbox.story.seen_events import Place, seen_event
from tests.unit.builders.basics import make_record


@pytest.mark.parametrize(
    ("event", "target"),
    [
        ({"type": "view", "item_id": "a", "category": "C", "timestamp": 7, "event_id": "e"}, True),
        ({"type": "add_to_cart", "item_id": "a"}, True),
        ({"type": "remove", "item_id": "a"}, False),
        ({"type": "search", "query": "red"}, False),
        ({"type": "purchase", "items": [{"item_id": "a"}, {"item_id": "b"}]}, True),
    ],
)
def test_an_event_is_seen_as_workers_decode_it(event: dict[str, object], target: bool) -> None:
    found = seen_event(Place(3, 9), make_record(json.dumps({"user_id": "u"} | event).encode(), timestamp=5))
    assert found is not None
    assert (found.place, found.user, found.is_target) == ((3, 9), "u", target)
    assert found.time == event.get("timestamp", 5)
    assert found.item == (None if "query" in event else "a")
    assert (found.category, found.query, found.event_id) == tuple(map(event.get, ("category", "query", "event_id")))


@pytest.mark.parametrize("value", [b"{", b'{"user_id":"u","type":"page_view"}', b'{"user_id":"other","type":"view"}'])
def test_what_is_no_action_is_passed_over(value: bytes) -> None:
    assert seen_event(Place(0, 0), make_record(value)) is None
