"""What must come of an input log, in plain Python: every user's state after every event."""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from xxhash import xxh3_64_intdigest

from tests.faults.liked import Liked
from tests.faults.load import ABORTED, EVENT, EXPECT, IDENTITY, NOTHING
from tests.faults.rhythm import Rhythm

WINDOW: Final = 16  # event ids
NO_TIME: Final = -(2**63)  # in a user's record: no event with a time so far
YEAR_1990: Final = 631_152_000_000  # milliseconds since the epoch, as all times
YEAR_2100: Final = 4_102_444_800_000
MOST_ACTIONS: Final = 32  # of one event, in a user's sequence
_CODES: Final = {"click": 0, "search": 1, "purchase": 2, "view": 3, "cart": 4, "favorite": 5, "remove": 6}
_ALIASES: Final = {  # those that the load uses
    "view_item": "view", "Product Added": "cart", "add_to_cart": "cart", "remove_from_cart": "remove",
}  # fmt: skip
_NAMES: Final = {code: name for name, code in _CODES.items()}

Place = tuple[int, int]  # partition, offset
User = tuple[int, str]  # partition, user id
Action = tuple[int, int | str]  # type code, and the item's hash or the text of a search


class Record(Protocol):
    """What is read of a record of Kafka."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> Any: ...
    @property
    def value(self) -> Any: ...
    @property
    def headers(self) -> Any: ...


@dataclass
class State:
    """A user as the log says."""

    length: int  # of the kept sequence
    offset: int = -1
    count: int = 0
    last_time: int = NO_TIME
    actions: deque[Action] = field(default_factory=deque)
    event_ids: deque[str] = field(default_factory=lambda: deque(maxlen=WINDOW))
    applied: list[int] = field(default_factory=list)  # offsets of all actions, of those that are not kept as well
    liked: Liked = field(default_factory=Liked)
    rhythm: Rhythm = field(default_factory=Rhythm)

    def apply(self, event: dict[str, Any], actions: list[Action], offset: int, time: int) -> None:
        """One event; a repeated id moves the offset and nothing else."""
        event_id = event.get("event_id")
        self.offset = offset
        if event_id in self.event_ids:
            return
        if event_id is not None:
            self.event_ids.append(event_id)
        self.last_time = max(self.last_time, time)
        for action in actions:
            self.count += 1
            self.actions.append(action)
            self.applied.append(offset)
            self.rhythm.act(action[0], self.last_time)
            if "items" not in event and "events" not in event:  # in the load these say nothing of what items are
                self.liked.count(action[0], (event.get("category"), event.get("brand")))
            if len(self.actions) > self.length:
                self.actions.popleft()


@dataclass(frozen=True)
class Told:
    """That an anonymous user is a known one, as the log tells of it."""

    place: Place
    user: str
    anonymous: str
    own: bool  # to the anonymous user's partition


@dataclass(frozen=True)
class Expected:
    """What the topics must hold."""

    answers: dict[Place, dict[str, Any]]  # the fields of predictions that follow from the log
    reasons: dict[Place, str]  # of the dead letters
    rejected: dict[Place, Record]  # what the dead letters must have of it
    users: dict[User, State]
    told: list[Told] = field(default_factory=list)  # in the order of the log


def replay(log: Iterable[Record], length: int, labels: Mapping[Place, str] | None = None) -> Expected:
    """Goes through the log, each partition in order; `length` is that of the kept sequences.

    `labels` says what must become of records that have no header for it.
    """
    expected = Expected({}, {}, {}, defaultdict(lambda: State(length)))
    for record in log:
        place = (record.partition, record.offset)
        label = dict(record.headers).get(EXPECT)
        what = label.decode() if label is not None else (labels or {})[place]
        if what in (ABORTED, NOTHING):
            continue
        if what == IDENTITY:
            said = json.loads(record.value)
            own = record.key.decode() == said["anonymous_id"]
            expected.told.append(Told(place, said["user_id"], said["anonymous_id"], own))
            continue
        if what != EVENT:
            expected.reasons[place], expected.rejected[place] = what, record
            continue
        event = json.loads(record.value)
        time = event.get("timestamp", event.get("timestamp_micros", 1000 * record.timestamp) // 1000)
        state = expected.users[record.partition, event["user_id"]]
        flag, trusted = _judge(time, record.timestamp, state.last_time)
        actions = actions_in(event)[:MOST_ACTIONS]
        state.apply(event, actions, record.offset, trusted)
        expected.answers[place] = {
            "user_id": event["user_id"],
            "event_id": event.get("event_id"),
            "event_type": _NAMES[actions[-1][0]],
            "event_timestamp": time,
            "history_length": state.count,
            "event_time_flag": flag,
        }
    return expected


def _judge(time: int, recorded: int, last_time: int) -> tuple[str | None, int]:
    """What the prediction says of an event's time, and the time that counts for its user."""
    known = YEAR_1990 <= recorded < YEAR_2100
    if not YEAR_1990 <= time < YEAR_2100:
        return "absurd", recorded if known else NO_TIME
    if known and time > recorded + 3_600_000:
        return "future", recorded
    return "late" if time < last_time - 300_000 else None, time


def id_hash(event_id: str) -> int:
    """As stored in a user's record."""
    return xxh3_64_intdigest(event_id.encode()) or 1


def actions_in(event: dict[str, Any]) -> list[Action]:
    """The actions of an event, or of all events in a batch of GA4's: type and object."""
    if "events" in event:
        inner = [one["params"] | {"type": one["name"]} for one in event["events"] if one["name"] != "page_view"]
        return [action for one in inner for action in actions_in(one | {"query": one.get("search_term")})]
    code = _CODES[_ALIASES.get(event["type"], event["type"])]
    if code == _CODES["search"]:
        return [(code, event["query"])]
    items = event.get("items") or [event]
    return [(code, xxh3_64_intdigest(item["item_id"].encode())) for item in items]


def search_as_stored(query: str, version: int) -> list[tuple[int, tuple[int, ...]]]:
    """The objects that a search may have in a record, each with the buckets of its words beside it.

    In the first layout the object is the first five words, case-folded, 12 bits each, the first one lowest. The second
    has the hash of the text and twelve words beside it, 16 bits each, or what was read from the first.
    """
    words = re.findall(r"\w+", query.casefold())
    hashes = [xxh3_64_intdigest(word.encode()) for word in words[:12]]
    few = tuple(1 + number % 4095 for number in hashes[:5])
    old = sum(word << (12 * place) for place, word in enumerate(few))
    if version == 1:
        return [(old, ())]
    whole = xxh3_64_intdigest(" ".join(words).encode()) or 1
    return [(whole, tuple(1 + number % 65520 for number in hashes)), (old, few)]
