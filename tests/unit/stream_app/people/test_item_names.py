"""Items are named by the version's vocabulary, then by ids at hand, then by the catalogue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.events import item_key
from model.data.vocabulary import Vocabulary
from model.items.catalogue import ItemCatalogue
from model.items.item import Item
from stream_app.people.item_names import ItemNames


def keys_of(*items: str) -> NDArray[np.uint64]:
    return np.array([item_key(item) for item in items], np.uint64)


def test_whoever_knows_an_item_names_it() -> None:
    catalogue = ItemCatalogue()
    catalogue.apply([Item(item_id="sock-1", title="Sock")], [0], [])
    names = ItemNames(Vocabulary(["shoe-7"]), catalogue, ["hat-3", "hat-3"])
    asked = ("shoe-7", "hat-3", "sock-1", "gone")
    assert names.names_of(keys_of(*asked)) == ["shoe-7", "hat-3", "sock-1", ""]
    assert [names.title_of(item) for item in ("sock-1", "shoe-7")] == ["Sock", ""]


def test_without_a_version_or_a_catalogue_nothing_has_a_name() -> None:
    names = ItemNames(Vocabulary([]), ItemCatalogue())
    assert (names.names_of(keys_of("shoe-7")), names.title_of("shoe-7")) == ([""], "")
