"""What a catalogue has and lacks."""

from __future__ import annotations

from collections import Counter

import pytest

from model.items.item import Item, Offer
from stream_app.items.check import coverage_lines, main_script, report_of, script_of

ITEMS = [
    Item("1", "Road runner", ("Shoes",), "Roadster", "runner", 90.0, "EUR", stock=2, tags=("a",), released=1),
    Item("2", "跑鞋", group="runner", markets={"CN": Offer(600.0, "CNY")}, available=False),
    Item("3", group="alone"),
    Item("4"),
]


def test_a_report_counts_fields_scripts_variants_and_markets() -> None:
    assert report_of(ITEMS).lines() == [
        "4 items",
        "   50.0% have a title",
        "   25.0% have a category",
        "   25.0% have a brand",
        "   50.0% have a price",
        "   50.0% have a currency",
        "   50.0% have availability",
        "   25.0% have tags",
        "   25.0% have a date of release",
        "   25.0% are not available",
        "scripts of titles: Latin 25.0%, Han 25.0%",
        "variants: 2 items of 1 products (group)",
        "markets: CN 25.0%",
    ]
    bare = ["no titles", "no variants: no two items have the same group", "no markets"]
    assert report_of([Item("1")]).lines()[-3:] == bare


@pytest.mark.parametrize(
    ("title", "script"),
    [
        ("Straße 7", "Latin"),
        ("حذاء رياضي Nike", "Arabic"),
        ("Nike 跑步鞋运动鞋", "Han"),
        ("ランニング", "Katakana"),
        ("кроссовки", "Cyrillic"),
        ("\uff21\uff22\uff23", "Latin"),  # full width
        ("7 / 8", "no letters"),
    ],
)
def test_the_script_of_a_title(title: str, script: str) -> None:
    assert main_script(title) == script


def test_letters_without_a_name_have_a_script_of_their_own() -> None:
    assert script_of("\U000e0000") == "Unknown"


def test_coverage_of_the_events_items() -> None:
    assert coverage_lines(Counter({"1": 3, "x": 1}), "1".__eq__) == [
        "events: 75.0% of 4 are on items of the catalogue, 50.0% of 2 items",
        "  not in it, most frequent first: x (1)",
    ]
    assert coverage_lines(Counter({"1": 3}), "1".__eq__) == [
        "events: 100.0% of 3 are on items of the catalogue, 100.0% of 1 items"
    ]
    assert coverage_lines(Counter(), bool) == ["no events on items"]
