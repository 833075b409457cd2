"""Logs as records, for live runs."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from model.data.events import Actions, actions_of
from stream_app.contract.events import decode_event
from stream_app.offline.live_log import LiveLog
from stream_app.offline.log_reader import EventRecord
from stream_app.settings import load_settings

SETTINGS = load_settings({"recommendations": 20, "partitions": 3})
BEGIN_MS = 1_700_000_000_000


def shop_log(count: int, *, seed: int, begin: int = BEGIN_MS, items: int = 90, users: int = 12) -> list[EventRecord]:
    """Events of shoppers who go on from item to item: views, baskets, searches, and publishers' retries."""
    rng = random.Random(seed)
    time, records = begin, list[EventRecord]()
    last: dict[str, int] = {}
    for number in range(count):
        time += rng.choice([0, 40, 200, 900, 5_000])
        user = f"u{rng.randrange(users)}"
        item = last[user] = (last.get(user, rng.randrange(items)) + rng.choice([0, 1, 1, 2])) % items
        event: dict[str, object] = {"user_id": user, "type": "view", "item_id": f"item {item}", "timestamp": time}
        if number % 7 == 3:
            del event["item_id"]
            event |= {"type": "search", "query": f"word {item % 5}"}
        elif number % 11 == 5:
            del event["item_id"]
            lines = [{"item_id": f"item {(item + line) % items}", "category": f"c{item % 4}"} for line in range(3)]
            event |= {"type": "purchase", "items": lines}
        else:
            event |= {"brand": f"b{item % 3}", "price": 1.5 * item, "session_id": f"{user}-{number // 40}"}
        event["event_id"] = f"e{number - 9 * (number % 13 == 12)}"
        records.append(EventRecord(time, user.encode(), json.dumps(event).encode()))
    return records


def actions_in(records: Sequence[EventRecord]) -> Actions:
    """The actions of records, in their order."""
    contents = [decode_event(record.key, record.value, record.time) for record in records]
    return actions_of(
        [action for one in contents for action in one.actions],
        [time for one in contents for time in one.times],
        [line for one in contents for line in range(len(one.actions))],
    )


def live_log(before: Sequence[EventRecord], after: Sequence[EventRecord]) -> LiveLog:
    """A log that follows another one."""
    return LiveLog.of(after, actions_in(before), partitions=SETTINGS.partitions, length=SETTINGS.history_length)
