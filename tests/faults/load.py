"""A seeded load: events of many shoppers, among them repeats, late ones, a hot key, and records that are not events.

Every record says in a header what must become of it, so that the oracle need not know how records are read.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from stream_app.kafka.publisher import started_producer
from stream_app.sandbox.simulate import POISON_KINDS, poisoned
from stream_app.settings import Settings

EXPECT: Final = "faults.expect"  # header: "event", "nothing", or the reason of the dead letter
EVENT: Final = "event"
NOTHING: Final = "nothing"  # no shopper's action: nothing may come of it
IDENTITY: Final = "identity"  # nothing is answered; what an anonymous user did goes over to a known one
ABORTED: Final = "aborted"  # written in a transaction that was taken back: nothing may come of it

# What the contract says of each kind of poison.
REASONS: Final = {
    "no_user_id": "missing_field", "no_type": "missing_field", "no_item_id": "missing_field",
    "no_query": "missing_field", "user_id_is_number": "invalid_field", "item_id_is_list": "invalid_field",
    "empty_item_id": "invalid_field", "long_item_id": "too_long", "unknown_type": "unknown_type",
    "unreadable_timestamp": "invalid_timestamp", "negative_price": "invalid_field", "price_is_text": "invalid_field",
    "not_json": "not_json", "wrong_utf8": "not_utf8", "not_an_object": "not_object", "empty_value": "empty",
    "null_value": "empty", "too_large": "too_large", "nan_price": "not_json", "infinite_price": "not_json",
    "no_key": "missing_key", "wrong_key": "key_mismatch", "long_user_id": "too_long",
}  # fmt: skip

TYPES: Final = ("click", "view", "view", "view_item", "cart", "Product Added", "purchase", "favorite", "remove")
_NOISE: Final = ("page_view", "scroll", "Page_View", "user_engagement", "begin_checkout", "shown")
_GA4: Final = {"view": "view_item", "cart": "add_to_cart", "purchase": "purchase", "remove": "remove_from_cart"}
_MOST_ITEMS: Final = 40  # of a basket; more than enter a user's sequence
_REPEATED_AMONG: Final = 100  # latest records
_LATE_MS: Final = 600_000
TICK_S: Final = 0.05  # seconds between two handfuls of records
OUTAGE_MS: Final = 600_000  # the longest time that the producer keeps a record for brokers that are away


@dataclass(frozen=True, slots=True)
class Mix:
    """What a load is made of; shares are of all records."""

    users: int = 150
    items: int = 200
    hot: float = 0.0  # of the events: those of one user
    poison: float = 0.01
    repeats: float = 0.02
    late: float = 0.02
    baskets: float = 0.1  # events of several items
    batches: float = 0.05  # records of several events, as GA4 sends them
    noise: float = 0.05  # records that are no shopper's action
    identities: float = 0.0  # half of the users are then anonymous, and no action is there twice
    poison_run: int = 0  # so many records without an event among them, once, after the first 1,000


class Labelled(NamedTuple):
    """A record and what must become of it."""

    key: bytes | None
    value: bytes | None
    expect: str


def records(mix: Mix, seed: int, start_ms: int) -> Iterator[Labelled]:
    """Records without end; the same arguments give the same ones."""
    rng = random.Random(seed)
    latest: deque[Labelled] = deque(maxlen=_REPEATED_AMONG)
    kind = rng.randrange(len(POISON_KINDS))
    number = 0
    while True:
        number += 1
        event = _event(mix, rng, number, start_ms)
        in_run = 1000 < number <= 1000 + mix.poison_run
        if in_run or rng.random() < mix.poison:
            kind = (kind + 1) % len(POISON_KINDS)
            yield Labelled(*poisoned(event, POISON_KINDS[kind]), REASONS[POISON_KINDS[kind]])
        elif latest and rng.random() < mix.repeats:
            yield rng.choice(latest)
        elif mix.identities and rng.random() < mix.identities:
            latest.append(identity(rng.randrange(mix.users), rng.randrange(3), own=rng.random() < 0.5))
            yield latest[-1]
        else:
            latest.append(_as_published(mix, rng, event))
            yield latest[-1]


def _as_published(mix: Mix, rng: random.Random, event: dict[str, Any]) -> Labelled:
    """An event as it is, as a basket, or in a batch of GA4's; or noise about its user."""
    key, expect, draw = event["user_id"].encode(), EVENT, rng.random()
    if draw < mix.baskets and "item_id" in event:
        event = event | {"items": _items(mix, rng)}
        del event["item_id"]
    elif mix.batches and draw < mix.baskets + mix.batches:
        event = _batch(mix, rng, event)
    elif draw < mix.baskets + mix.batches + mix.noise:
        event, expect = event | {"type": rng.choice(_NOISE), "items": [{"item_id": "x"}], "slate": "s"}, NOTHING
    return Labelled(key, json.dumps(event).encode(), expect)


def _items(mix: Mix, rng: random.Random) -> list[dict[str, Any]]:
    count = 1 + min(int(rng.expovariate(0.2)), _MOST_ITEMS - 1)
    bound = 2**60 if mix.identities else mix.items
    return [{"item_id": f"item-{rng.randrange(bound)}", "price": 1 + 9 * rng.random()} for _ in range(count)]


