"""Reads the catalogue once, for people: from a snapshot in the data folder, if one is there, and from the topic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry

from model.items.item import Item
from stream_app.contract.items import decode_details
from stream_app.items.follower import ItemsFollower
from stream_app.items.local_catalogue import LocalCatalogue
from stream_app.items.metrics import ItemMetrics
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings

_EVERY_S: Final = 0.5  # seconds between two reports of progress


@asynccontextmanager
async def whole_catalogue(settings: Settings, progress: Callable[[int], None]) -> AsyncIterator[LocalCatalogue]:
    """Gives the catalogue as it is now; writes no snapshot. `progress` is given the number of items read by then.

    Raises `UsageError`, also where there is no topic.
    """
    await ensure_topics(settings, "operator", settings.items_topic, create=False)
    follower = ItemsFollower(settings, "operator", ItemMetrics(CollectorRegistry()), time.time)
    follower.may_save = lambda: False
    reporting = asyncio.create_task(_report(follower, progress))
    try:
        await follower.start()
        reporting.cancel()
        yield follower.local
    finally:
        reporting.cancel()
        await follower.stop()


async def _report(follower: ItemsFollower, progress: Callable[[int], None]) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        progress(len(follower.catalogue))


def as_record(local: LocalCatalogue, row: int) -> dict[str, Any]:
    """Returns an item by the names of its record's fields, those that are given, its id first."""
    item = local.items.item(row)
    details = decode_details(local.details.get(int(local.items.column("details")[row])))
    fields: dict[str, Any] = msgspec.to_builtins(item) | msgspec.to_builtins(details)
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def line(item: Item, width: int) -> str:
    """Returns an item as a line of at most `width` characters."""
    price = "" if item.price is None else f"{item.price:g} {item.currency}".strip()
    gone = " (not available)" if item.is_available is False else ""
    parts = [item.title, item.category_text, item.brand, price]
    text = f"{item.item_id}{gone}: {', '.join(part for part in parts if part) or 'nothing is known of it'}"
    return text if len(text) <= width else text[: width - 1] + "…"
