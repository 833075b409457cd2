"""The catalogue in columns: a dictionary of items is the oracle."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.events import item_key, name_keys, price_buckets
from model.items import catalogue as module
from model.items.catalogue import COLUMNS, ItemCatalogue
from model.items.item import Item
from tests.unit.builders.items import items

IDS = st.sampled_from([f"item-{number}" for number in range(12)])
CHANGES = st.lists(
    st.tuples(st.lists(items(IDS), max_size=6, unique_by=lambda item: item.item_id), st.lists(IDS, max_size=3)),
    max_size=8,
)


def applied(catalogue: ItemCatalogue, known: dict[str, Item], changed: list[Item], removed: list[str]) -> None:
    """Applies a batch to the catalogue and to the oracle."""
    gone = [item_id for item_id in removed if item_id not in {item.item_id for item in changed}]
    catalogue.apply(changed, [len(item.title) for item in changed], gone)
    for item_id in gone:
        known.pop(item_id, None)
    known.update({item.item_id: item for item in changed})


def check(catalogue: ItemCatalogue, known: dict[str, Item]) -> None:
    assert {item.item_id: item for item in catalogue} == known
    assert len(catalogue) == len(known)
    keys = np.array([item_key(item_id) for item_id in known], np.uint64)
    rows = catalogue.table.find(keys)
    assert [catalogue.item(row) for row in rows.tolist()] == list(known.values())
    assert catalogue.column("details")[rows].tolist() == [len(item.title) for item in known.values()]


@settings(deadline=None)
@given(CHANGES)
def test_items_come_change_and_go(changes: list[tuple[list[Item], list[str]]]) -> None:
    catalogue, known = ItemCatalogue(), dict[str, Item]()
    with patch.object(module, "_LEAST_LEFT_BEHIND", 5):  # so that tables are made anew now and then
        for changed, removed in changes:
            applied(catalogue, known, changed, removed)
            check(catalogue, known)
    assert len(catalogue.column("ids")) <= 12 + max((len(changed) for changed, _ in changes), default=0)
    catalogue.compact()
    check(catalogue, known)
    check(ItemCatalogue(catalogue.columns(), catalogue.tables), known)


def test_what_the_model_reads_of_an_item_is_what_it_reads_of_an_event() -> None:
    catalogue = ItemCatalogue()
    catalogue.apply([Item("7", category=("shoes", "running"), brand="x", price=80.0), Item("8")], [0, 0])
    rows = [catalogue.row_of("7"), catalogue.row_of("8")]
    assert catalogue.column("price_buckets")[rows].tolist() == price_buckets([80.0, None]).tolist()
    assert catalogue.column("category_keys")[rows].tolist() == name_keys(["shoes > running", None]).tolist()
    assert catalogue.column("brand_keys")[rows].tolist() == name_keys(["x", None]).tolist()


def test_rows_of_removed_items_are_used_again() -> None:
    catalogue = ItemCatalogue()
    catalogue.apply([Item(str(number)) for number in range(5)], [0] * 5)
    catalogue.apply([], [], ["1", "3", "never there"])
    catalogue.apply([Item("new"), Item("newer")], [0, 0])
    assert len(catalogue.column("ids")) == len(catalogue) == 5
    assert catalogue.row_of("1") == -1


def test_what_nobody_needs_leaves_the_tables() -> None:
    catalogue = ItemCatalogue()
    with patch.object(module, "_LEAST_LEFT_BEHIND", 10):
        for number in range(200):
            catalogue.apply([Item("7", title=f"title {number}", tags=(f"tag {number}",))], [0])
    catalogue.compact()
    assert catalogue.item(0) == Item("7", title="title 199", tags=("tag 199",))
    assert len(catalogue.tables.texts) < 40
    assert len(catalogue.tables.lists["tags"]) < 20


@pytest.mark.parametrize("name", COLUMNS)
def test_a_free_row_has_nothing(name: str) -> None:
    catalogue = ItemCatalogue()
    catalogue.apply([Item("7", title="t", category=("c",), brand="b", price=1.0, released=3, available=True)], [9])
    catalogue.apply([], [], ["7"])
    assert catalogue.column(name).tolist() == [0]
    assert not list(catalogue)