def _batch(mix: Mix, rng: random.Random, event: dict[str, Any]) -> dict[str, Any]:
    """A record of GA4's measurement protocol with several events, noise among them."""
    events: list[dict[str, Any]] = []
    for kind in rng.choices((*_GA4, "search", "noise"), k=rng.randint(1, 4)):
        if kind == "noise":
            events.append({"name": "page_view", "params": {"page_title": "x"}})
        elif kind == "search":
            events.append({"name": "search", "params": {"search_term": "red shoes"}})
        else:
            events.append({"name": _GA4[kind], "params": {"items": _items(mix, rng)[:3], "currency": "EUR"}})
    events.append({"name": "view_item", "params": {"items": _items(mix, rng)[:1]}})  # one action at least
    time = {"timestamp_micros": 1000 * event["timestamp"]} if "timestamp" in event else {}
    return {"client_id": "browser", "user_id": event["user_id"], "events": events} | time


def identity(number: int, device: int, *, own: bool) -> Labelled:
    """Says that an anonymous user, by number, is one of three known ones, who share the device.

    Some are told of to the anonymous user's partition alone (`own`), some to the known one's, some to both.
    """
    user, anonymous = f"u{number + device}", f"a{number}"
    key = anonymous if number % 3 == 0 or (own and number % 3 == 2) else user
    event = {"type": "identify", "user_id": user, "anonymous_id": anonymous}
    return Labelled(key.encode(), json.dumps(event).encode(), IDENTITY)


def _event(mix: Mix, rng: random.Random, number: int, start_ms: int) -> dict[str, Any]:
    hot = rng.random() < mix.hot
    event: dict[str, Any] = {"user_id": "hot" if hot else f"u{rng.randrange(mix.users)}"}
    if rng.random() < 0.15:
        words = rng.choices(("Red", "blau", "ÉTÉ", "shoe-7", "size 42", "x-large"), k=rng.randrange(6))
        event |= {"type": "search", "query": " ".join(words)}
    else:
        event |= {"type": rng.choice(TYPES), "item_id": f"item-{rng.randrange(mix.items)}", "price": rng.random() * 200}
    if mix.identities:
        event["user_id"] = f"{rng.choice('ua')}{rng.randrange(mix.users)}"
        event |= {name: f"{event[name]} n{number}" for name in ("item_id", "query") if name in event}
    late = _LATE_MS * rng.random() if rng.random() < mix.late else 0
    optional = {
        "timestamp": start_ms + 5 * number - int(late),
        "event_id": f"e{number}",
        "session_id": f"s{number // 2000}",
        "category": f"c{rng.randrange(9)}",
        "brand": f"b{rng.randrange(9)}",
    }
    kept = {name: value for name, value in optional.items() if rng.random() < 0.9}
    return event | kept | ({"event_id": optional["event_id"]} if mix.identities else {})


class Publisher:
    """Publishes a load at a bounded rate until told to stop; survives any outage of the brokers."""

    def __init__(self, settings: Settings, load: Iterator[Labelled], rate: float) -> None:
        """`rate` in records per second."""
        self._settings = settings
        self._load = load
        self.rate = rate
        self._stop = asyncio.Event()
        self._may_publish = asyncio.Event()
        self._may_publish.set()
        self._disconnected = asyncio.Event()
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._producer: Any = None
        self.acknowledged = 0
        self.oddities: Counter[str] = Counter()  # what this publisher did that others do not, by kind
        self.labels: dict[tuple[int, int], str] = {}  # by partition and offset, of records whose header nobody can read

    def stop(self) -> None:
        """Makes `run` return once all that was handed over is acknowledged."""
        self._stop.set()

    async def run(self) -> None:
        """Raises the producer's error for a record that could not be published."""
        while not self._stop.is_set():
            await self._may_publish.wait()
            self._disconnected.clear()
            try:
                await self._connect()
                await self._publish()
            finally:
                await self._disconnect()
                self._disconnected.set()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Publishes nothing inside, and has no connection; all that was handed over before is acknowledged."""
        self._may_publish.clear()
        await self._disconnected.wait()
        yield
        self._may_publish.set()

    async def _publish(self) -> None:
        while self._may_publish.is_set() and not self._stop.is_set():
            # What was not sent in time, because brokers were away, is not made up for: the rate is a bound.
            pause = asyncio.create_task(asyncio.sleep(TICK_S))
            await self._tick()
            await pause
        await asyncio.gather(*self._in_flight)

    async def _tick(self) -> None:
        for _ in range(max(1, round(self.rate * TICK_S))):
            await self._send(next(self._load))

    async def _connect(self) -> None:
        self._producer = await started_producer(self._settings, "publisher", request_timeout_ms=OUTAGE_MS)

    async def _disconnect(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def _send(self, record: Labelled) -> None:
        await self._send_by(self._producer, record)

    async def _send_by(self, producer: Any, record: Labelled) -> None:
        key, value, expect = record
        headers = [(EXPECT, expect.encode())]
        self._watch(await producer.send(self._settings.events_topic, value, key, headers=headers))

    def _watch(self, future: asyncio.Future[Any]) -> None:
        """Counts a record once it is acknowledged."""
        self._in_flight.add(future)
        future.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is None:
            self._in_flight.discard(future)
        self.acknowledged += not future.cancelled() and future.exception() is None
