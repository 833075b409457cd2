"""Where the demo's events come from: a log that was read, or the simulated shop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from stream_app.kafka.publisher import Event, RawRecord
from stream_app.sandbox.assortment import Assortment, category_path, title
from stream_app.sandbox.simulate import Shop, with_duplicates, with_poison
from stream_app.sandbox.site import Site, catalogue_feed
from stream_app.sandbox.story.story import RivalLists
from stream_app.settings import Settings

_SHOP_RATE: Final = 50.0  # events per second of simulated time in the history
_POISON: Final = 0.002  # share of records that are not events
_DUPLICATES: Final = 0.005  # share of repeated events

Records = Iterable[Event | RawRecord]


@dataclass(frozen=True, slots=True)
class DemoSource:
    """Events, and what is known beside them."""

    name: str  # of the log; "": a simulated shop
    past: int  # how many events are published at once
    records: Records  # the past ones
    live: Records  # those that follow
    feed: Callable[[Settings], AbstractAsyncContextManager[Any]]  # publishes the catalogue, and changes in it meanwhile
    title_of: Callable[[str], str]  # an item's title; "": it has none
    category_of: Callable[[str], str]  # an item's category, where an event does not say it
    rival: RivalLists | None = None
    waits: bool = False  # whether what follows waits for the first trained version

    @property
    def simulated(self) -> bool:
        """Whether no real shop is behind it."""
        return not self.name


def simulated_source(history: int, seed: int) -> DemoSource:
    """Returns the simulated shop, whose first `history` events lie in the past."""
    # A shop opens empty and takes a while to reach its rate: twice the time is enough to stay in the past.
    shop = Shop(seed, start=time.time() - 2 * history / _SHOP_RATE, rate=_SHOP_RATE)
    titles = {item.item_id: title(item) for item in shop.catalogue.items}
    categories = {item.item_id: category_path(item) for item in shop.catalogue.items}
    assortment = Assortment(shop.catalogue, random.Random(seed), round(1000 * time.time()))
    site, rng = Site(shop.catalogue, assortment, random.Random(seed)), random.Random(seed)
    return DemoSource(
        name="",
        past=history,
        records=with_faults(site.records(shop.events()), rng),
        live=with_faults(site.records(shop.events(now=time.time)), rng),
        feed=lambda settings: catalogue_feed(assortment, settings),
        title_of=lambda item: titles.get(item, ""),
        category_of=lambda item: categories.get(item, ""),
    )


def with_faults(events: Iterable[Event], rng: random.Random) -> Iterator[Any]:
    """Adds the faults of real publishers: repeated events, and records that are not events."""
    return with_poison(with_duplicates(events, _DUPLICATES, rng), _POISON, rng)


def until(stop: asyncio.Event, events: Iterable[Any], count: int | None, seconds: float | None = None) -> Iterator[Any]:
    """Yields events until `stop` is set, `count` were taken, or `seconds` have passed."""
    deadline = None if seconds is None else time.monotonic() + seconds
    for event in islice(events, count):
        if stop.is_set() or (deadline is not None and time.monotonic() >= deadline):
            return
        yield event
