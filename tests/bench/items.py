"""What a catalogue takes of memory and time: `python -m tests.bench items --items 1000000`.

Items have titles of 50 bytes, categories of five levels (2,000 of them), 20,000 brands, three tags each, a page, a
picture and attributes, four variants to a product. Their records are published to a topic of the broker; a process of
its own follows it, as a worker does: from the topic, and at its second start from the snapshot that the first has
written. What counts is the growth of the process's anonymous memory, at its peak and at the end; a few items come
first, so that what imports and compiled loops take once is there by then. So is the time from the start of the follower
until it has all items.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry

from model.items.attributes import completed
from model.items.catalogue import ItemCatalogue
from stream_app.items.follower import ItemsFollower
from stream_app.items.metrics import ItemMetrics
from stream_app.settings import Settings
from tests.bench.memory import MIB, Peak, _anonymous
from tests.bench.streams import Streams, fill

CATEGORIES: Final = 2_000
BRANDS: Final = 20_000
_WORDS: Final = ("light", "summer", "running", "leather", "classic", "outdoor", "vintage", "cotton", "urban", "premium")


def items(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints a line for each start and returns the figures."""
    settings = streams.new()
    fill(settings, settings.items_topic, _records(options.items))
    found: dict[str, Any] = {"items": options.items}
    for name in ("topic", "snapshot"):
        found[name] = row = _in_a_process(settings)
        assert row["items"] == options.items, row
        print(
            f"from the {name:8} {row['seconds']:6.1f} s, {row['processor']:6.1f} s of the processor, "
            f"{row['grown_mib']:6.0f} MiB more, {row['peak_mib']:6.0f} at the peak",
            flush=True,
        )
    return found


def _records(count: int) -> Iterator[tuple[bytes, bytes]]:
    for number in range(count):
        yield f"item-{number}".encode(), json.dumps(record(number), separators=(",", ":")).encode()


def record(number: int) -> dict[str, Any]:
    """An item's record."""
    words = " ".join(_WORDS[number // 10**place % 10] for place in range(6))
    category = number % CATEGORIES
    return {
        "title": f"{number // 4:07d} {words}".ljust(50, "x")[:50],
        "category": f"all > d{category % 4} > c{category % 20} > b{category % 200} > a{category}",
        "brand": f"brand {number * 7919 % BRANDS}",
        "group": f"product-{number // 4}",
        "price": number % 9_973 / 100,
        "currency": "EUR",
        "stock": number % 50,
        "tags": [f"tag {number % 31}", f"colour {number % 97}", f"size {number % 53}"],
        "released": 1_700_000_000_000 + 1000 * number,
        "url": f"https://shop.example/items/{number}",
        "image_url": f"https://images.example/{number}.jpg",
        "attributes": {"colour": f"colour {number % 97}", "size": f"{number % 53}"},
    }


def _in_a_process(settings: Settings) -> dict[str, Any]:
    # glibc would keep large arrays that were freed for later ones, and count them as memory of the process.
    environment = {**os.environ, **settings.variables(), "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.items"], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def _follow() -> dict[str, Any]:
    """Follows the topic of the settings to its end, in this process."""
    _warm_up()
    follower = ItemsFollower(Settings(), "worker", ItemMetrics(CollectorRegistry()), time.time)
    before, begun, processor = _anonymous(), time.perf_counter(), time.process_time()
    with Peak() as peak:
        await follower.start()
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
        grown = _anonymous() - before
        own, count = follower.catalogue.nbytes, len(follower.catalogue)
        await follower.stop()  # writes the snapshot
    return {
        "items": count,
        "seconds": round(seconds, 1),
        "processor": round(processor, 1),
        "grown_mib": round(grown / MIB),
        "peak_mib": round((peak.bytes - before) / MIB),
        "own_mib": round(own / MIB),
    }


def _warm_up() -> None:
    from model.data.events import Event, actions_of
    from stream_app.contract.items import decode_item

    catalogue = ItemCatalogue()
    made = [decode_item(f"{number}".encode(), json.dumps(record(number)).encode()).item for number in range(100)]
    catalogue.apply([item for item in made if item is not None], [0] * 100, ["none"])
    completed(actions_of([Event("u", "view", "1")], [0]), [None], catalogue)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_follow())))
