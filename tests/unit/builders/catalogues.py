"""Catalogues with details, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.items.catalogue import ItemCatalogue
from model.items.item import Item
from stream_app.following.content import Origin
from stream_app.items.details import DetailsFiles
from stream_app.items.snapshot import FORMAT, Head

ORIGIN = Origin("cluster", "shop.items")


def head(**offsets: int) -> Head:
    """The head of a snapshot; `offsets` by p0, p1, …"""
    by_partition = {int(name[1:]): offset for name, offset in offsets.items()}
    return Head(format=FORMAT, origin=ORIGIN, offsets=by_partition, written=1000.0, rows=0, strings={})


def catalogue_of(items: Sequence[Item], folder: Path) -> tuple[ItemCatalogue, DetailsFiles]:
    """A catalogue whose items have details: their id, but for every third."""
    catalogue, details = ItemCatalogue(), DetailsFiles(folder)
    entries = [b"" if n % 3 == 2 else item.item_id.encode() for n, item in enumerate(items)]
    catalogue.apply(items, details.add(entries))
    return catalogue, details
