"""What holds of an item in a market."""

from __future__ import annotations

import pytest

from model.items.item import Item, Offer

SHOE = Item("7", price=80.0, currency="EUR", stock=2, markets={"CH": Offer(95.0, "CHF"), "PL": Offer(available=False)})


@pytest.mark.parametrize(
    ("market", "offer"),
    [
        (None, Offer(80.0, "EUR", True)),
        ("FR", Offer(80.0, "EUR", True)),
        ("CH", Offer(95.0, "CHF", True)),
        ("PL", Offer(80.0, "EUR", False)),
    ],
)
def test_a_market_says_what_differs_there(market: str | None, offer: Offer) -> None:
    assert SHOE.offer(market) == offer


@pytest.mark.parametrize(
    ("available", "stock", "known"), [(None, None, None), (None, 0, False), (None, 1, True), (True, 0, True)]
)
def test_stock_says_whether_an_item_is_available_where_the_record_does_not(
    available: bool | None, stock: float | None, known: bool | None
) -> None:
    assert Item("7", available=available, stock=stock).is_available is known


def test_a_category_is_named_as_events_name_it() -> None:
    assert Item("7", category=("shoes", "running")).category_text == "shoes > running"
    assert Item("7").category_text == ""
