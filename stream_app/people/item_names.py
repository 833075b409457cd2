"""Names items by their keys, which is all that a user's state has of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import numpy as np

from model.data.vocabulary import Vocabulary
from model.errors import VersionRefused
from model.items.catalogue import ItemCatalogue
from model.versions.manifest import VOCABULARY, decode, read_manifest, read_verified
from stream_app.settings import Settings
from stream_app.versions.own_registry import version_path
from stream_app.versions.promotions import current_champion

logger: Final = logging.getLogger(__name__)


class ItemNames:
    """Looks items up in the vocabulary of the version that serves, in a catalogue, and among ids that are at hand."""

    def __init__(self, vocabulary: Vocabulary, catalogue: ItemCatalogue, others: Iterable[str] = ()) -> None:
        self._known = [vocabulary, Vocabulary(list(dict.fromkeys(others)))]
        self._catalogue = catalogue

    def name_of(self, key: int) -> str:
        """Returns the id of an item by its key, "" where nobody knows it."""
        keys = np.array([key], np.uint64)
        for vocabulary in self._known:
            row = int(vocabulary.table.find(keys)[0])
            if row >= 0:
                return vocabulary.items[row]
        row = int(self._catalogue.table.find(keys)[0]) if len(self._catalogue) else -1
        return "" if row < 0 else self._catalogue.item(row).item_id

    def title_of(self, item_id: str) -> str:
        """Returns the title of an item, "" where it has none."""
        row = self._catalogue.row_of(item_id) if len(self._catalogue) else -1
        return "" if row < 0 else self._catalogue.item(row).title or ""


async def champions_vocabulary(settings: Settings) -> Vocabulary:
    """Reads the vocabulary of the version that serves; an empty one, and a warning, where it cannot be read."""
    champion = await current_champion(settings)
    if champion is None:
        return Vocabulary([])
    try:
        return await asyncio.to_thread(_read, version_path(settings, champion.version), champion.manifest_sha256)
    except VersionRefused as error:
        logger.warning("items are named by the catalogue alone: %s", error)
        return Vocabulary([])


def _read(path: str, manifest_sha256: str) -> Vocabulary:
    manifest, _ = read_manifest(path, manifest_sha256)
    return Vocabulary(decode(path, VOCABULARY, read_verified(path, VOCABULARY, manifest), tuple[str, ...]))
