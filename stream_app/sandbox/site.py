"""What the simulated shop's website publishes: its catalogue, and baskets, visits before a login, lists and noise.

It takes a shop's plain events, one item each, and leaves what shoppers want as it is: of an event with several items
the first is the one that was meant.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaProducer

from model.data.events import TYPE_CODES
from stream_app.kafka.publisher import Event, RawRecord, publish, started_producer
from stream_app.sandbox.assortment import OTHER_MARKET, Assortment, category_path
from stream_app.sandbox.languages import category_of
from stream_app.sandbox.shop import ShopCatalogue
from stream_app.settings import Settings

_ANONYMOUS: Final = 0.25  # share of visits that begin without a login
_ELSEWHERE: Final = 0.1  # share of users in the other market
_PAGE_VIEWS: Final = 0.3  # page views before a look, on average
_VISITS: Final = 20_000  # newest visits that are remembered
_LISTED: Final = 10  # items of a list that answers a search
_FEED_S: Final = 2.0  # seconds between two looks for changes of the catalogue
_LOOKS: Final = ("view", "click")
_AFTER_LOGIN: Final = ("cart", "favorite", "purchase")  # what the shop lets only known users do


@dataclass(slots=True)
class _Visit:
    """What the site knows of a user's present visit."""

    session: str
    anonymous: bool
    cart: dict[str, int] = field(default_factory=dict)  # units by item id


class Site:
    """The website: it remembers each user's visit and cart."""

    def __init__(self, catalogue: ShopCatalogue, assortment: Assortment, rng: random.Random) -> None:
        self._items = {item.item_id: item for item in catalogue.items}
        self._catalogue = catalogue
        self._assortment = assortment
        self._rng = rng
        self._visits: dict[str, _Visit] = {}

    def records(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yields all that the site publishes, in order; `events` are the shop's, in order."""
        for event in events:
            yield from self._records(dict(event))

    def _records(self, event: Event) -> Iterator[Event]:
        user, kind = event["user_id"], event["type"]
        visit = self._visit(user, event["session_id"])
        if visit.anonymous and kind in _AFTER_LOGIN:
            yield {**_about(event), "type": "identify", "anonymous_id": _anonymous(visit), "user_id": user}
            visit.anonymous = False
        if visit.anonymous:
            event["user_id"] = _anonymous(visit)
        if kind in _LOOKS and self._rng.random() < _PAGE_VIEWS:
            yield {**_about(event), "type": "page_view", "page": f"/{event['item_id']}"}
        if _elsewhere(user):
            event["market"] = OTHER_MARKET
        if "item_id" in event:
            event |= self._offer(event["item_id"], event.get("market"))
            event["category"] = category_path(self._items[event["item_id"]])
            self._fill_cart(event, visit)
        yield event
        if kind == "search":
            yield {**_about(event), "type": "shown", "slate": "search", "items": self._listed(event["query"])}

    def _visit(self, user: str, session: str) -> _Visit:
        visit = self._visits.get(user)
        if visit is None or visit.session != session:
            self._visits.pop(user, None)
            visit = self._visits[user] = _Visit(session, self._rng.random() < _ANONYMOUS)
            if len(self._visits) > _VISITS:
                del self._visits[next(iter(self._visits))]
        return visit

    def _fill_cart(self, event: Event, visit: _Visit) -> None:
        """Changes the cart as the event says; a purchase takes all that is in it."""
        item, cart = event["item_id"], visit.cart
        if event["type"] == "cart":
            cart[item] = cart.get(item, 0) + 1
        elif event["type"] == "remove":
            cart.pop(item, None)
        elif event["type"] == "purchase":
            bought = {item: cart.pop(item, 1)} | cart
            cart.clear()
            for name in ("item_id", "price", "currency", "category", "brand", "quantity"):
                event.pop(name, None)
            event["items"] = [
                {"item_id": name, "quantity": units} | self._offer(name, event.get("market"))
                for name, units in bought.items()
            ]
            for name, units in bought.items():
                self._assortment.sell(name, units)

    def _offer(self, item: str, market: str | None) -> Event:
        price, currency = self._assortment.offer(item, market)
        return {"price": price, "currency": currency}

    def _listed(self, query: str) -> list[str]:
        ladder = self._catalogue.ladders[category_of(query)]
        return [self._catalogue.items[index].item_id for index in self._rng.sample(ladder, min(_LISTED, len(ladder)))]


def is_answered(record: Event | RawRecord) -> bool:
    """Tells whether a record gets a prediction or a dead letter: all do but noise, lists and logins."""
    return not isinstance(record, dict) or record["type"] in TYPE_CODES


class AnsweredRecords:
    """Passes records on until so many are answered, and counts those that are."""

    def __init__(self, records: Iterable[Event | RawRecord], most: int | None = None) -> None:
        """`most`: None: without end."""
        self._records = iter(records)
        self._most = most
        self.count = 0

    def __iter__(self) -> Iterator[Event | RawRecord]:
        while self._most is None or self.count < self._most:
            record = next(self._records, None)
            if record is None:
                return
            self.count += is_answered(record)
            yield record


def _about(event: Event) -> Event:
    """Returns who did it, and when."""
    return {name: event[name] for name in ("user_id", "session_id", "timestamp")}


def _anonymous(visit: _Visit) -> str:
    return f"visitor-{visit.session}"


def _elsewhere(user: str) -> bool:
    return random.Random(user).random() < _ELSEWHERE


@asynccontextmanager
async def catalogue_feed(assortment: Assortment, settings: Settings) -> AsyncIterator[None]:
    """Publishes all items, and inside the block what changes, every two seconds and at the end. Raises `UsageError`."""
    producer = await started_producer(settings, "publisher")
    try:
        await publish(assortment.records(), kafka=producer, topic=settings.items_topic)
        changes = asyncio.create_task(_publish_changes(assortment, settings, producer))
        try:
            yield
        finally:
            changes.cancel()
            await asyncio.gather(changes, return_exceptions=True)
        await publish(assortment.changed(), kafka=producer, topic=settings.items_topic)
    finally:
        await producer.stop()


async def _publish_changes(assortment: Assortment, settings: Settings, producer: AIOKafkaProducer) -> None:
    while True:
        await asyncio.sleep(_FEED_S)
        await publish(assortment.changed(), kafka=producer, topic=settings.items_topic)
