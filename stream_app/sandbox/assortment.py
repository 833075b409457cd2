"""What the simulated shop sells at the moment, as its catalogue says it: titles, variants, prices and stock.

Prices change now and then and stock runs out and comes back; what shoppers want (`shopper`) does not depend on it: what
is out of stock is ordered all the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from stream_app.kafka.publisher import RawRecord
from stream_app.sandbox.shop import BRANDS, CATEGORIES, Item, ShopCatalogue

CURRENCY: Final = "EUR"
OTHER_MARKET: Final = "CH"  # where prices are others
OTHER_CURRENCY: Final = "CHF"
VARIANTS: Final = 2  # items of one product, in the categories that have variants
_WITH_VARIANTS: Final = 5  # categories, the first ones, whose products come in colours
_DEPARTMENTS: Final = ("Sport and fashion", "Electronics", "Home and kitchen", "Leisure")
_CATEGORIES_IN_DEPARTMENT: Final = 5
_COLOURS: Final = ("black", "white", "red", "blue", "green", "grey")
_NAMES: Final = (
    "Arc", "Breeze", "Classic", "Drift", "Ember", "Flow", "Glide", "Haven", "Iris", "Jet", "Kite", "Loop",
)  # fmt: skip
_MOST_STOCK: Final = 40  # units after a delivery
_REPRICED: Final = 0.01  # chance that a sale is followed by a change of some item's price
_DELIVERED: Final = 0.3  # chance that a sale is followed by a delivery of what has run out longest
_OTHER_PRICE: Final = 1.1  # times the euro's, in the other market
_NEWEST_DAYS: Final = 400  # items were released in these last days
_DAY_MS: Final = 86_400_000


class Assortment:
    """Prices and stock of a shop's items as they change, and the records that say so."""

    def __init__(self, catalogue: ShopCatalogue, rng: random.Random, now_ms: int) -> None:
        """`now_ms`: milliseconds since the epoch, when the shop opens."""
        self._items = {item.item_id: item for item in catalogue.items}
        self._ids = list(self._items)
        self._rng = rng
        self._prices = {item.item_id: item.price for item in catalogue.items}
        self._stock = {name: rng.randrange(1, _MOST_STOCK) for name in self._ids}
        self._released = {name: now_ms - rng.randrange(_NEWEST_DAYS) * _DAY_MS for name in self._ids}
        self._sold_out: dict[str, None] = {}  # in the order in which they ran out
        self._changed: dict[str, None] = {}

    def records(self) -> Iterator[RawRecord]:
        """Yields the record of every item."""
        for name in self._ids:
            yield self._record(name)

    def changed(self) -> list[RawRecord]:
        """Returns the records of what has changed since the last call."""
        changed, self._changed = list(self._changed), {}
        return [self._record(name) for name in changed]

    def offer(self, item_id: str, market: str | None) -> tuple[float, str]:
        """Returns an item's present price and its currency."""
        price = self._prices[item_id]
        return (_other_price(price), OTHER_CURRENCY) if market == OTHER_MARKET else (price, CURRENCY)

    def sell(self, item_id: str, quantity: int) -> None:
        """Takes units out of stock; now and then a price changes or a delivery comes."""
        self._stock[item_id] = max(self._stock[item_id] - quantity, 0)
        self._changed[item_id] = None
        if not self._stock[item_id]:
            self._sold_out[item_id] = None
        if self._sold_out and self._rng.random() < _DELIVERED:
            delivered = next(iter(self._sold_out))
            del self._sold_out[delivered]
            self._stock[delivered] = _MOST_STOCK
            self._changed[delivered] = None
        if self._rng.random() < _REPRICED:
            name = self._rng.choice(self._ids)
            self._prices[name] = round(self._items[name].price * self._rng.uniform(0.8, 1.1), 2)
            self._changed[name] = None

    def _record(self, name: str) -> RawRecord:
        item, price = self._items[name], self._prices[name]
        fields: dict[str, Any] = {
            "title": title(item),
            "category": category_path(item),
            "brand": BRANDS[item.brand],
            "price": price,
            "currency": CURRENCY,
            "stock": self._stock[name],
            "markets": {OTHER_MARKET: {"price": _other_price(price), "currency": OTHER_CURRENCY}},
            "url": f"https://shop.example/{name}",
            "released": self._released[name],
        }
        if item.category < _WITH_VARIANTS:
            fields["group"] = f"{name.rpartition('-')[0]}-{_product(item)}"
            fields["attributes"] = {"colour": _colour(item)}
        return name.encode(), msgspec.json.encode(fields)


def category_path(item: Item) -> str:
    """Returns an item's category from the widest level to the narrowest, as catalogue and events name it."""
    return f"{_DEPARTMENTS[item.category // _CATEGORIES_IN_DEPARTMENT]} > {CATEGORIES[item.category]}"


def title(item: Item) -> str:
    """Returns what a person calls an item."""
    product = _product(item)
    name = f"{BRANDS[item.brand]} {_NAMES[product % len(_NAMES)]} {product} {CATEGORIES[item.category]}"
    return f"{name}, {_colour(item)}" if item.category < _WITH_VARIANTS else name


def _product(item: Item) -> int:
    return item.rung // VARIANTS if item.category < _WITH_VARIANTS else item.rung


def _colour(item: Item) -> str:
    return _COLOURS[(item.rung // VARIANTS + item.rung % VARIANTS) % len(_COLOURS)]


def _other_price(price: float) -> float:
    return round(price * _OTHER_PRICE, 2)
