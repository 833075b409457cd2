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

    def past(self, record: bytes) -> RememberedPast:
        """Reads what a user did from their record, with items named. Raises `RecordCorrupt`."""
        past = remembered_past(record, self.names_of)
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
        rules = self._engine.rules.names
        names = [rules.get(key, "") for key in keys.tolist()]
        for at, label in enumerate(self._catalogue.labels_of(keys)):
            if label is not None:
                names[at] = label.item_id
        if (serving := self._engine.serving) is not None:
            rows = serving.vocabulary.table.find(keys)
            for at in np.flatnonzero(rows >= 0).tolist():
                names[at] = serving.vocabulary.items[rows[at]]
        return names
