"""Names items by their keys, which is all that a user's state has of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import item_key
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

    def names_of(self, keys: NDArray[np.uint64]) -> list[str]:
        """Returns the ids of items by their keys, "" where nobody knows one."""
        names = [one.item_id if one else "" for one in self._catalogue.labels_of(keys)]
        for vocabulary in reversed(self._known):
            rows = vocabulary.table.find(keys)
            for at in np.flatnonzero(rows >= 0).tolist():
                names[at] = vocabulary.items[rows[at]]
        return names

    def title_of(self, item_id: str) -> str:
        """Returns the title of an item, "" where it has none."""
        (label,) = self._catalogue.labels_of(np.array([item_key(item_id)], np.uint64))
        return label.title if label else ""


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
