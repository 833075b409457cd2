"""Names the items of answers: by the version that serves, the catalogue, and what the rules have met of late."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.events import item_key
from model.items.catalogue import ItemCatalogue
from model.serving.state_engine import StateEngine
from stream_app.people.past_actions import RememberedPast, remembered_past


class KnownItems:
    """The items that this worker can name; for the thread that answers questions."""

    def __init__(self, engine: StateEngine, catalogue: ItemCatalogue) -> None:
        self._engine, self._catalogue = engine, catalogue

    def titles(self, item_ids: Iterable[str]) -> dict[str, str]:
        """Returns the titles of items that have one."""
        if not len(self._catalogue):
            return {}
        distinct = list(dict.fromkeys(item_ids))
        labels = self._catalogue.labels_of(np.array([item_key(item_id) for item_id in distinct], np.uint64))
        return {item: label.title for item, label in zip(distinct, labels, strict=True) if label and label.title}

    @property
    def have_titles(self) -> bool:
        """Whether there is a catalogue, which has them."""
        return len(self._catalogue) > 0

    def past(self, record: bytes, most: int | None) -> RememberedPast:
        """Reads a user's newest `most` actions (None: all) from their record, with items named.

        Raises `RecordCorrupt`.
        """
        past = remembered_past(record, self.names_of, most)
        if not len(self._catalogue):
            return past
        labels = self._catalogue.labels_of(np.array([item_key(one.item_id or "") for one in past.history], np.uint64))
        named = [
            one
            if one.item_id is None or label is None
            else msgspec.structs.replace(one, title=label.title or None, category=label.category or None)
            for one, label in zip(past.history, labels, strict=True)
        ]
        return past._replace(history=named)

    def names_of(self, keys: NDArray[np.uint64]) -> Sequence[str]:
        """Returns the ids of items by their keys, "" where nobody knows one."""
        if (serving := self._engine.serving) is None:
            return self._names_beside(keys)
        items, rows = serving.vocabulary.items, serving.vocabulary.table.find(keys)
        names = [items[row] if row >= 0 else "" for row in rows.tolist()]
        if len(others := np.flatnonzero(rows < 0)):
            for at, name in zip(others.tolist(), self._names_beside(keys[others]), strict=True):
                names[at] = name
        return names

    def _names_beside(self, keys: NDArray[np.uint64]) -> list[str]:
        """Does what `names_of` does, without the version."""
        rules, labels = self._engine.rules.names, self._catalogue.labels_of(keys)
        return [
            rules.get(key, "") if label is None else label.item_id
            for key, label in zip(keys.tolist(), labels, strict=True)
        ]
