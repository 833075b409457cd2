"""Items are named by whoever knows them."""

from __future__ import annotations

import numpy as np

from model.data.events import item_key
from model.items.catalogue import ItemCatalogue
from model.items.item import Item
from model.serving.serving import serve
from stream_app.query.known_items import KnownItems
from stream_app.settings import Settings
from tests.unit.builders.basics import CPU, HIDDEN, make_version
from tests.unit.builders.questions import view_of


def test_version_catalogue_and_rules_name_items() -> None:
    engine, catalogue = view_of(Settings(hidden=HIDDEN)).engine, ItemCatalogue()
    items = KnownItems(engine, catalogue)
    keys = np.array([item_key(item) for item in ("item 1", "hat", "met", "gone")], np.uint64)
    assert items.names_of(keys) == ["", "", "", ""]
    engine.rules._rules._names[item_key("met")] = "met"
    assert items.names_of(keys) == ["", "", "met", ""]
    engine.serve(serve(make_version(), CPU))
    catalogue.apply([Item("hat", title="A hat", category=("clothes", "hats"))], [0])
    assert items.names_of(keys) == ["item 1", "hat", "met", ""]


def test_titles_of_items_that_have_one() -> None:
    catalogue = ItemCatalogue()
    items = KnownItems(view_of(Settings(hidden=HIDDEN)).engine, catalogue)
    assert items.titles(["hat"]) == {}
    catalogue.apply([Item("hat", title="A hat"), Item("cap")], [0, 0])
    assert items.titles(["cap", "hat", "hat", "gone"]) == {"hat": "A hat"}
