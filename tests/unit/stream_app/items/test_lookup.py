"""Items as people see them; reading the topic is tried on a real broker."""

from __future__ import annotations

import json
from pathlib import Path

from model.items.item import Item
from stream_app.items.local_catalogue import LocalCatalogue
from stream_app.items.lookup import as_record, line
from tests.unit.builders.basics import make_record

RECORD = {
    "title": "Shoe",
    "category": ["Shoes", "Running"],
    "price": 89.9,
    "available": True,
    "stock": 3.0,
    "markets": {"CH": {"price": 95.0, "currency": "CHF"}},
    "tags": ["a"],
    "url": "u",
    "attributes": {"colour": "red"},
}


def test_an_item_is_shown_by_the_names_of_its_record(tmp_path: Path) -> None:
    local = LocalCatalogue(tmp_path, lambda: 0.0)
    local.apply([make_record(json.dumps(RECORD).encode(), key=b"7")])
    shown = as_record(local, local.items.row_of("7"))
    local.close()
    assert list(shown)[:2] == ["item_id", "title"]
    assert json.loads(json.dumps(shown)) == RECORD | {"item_id": "7"}


def test_a_line_says_the_most_important() -> None:
    assert line(Item("7", "Shoe", ("Shoes",), "Roadster", price=90.0, currency="EUR"), 80) == (
        "7: Shoe, Shoes, Roadster, 90 EUR"
    )
    assert line(Item("7", stock=0), 80) == "7 (not available): nothing is known of it"
    assert line(Item("7", "x" * 100), 20) == "7: " + "x" * 16 + "…"
