"""A shop with shoppers in it: endless, seeded streams of events, with the truth to compare a model with.

`Shop(seed, start=...).events(...)` yields event dicts of the contract in stream order, on a simulated clock
(or the real one). What the shoppers do and why is described in `shopper`. `with_duplicates` and `with_poison`
spoil a stream on purpose.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count as counted
from itertools import islice
from typing import Any, Final

import msgspec

from model.data.events import TYPE_CODES
from stream_app.errors import SettingsInvalid
from stream_app.kafka.publisher import Event, RawRecord
from stream_app.sandbox import shopper as shoppers
from stream_app.sandbox.assortment import CURRENCY
from stream_app.sandbox.languages import ENGLISH, language_of, query_in
from stream_app.sandbox.shop import BRANDS, CATEGORIES, ShopCatalogue
from stream_app.sandbox.shopper import Shopper

VISIT_EVENTS: Final = 11.5  # mean events of a visit, about, as the tables of `shopper` have it; for the arrival rate
THINKING_S: Final = 15.0  # mean seconds between two events of a visit
DUPLICATES_WITHIN: Final = 50  # latest events, of which a repeat is one


class Shop:
    """A simulated shop. The same arguments give the same events.

    `start`: the simulated clock's first moment, in seconds since the epoch; part of the event ids, so that a
    later run with the same seed does not look like a publisher's retry. `rate`: about so many events per
    simulated second. `users` shoppers are regulars at any time: a newcomer (`new_share` of the visits) replaces
    one who is never seen again, so memory does not grow. Raises `SettingsInvalid` for values that make no shop.
    """

    def __init__(
        self,
        seed: int,
        *,
        start: float,
        rate: float = 10.0,
        items: int = 500,
        users: int = 1000,
        new_share: float = 0.1,
        languages: Sequence[str] = (ENGLISH,),
    ) -> None:
        _check_share("new_share", new_share)
        if users < 1:
            raise SettingsInvalid(f"a simulated shop needs at least 1 user, not {users}")
        if not rate > 0:
            raise SettingsInvalid(f"the rate of simulated events must be above 0, not {rate}")
        self.new_share = new_share
        self._languages = languages
        self.rng = random.Random(seed)
        self.catalogue = ShopCatalogue(self.rng, items)
        self._numbers = counted(1)
        self._size = users
        self._resting = [self._new_shopper() for _ in range(users)]
        self._by_id = {shopper.user_id: shopper for shopper in self._resting}
        self._stream = self._walk(start, rate, f"{seed}-{int(start * 1000):x}")

    def events(self, count: int | None = None, *, now: Callable[[], float] | None = None) -> Iterator[Event]:
        """Yields the next `count` events, or events without end; a later call goes on where the last one stopped.

        `now`: stamps the events with this clock (seconds since the epoch) instead of the simulated one, for
        events that are sent as they come; `rate` should be the rate of sending then.
        """
        for event in islice(self._stream, count):
            if now is not None:
                event["timestamp"] = int(now() * 1000)
            yield event

    def next_probabilities(self, user_id: str) -> dict[str, float]:
        """Returns P(the user's next event is on this item) as of the last event; the rest to 1 is P(a search).

        Raises `KeyError` for a user who was never here or will never come back.
        """
        chances = shoppers.next_probabilities(self._by_id[user_id], self.catalogue)
        return {self.catalogue.items[item].item_id: chance for item, chance in chances.items()}

    def oracle_ranking(self, user_id: str, k: int = 20) -> list[str]:
        """Returns the k most probable items of the user's next event, best first: nobody can rank better."""
        ranked = shoppers.oracle_ranking(self._by_id[user_id], self.catalogue, k)
        return [self.catalogue.items[item].item_id for item in ranked]

    def _walk(self, start: float, rate: float, prefix: str) -> Iterator[Event]:
        rng, numbers = self.rng, counted(1)
        arrivals = rate / VISIT_EVENTS
        turns: list[tuple[float, int, Shopper | None]] = [(start, 0, None)]  # None: somebody arrives
        while True:
            # The number in the middle decides ties in time: two shoppers cannot be compared.
            at, turn, visitor = heapq.heappop(turns)
            if visitor is None:
                heapq.heappush(turns, (at + rng.expovariate(arrivals), turn + 1, None))
                visitor = self._arriving()
            if not shoppers.step(visitor, self.catalogue, rng):
                self._leaving(visitor)
                continue
            number = next(numbers)
            heapq.heappush(turns, (at + rng.expovariate(1 / THINKING_S), -number, visitor))
            yield self._event(visitor, f"{prefix}-{number}", at)

    def _event(self, visitor: Shopper, event_id: str, at: float) -> Event:
        event: Event = {
            "event_id": event_id,
            "user_id": visitor.user_id,
            "type": visitor.kind,
            "timestamp": int(at * 1000),
            "session_id": f"{visitor.user_id}-{visitor.visits}",
        }
        if visitor.kind == "search":
            language = language_of(visitor.user_id, self._languages)
            event["query"] = query_in(language, visitor.category, visitor.brand, event_id)
            return event
        item = self.catalogue.items[visitor.item]
        event["item_id"] = item.item_id
        event["category"] = CATEGORIES[item.category]
        event["brand"] = BRANDS[item.brand]
        event["price"] = item.price
        event["currency"] = CURRENCY
        if visitor.kind == "purchase":
            event["quantity"] = 1
        return event

    def _new_shopper(self) -> Shopper:
        return shoppers.new_shopper(f"u{next(self._numbers):06d}", self.catalogue, self.rng)

    def _arriving(self) -> Shopper:
        if not self._resting or self.rng.random() < self.new_share:
            visitor = self._new_shopper()
            self._by_id[visitor.user_id] = visitor
        else:
            index = self.rng.randrange(len(self._resting))
            visitor, self._resting[index] = self._resting[index], self._resting[-1]
            self._resting.pop()
        visitor.visits += 1
        return visitor

    def _leaving(self, visitor: Shopper) -> None:
        if len(self._resting) < self._size:
            self._resting.append(visitor)
            return
        index = self.rng.randrange(self._size)
        del self._by_id[self._resting[index].user_id]
        self._resting[index] = visitor


def with_duplicates(events: Iterable[Event], share: float, rng: random.Random) -> Iterator[Event]:
    """Yields the events, and between them repeats of recent actions (same event id); `share` of all are repeats."""
    _check_share("duplicate_share", share)
    latest: deque[Event] = deque(maxlen=DUPLICATES_WITHIN)
    for event in events:
        while latest and rng.random() < share:
            yield dict(rng.choice(latest))
        if event["type"] in TYPE_CODES:
            latest.append(event)
        yield event


def with_poison(events: Iterable[Event], share: float, rng: random.Random) -> Iterator[Event | RawRecord]:
    """Yields the events, and between them records that are not events; `share` of all, every kind in turn."""
    _check_share("poison_share", share)
    kind = rng.randrange(len(POISON_KINDS))
    for event in events:
        while rng.random() < share and "items" not in event and event["type"] in TYPE_CODES:
            yield poisoned(event, POISON_KINDS[kind])
            kind = (kind + 1) % len(POISON_KINDS)
        yield event


_LONG: Final = "x" * 257
_FIELDS: Final[dict[str, dict[str, Any]]] = {  # new values for fields of a good event; None: left out
    "no_user_id": {"user_id": None},
    "no_type": {"type": None},
    "no_item_id": {"type": "view", "item_id": None},
    "no_query": {"type": "search", "query": None},
    "user_id_is_number": {"user_id": 42},
    "item_id_is_list": {"type": "view", "item_id": ["a"]},
    "empty_item_id": {"type": "view", "item_id": ""},
    "long_item_id": {"type": "view", "item_id": _LONG},
    "unknown_type": {"type": "teleport"},
    "unreadable_timestamp": {"timestamp": "the day before yesterday"},
    "negative_price": {"price": -1.0},
    "price_is_text": {"price": "cheap"},
}
_VALUES: Final[dict[str, bytes | None]] = {
    "not_json": b'{"user_id": "u1", "type": "vi',
    "wrong_utf8": b'{"user_id": "u1", "type": "view", "item_id": "\xff\xfe"}',
    "not_an_object": b'["view", "u1"]',
    "empty_value": b"",
    "null_value": None,
    "too_large": b'{"query": "' + b"x" * 262_144 + b'"}',
}
POISON_KINDS: Final = (
    *_FIELDS, *_VALUES, "nan_price", "infinite_price", "no_key", "wrong_key", "long_user_id",
)  # fmt: skip


def poisoned(event: Event, kind: str) -> RawRecord:
    """Makes a record from a good event that must become a dead letter; `kind` is one of POISON_KINDS."""
    key = str(event["user_id"]).encode()
    if kind in _VALUES:
        return key, _VALUES[kind]
    if kind in _FIELDS:
        changed = {**event, **_FIELDS[kind]}
        return key, msgspec.json.encode({name: value for name, value in changed.items() if value is not None})
    if kind == "long_user_id":
        return _LONG.encode(), msgspec.json.encode({**event, "user_id": _LONG})
    if kind in ("no_key", "wrong_key"):
        return (None if kind == "no_key" else b"somebody-else"), msgspec.json.encode(event)
    number = {"nan_price": b"NaN", "infinite_price": b"1e999"}[kind]
    # Put in by hand: a JSON encoder writes neither.
    return key, msgspec.json.encode({**event, "price": "?"}).replace(b'"price":"?"', b'"price":' + number)


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise SettingsInvalid(f"{name} must be at least 0 and below 1, not {share}")
