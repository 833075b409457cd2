"""Events and predictions as the demo's story sees them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from stream_app.contract.predictions import Because, Prediction, Reason, Recommendation, Source
from stream_app.sandbox.story.seen_events import Place, SeenEvent
from stream_app.sandbox.story.story import RivalLists, Story

HOUR = 3_600_000  # ms


def seen(
    user: str,
    item: str | None,
    offset: int,
    *,
    kind: str = "view",
    event_id: str | None = None,
    category: str | None = None,
    query: str | None = None,
) -> SeenEvent:
    """An event on partition 0, an hour after the one before it in the log."""
    place = Place(0, offset)
    return SeenEvent(place, user, "search" if item is None else kind, HOUR * offset, item, query, category, event_id)


def said(event: SeenEvent, items: Sequence[str], version: str = "v1", why: str | None = None) -> Prediction:
    """What was published after an event."""
    return Prediction(
        prediction_id=f"p{event.place.offset}",
        user_id=event.user,
        event_id=event.event_id,
        event_type=event.type,
        event_timestamp=event.time,
        source=Source(*event.place),
        model_version=version,
        history_length=1,
        next_type={"view": 1.0},
        next_actions=[],
        recommendations=[Recommendation(item, 0.5) for item in items],
        purchase_probability=0.1,
        reasons=[Reason(item, [Because("goes_with", 0.5, why)]) for item in items[:3]] if why else None,
    )


def told_story(
    shoppers: int = 30, steps: int = 6, *, rival: RivalLists | None = None, text: str = "", version: str = "v1"
) -> Story:
    """A story of shoppers whose next item is named at every other step; `text` is part of all names."""
    story = Story(random.Random(1), rival=rival, categories=lambda item: f"kind {item[-1]}{text}")
    story.begin_live()
    offset = 0
    for shopper in range(shoppers):
        for step in range(steps):
            event = seen(f"user {shopper}{text}", f"item{text} {(shopper + step) % 10}", offset)
            story.take_event(event)
            following = f"item{text} {(shopper + step + 1) % 10}"
            named = [f"other{text}", following] if step % 2 else [f"other{text}"]
            story.take_prediction(said(event, named, version, why=f"item{text} 0"))
            offset += 1
    return story
