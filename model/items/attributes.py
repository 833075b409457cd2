"""What an action does not say of its item, the catalogue says: one rule for what is learned from and what is answered.

Category, brand and price are each the action's own where it gives them, else the catalogue's; in a market that the item
has an offer in, the price is that offer's, if it has one.
Shapes: N actions, R rows of the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts, with_attributes
from model.data.events import (
    BRAND_BUCKETS,
    CATEGORY_BUCKETS,
    SEARCH,
    Actions,
    Event,
    ItemNames,
    actions_of,
    currency_key,
)
from model.items.catalogue import MARKET, ItemCatalogue
from model.items.item import Item, Offer
from model.items.string_table import Bytes, Numbers
from model.kernels.compiled import compiled
from model.kernels.hash_table import find_row

_SIZE: Final = MARKET.itemsize  # bytes of a packed market; its first four are the number of its name
_BUCKET_AT, _PRICE_AT, _CURRENCY_AT = (  # bytes of a packed market
    MARKET.fields[name][1] if MARKET.fields else 0 for name in ("price_bucket", "price", "currency")
)
_OWN: Final = -1  # in the place of a currency of the catalogue, where the action gave the price


class _Catalogue(NamedTuple):
    """The catalogue, for the compiled loop."""

    cells: NDArray[np.uint64]
    prices: NDArray[np.uint8]  # (R,) buckets
    category_keys: NDArray[np.uint64]  # (R,); 0: not given, as is the next
    brand_keys: NDArray[np.uint64]  # (R,)
    amounts: NDArray[np.float64]  # (R,) prices
    currencies: Numbers  # (R,)
    markets: Numbers  # (R,)
    offers: Bytes  # packed markets, one behind the other
    starts: NDArray[np.int64]  # where each row's begin


class _Attributes(NamedTuple):
    """What actions say of their items: buckets (N,), 0 where they do not."""

    prices: NDArray[np.uint8]
    amounts: NDArray[np.float64]  # of these prices; NaN where there is none
    currencies: NDArray[np.int64]  # of these: texts of the catalogue, or _OWN
    categories: NDArray[np.uint16]
    brands: NDArray[np.uint16]
    category_keys: NDArray[np.uint64]
    brand_keys: NDArray[np.uint64]


def completed(
    actions: Actions, markets: Sequence[str | None], catalogue: ItemCatalogue, names: ItemNames | None = None
) -> Actions:
    """Returns actions (N,) with what the catalogue knows of their items; `markets` (N,) are those they happened in.

    `names` keeps what the catalogue calls their categories and brands.
    """
    filled = _Attributes(
        actions.prices.copy(),
        actions.amounts.copy(),
        np.full(len(actions.prices), _OWN),
        actions.categories.copy(),
        actions.brands.copy(),
        actions.category_keys.copy(),
        actions.brand_keys.copy(),
    )
    with catalogue.lock:
        offers = catalogue.tables.lists["markets"].column
        numbers = _market_numbers(markets, catalogue) if len(offers.text) else np.zeros(len(actions), np.uint32)
        columns = _Catalogue(
            catalogue.table.cells,
            catalogue.column("price_buckets"),
            catalogue.column("category_keys"),
            catalogue.column("brand_keys"),
            catalogue.column("prices"),
            catalogue.column("currencies"),
            catalogue.column("markets"),
            offers.text,
            offers.starts,
        )
        _fill(columns, actions.item_keys, actions.types, numbers, filled)
        currencies = _currencies(actions.currencies, filled.currencies, catalogue)
        if names is not None:
            _keep_names(names, filled, actions.item_keys, catalogue)
    return replace(actions, **filled._asdict() | {"currencies": currencies})


def completed_contexts(
    item_keys: NDArray[np.uint64], contexts: NDArray[np.uint32], catalogue: ItemCatalogue
) -> NDArray[np.uint32]:
    """Does what `completed` does for contexts (N,) of actions in no market."""
    fields, none = unpack_contexts(contexts), [None] * len(contexts)
    actions = replace(
        actions_of([], []),
        users=[""] * len(contexts),
        item_keys=item_keys,
        types=fields.types.astype(np.uint8),
        prices=fields.prices.astype(np.uint8),
        amounts=np.full(len(contexts), np.nan),
        currencies=np.zeros(len(contexts), np.uint64),
        categories=fields.categories.astype(np.uint16),
        brands=fields.brands.astype(np.uint16),
        category_keys=np.zeros(len(contexts), np.uint64),
        brand_keys=np.zeros(len(contexts), np.uint64),
    )
    return with_attributes(contexts, completed(actions, none, catalogue))


def _keep_names(names: ItemNames, filled: _Attributes, item_keys: NDArray[np.uint64], catalogue: ItemCatalogue) -> None:
    """Keeps the names of categories and brands that were filled in; few are new."""
    for table, keys in ((names.categories, filled.category_keys), (names.brands, filled.brand_keys)):
        for key in table.missing(keys):
            row = int(catalogue.table.find(item_keys[np.flatnonzero(keys == key)[:1]])[0])
            item = catalogue.item(row) if row >= 0 else None
            if item is not None:
                table.keys_of([item.category_text if table is names.categories else item.brand])


@cache
def warm_up() -> None:
    """Calls the compiled loops on a catalogue of its own, so that no event has to wait for the first call."""
    catalogue = ItemCatalogue()
    catalogue.apply([Item("item", markets={"market": Offer(1.0)})], [0])
    for market in (None, "market"):
        completed(actions_of([Event("user", "view", "item")], [0]), [market], catalogue)


def _market_numbers(markets: Sequence[str | None], catalogue: ItemCatalogue) -> Numbers:
    """Returns the numbers (N,) of the markets' names; 0: not given, or no item is offered there."""
    texts = catalogue.tables.texts
    known = {market: max(texts.find(market.encode()), 0) if market else 0 for market in set(markets)}
    return np.array([known[market] for market in markets], np.uint32)


