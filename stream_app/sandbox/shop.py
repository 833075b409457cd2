"""The catalogue of the simulated shop: items with category, brand and price, some far more popular than others.

Every item stands in two ordered rows. The *ladder* of its category holds the category's items from cheap to
dear; the *line* of its brand holds the brand's items of all categories, from cheap to dear. Both are rings, so
that every item has neighbours in both directions. Shoppers (see `shopper`) walk along one of the two.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from stream_app.errors import SettingsInvalid

BANDS: Final = 5  # price bands of a category, from cheap to dear
SMALLEST: Final = 50  # items of a shop; with fewer, rows are too short to walk along
_ITEMS_PER_CATEGORY: Final = 5  # fewest items of a category
_BRANDS_PER_CATEGORY: Final = 6
_IN_BAND: Final = 6.0  # how many times likelier a shopper starts in their own price band than in another
_TAIL: Final = 0.8  # popularity of the r-th item: r ** -_TAIL

CATEGORIES: Final = (
    "running shoes", "winter jackets", "rain coats", "linen shirts", "denim jeans",
    "wireless headphones", "mobile phones", "phone cases", "laptop computers", "laptop bags",
    "coffee machines", "coffee beans", "frying pans", "kitchen knives", "desk lamps",
    "office chairs", "mountain bikes", "bike helmets", "board games", "garden tools",
)  # fmt: skip
BRANDS: Final = (
    "Alder", "Borealis", "Cobalt", "Dunmore", "Eastwick", "Fenwood", "Galvan", "Hartley", "Ironbark",
    "Juniper", "Kestrel", "Lumen", "Marlow", "Nordby", "Orchard", "Pinewell", "Quarry", "Redfern",
    "Solace", "Tamarin", "Umber", "Verity", "Westlake", "Yarrow", "Zephyr",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One article; `category`, `brand` index CATEGORIES and BRANDS, `rung` counts from the cheapest."""

    item_id: str
    category: int
    brand: int
    rung: int
    price: float  # in euro


@dataclass(frozen=True, slots=True)
class Course:
    """A way of walking: along the brand's line or the category's ladder, `stride` items at a time (negative: down)."""

    along_brand: bool
    stride: int


@dataclass(frozen=True, slots=True)
class WeightedChoice:
    """Items with the cumulative weights that `random.Random.choices` takes."""

    items: tuple[int, ...]
    cumulative: tuple[float, ...]

    def draw(self, rng: random.Random) -> int:
        """Draws one item, with probability in proportion to its weight."""
        return rng.choices(self.items, cum_weights=self.cumulative)[0]

    def shares(self) -> list[tuple[int, float]]:
        """Returns each item with its probability."""
        total = self.cumulative[-1]
        before = (0.0, *self.cumulative)
        return [
            (item, (upper - lower) / total)
            for item, lower, upper in zip(self.items, before, self.cumulative, strict=False)
        ]


class ShopCatalogue:
    """All items of the shop, drawn once and never changed.

    Raises `SettingsInvalid` for fewer than 50 items.
    """

    def __init__(self, rng: random.Random, size: int) -> None:
        if size < SMALLEST:
            raise SettingsInvalid(f"a simulated shop of {size} items is too small: ask for at least {SMALLEST}")
        self.categories = min(len(CATEGORIES), size // _ITEMS_PER_CATEGORY)
        self.items: tuple[Item, ...] = tuple(_items(rng, size, self.categories))
        self.ladders = _rows(self.items, [item.category for item in self.items], self.categories)
        self.lines = _rows(self.items, [item.brand for item in self.items], len(BRANDS))
        self._index_in_line = {item: index for line in self.lines for index, item in enumerate(line)}
        self._weights = _popularity(rng, size)
        self.popular = _weighted(range(size), self._weights)
        self._accessories = rng.sample(range(self.categories), self.categories)
        self._starts: dict[tuple[int, int, int | None], WeightedChoice] = {}

    def moved(self, item: int, course: Course) -> int:
        """Returns the item that lies one stride further on the course."""
        if course.along_brand:
            line = self.lines[self.items[item].brand]
            return line[(self._index_in_line[item] + course.stride) % len(line)]
        ladder = self.ladders[self.items[item].category]
        return ladder[(self.items[item].rung + course.stride) % len(ladder)]

    def accessory(self, item: int) -> int:
        """Returns what goes with an item: about the same rung of the category that goes with its own."""
        ladder = self.ladders[self._accessories[self.items[item].category]]
        return ladder[self.items[item].rung % len(ladder)]

    def starts(self, category: int, band: int, brand: int | None = None) -> WeightedChoice:
        """Returns where shoppers of a price band start in a category (and brand): popular items, mostly in the band."""
        key = (category, band, brand)
        choice = self._starts.get(key)
        if choice is None:
            ladder = self.ladders[category]
            items = [item for item in ladder if brand in (None, self.items[item].brand)]
            weights = [self._weights[item] * (_IN_BAND if self.band(item) == band else 1.0) for item in items]
            choice = self._starts[key] = _weighted(items, weights)
        return choice

    def band(self, item: int) -> int:
        """Returns the price band of an item in its category, 0 (cheapest) to 4."""
        entry = self.items[item]
        return entry.rung * BANDS // len(self.ladders[entry.category])


def _items(rng: random.Random, size: int, categories: int) -> list[Item]:
    deck = _brand_deck(rng, categories)
    items = []
    for category in range(categories):
        rungs = len(range(category, size, categories))
        cheapest = 4 * 60 ** rng.random()  # euro, from 4 to 240
        shelf = deck[category * _BRANDS_PER_CATEGORY : (category + 1) * _BRANDS_PER_CATEGORY]
        brands = [shelf[rung % len(shelf)] for rung in range(rungs)]
        rng.shuffle(brands)
        for rung in range(rungs):
            price = round(cheapest * 12 ** ((rung + 0.8 * rng.random()) / rungs), 2)
            name = f"{CATEGORIES[category].replace(' ', '-')}-{rung:03d}"
            items.append(Item(name, category, brands[rung], rung, price))
    return items


def _brand_deck(rng: random.Random, categories: int) -> list[int]:
    """Deals brands from whole shuffled packs, so that all brands sell in about equally many categories."""
    deck: list[int] = []
    while len(deck) < categories * _BRANDS_PER_CATEGORY:
        deck += rng.sample(range(len(BRANDS)), len(BRANDS))
    return deck


def _rows(items: Sequence[Item], row_of: Sequence[int], rows: int) -> tuple[tuple[int, ...], ...]:
    sorted_rows: list[list[int]] = [[] for _ in range(rows)]
    for index in sorted(range(len(items)), key=lambda index: items[index].price):
        sorted_rows[row_of[index]].append(index)
    return tuple(tuple(row) for row in sorted_rows)


def _popularity(rng: random.Random, size: int) -> list[float]:
    weights = [rank**-_TAIL for rank in range(1, size + 1)]
    rng.shuffle(weights)
    return weights


def _weighted(items: Sequence[int], weights: Sequence[float]) -> WeightedChoice:
    return WeightedChoice(tuple(items), tuple(accumulate(weights)))