def _currencies(given: NDArray[np.uint64], filled: NDArray[np.int64], catalogue: ItemCatalogue) -> NDArray[np.uint64]:
    """Returns the keys of the currencies of actions (N,), where some prices are the catalogue's."""
    keys = given.copy()
    for number in set(filled.tolist()) - {_OWN}:
        keys[filled == number] = currency_key(catalogue.tables.texts[number].decode())
    return keys


@compiled
def _fill(
    catalogue: _Catalogue,
    item_keys: NDArray[np.uint64],
    types: NDArray[np.uint8],
    markets: Numbers,
    filled: _Attributes,
) -> None:
    for n in range(len(item_keys)):
        if types[n] == SEARCH:
            continue
        row = find_row(catalogue.cells, item_keys[n])
        if row < 0:
            continue
        if filled.categories[n] == 0 and catalogue.category_keys[row] != 0:
            filled.category_keys[n] = catalogue.category_keys[row]
            filled.categories[n] = 1 + filled.category_keys[n] % np.uint64(CATEGORY_BUCKETS - 1)
        if filled.brands[n] == 0 and catalogue.brand_keys[row] != 0:
            filled.brand_keys[n] = catalogue.brand_keys[row]
            filled.brands[n] = 1 + filled.brand_keys[n] % np.uint64(BRAND_BUCKETS - 1)
        if filled.prices[n] != 0:
            continue
        offer = _offer(catalogue, row, markets[n]) if markets[n] != 0 else -1
        if offer >= 0 and catalogue.offers[offer + _BUCKET_AT] != 0:
            filled.prices[n] = catalogue.offers[offer + _BUCKET_AT]
            filled.amounts[n] = catalogue.offers.view(np.float64)[(offer + _PRICE_AT) // 8]
            currency = catalogue.offers.view(np.uint32)[(offer + _CURRENCY_AT) // 4]
            filled.currencies[n] = currency if currency != 0 else catalogue.currencies[row]
        elif catalogue.prices[row] != 0:
            filled.prices[n] = catalogue.prices[row]
            filled.amounts[n] = catalogue.amounts[row]
            filled.currencies[n] = catalogue.currencies[row]


@compiled
def _offer(catalogue: _Catalogue, row: int, market: np.uint32) -> int:
    """Returns where what holds in a market is packed; -1: nothing of its own."""
    number, names = catalogue.markets[row], catalogue.offers.view(np.uint32)
    for at in range(catalogue.starts[number], catalogue.starts[number + 1], _SIZE):
        if names[at // 4] == market:
            return at
    return -1
