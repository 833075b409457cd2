"""The price bins that a version learned with: for each currency 15 that hold about as many prices each.

Where a version has no bins of a currency, today's powers of two stand: see `events.price_buckets`.
Shapes: N actions, C currencies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import PRICE_BUCKETS, Actions, Event, actions_of, currency_key, currency_name
from model.kernels.compiled import compiled

EDGES: Final = PRICE_BUCKETS - 2  # lowest prices of a currency's bins but the first
LEAST_PRICES: Final = 150  # of a currency, ten a bin, that bins are made of
MOST_CURRENCIES: Final = 64  # with bins: the first ones of a log
MOST_CATEGORIES: Final = 4_096  # whose prices are counted, each once for a currency: the first ones of a log
_UNEVEN: Final = 2.0  # bins stay until one holds so many times the prices that the fullest of new ones would hold
_ROUNDED: Final = np.uint32(0xFFFFE000)  # bits of a price that count when bins are made: about three digits

_Histogram = tuple[NDArray[np.float32], NDArray[np.int64]]  # prices, rising, and how often each is there
_NO_PRICES: Final[_Histogram] = (np.zeros(0, np.float32), np.zeros(0, np.int64))


class PriceBins:
    """Bins by currency. They are never changed."""

    def __init__(self, edges: Mapping[str, Sequence[float]] = MappingProxyType({})) -> None:
        """`edges`: by currency EDGES lowest prices, which do not fall; "" stands for prices without a currency.

        Raises `ValueError` for others.
        """
        self.edges: Final = {name: tuple(map(float, starts)) for name, starts in edges.items()}
        self._keys = np.array([currency_key(name) for name in self.edges], np.uint64)
        self._starts = np.zeros((len(self.edges), EDGES))
        for row, (name, starts) in enumerate(self.edges.items()):
            if len(starts) != EDGES or not np.isfinite(starts).all() or (np.diff(starts) < 0).any():
                raise ValueError(f"the price bins of {name!r} do not begin at {EDGES} rising prices")
            self._starts[row] = starts
        if len(self.edges) > MOST_CURRENCIES:
            raise ValueError(f"there are price bins of {len(self.edges)} currencies, more than {MOST_CURRENCIES}")

    def __bool__(self) -> bool:
        return bool(self.edges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PriceBins) and self.edges == other.edges

    def __hash__(self) -> int:
        return hash(tuple(self.edges.items()))

    def buckets(self, actions: Actions) -> NDArray[np.uint8]:
        """Returns the buckets of the prices of actions (N,); 0: not given."""
        if not self.edges:
            return actions.prices
        buckets = actions.prices.copy()
        _fill_buckets(self._keys, self._starts, actions.amounts, actions.currencies, buckets)
        return buckets


NO_BINS: Final = PriceBins()


class PriceCounts:
    """Counts the prices of a log, by currency and rounded to about three digits, which bounds their number; and those
    of each category."""

    def __init__(self) -> None:
        self._prices: dict[int, _Histogram] = {}  # by currency
        self._of_categories: dict[tuple[int, int], _Histogram] = {}  # by currency and the category's bucket

    def add(self, actions: Actions) -> None:
        """Counts the prices of some more actions."""
        given = actions.prices > 0
        amounts = np.minimum(actions.amounts[given], np.finfo(np.float32).max)
        prices = (amounts.astype(np.float32).view(np.uint32) & _ROUNDED).view(np.float32)
        currencies = actions.currencies[given]
        for currency in np.unique(currencies).tolist():
            if currency in self._prices or len(self._prices) < MOST_CURRENCIES:
                of_currency = currencies == currency
                self._add(currency, prices[of_currency], actions.categories[given][of_currency])

    def _add(self, currency: int, prices: NDArray[np.float32], categories: NDArray[np.uint16]) -> None:
        self._prices[currency] = _with(self._prices.get(currency, _NO_PRICES), prices)
        order = np.argsort(categories, kind="stable")
        buckets, starts = np.unique(categories[order], return_index=True)
        for bucket, of_category in zip(buckets.tolist(), np.split(prices[order], starts[1:]), strict=True):
            key = currency, bucket
            if bucket and (key in self._of_categories or len(self._of_categories) < MOST_CATEGORIES):
                self._of_categories[key] = _with(self._of_categories.get(key, _NO_PRICES), of_category)

    def of_categories(self) -> Iterator[tuple[str, int, NDArray[np.float32], NDArray[np.int64]]]:
        """Yields of each category with prices: their currency, its bucket, the prices, rising, and how often each is
        there."""
        for (currency, bucket), (prices, counts) in self._of_categories.items():
            yield currency_name(currency), bucket, prices, counts

    def bins(self, known: PriceBins = NO_BINS) -> PriceBins:
        """Makes bins; those of a currency that are known stay as long as prices fall into them about evenly.

        So what users' sequences hold means the same to one version after the other.
        """
        edges = dict(known.edges)
        for currency, (prices, counts) in self._prices.items():
            name = currency_name(currency)
            fresh = _even(prices, counts)
            kept = edges.get(name)
            if counts.sum() >= LEAST_PRICES and (
                kept is None or _fullest(prices, counts, kept) > _UNEVEN * _fullest(prices, counts, fresh)
            ):
                edges[name] = fresh
        return PriceBins(dict(list(edges.items())[:MOST_CURRENCIES]))


def _with(known: _Histogram, prices: NDArray[np.float32]) -> _Histogram:
    """Returns a histogram with some more prices."""
    distinct, rows = np.unique(np.concatenate((known[0], prices)), return_inverse=True)
    weights = np.concatenate((known[1], np.ones(len(prices), np.int64)))
    return distinct, np.bincount(rows, weights, len(distinct)).astype(np.int64)


def price_bins_of(actions: Actions) -> PriceBins:
    """Makes the bins of a log."""
    counts = PriceCounts()
    counts.add(actions)
    return counts.bins()


@cache
def warm_up() -> None:
    """Calls the compiled loop once, so that no event has to wait for the first call."""
    PriceBins({"": range(EDGES)}).buckets(actions_of([Event("user", "view", "item", price=1.0)], [0]))


def _even(prices: NDArray[np.float32], counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Returns the lowest prices of bins that hold about as many prices each."""
    until = np.cumsum(counts)
    wanted = until[-1] * np.arange(1, EDGES + 1) / (EDGES + 1)
    return tuple(prices[np.searchsorted(until, wanted, side="right")].tolist())


def _fullest(prices: NDArray[np.float32], counts: NDArray[np.int64], starts: Sequence[float]) -> int:
    """Returns how many prices the bin holds that holds most."""
    return int(np.bincount(np.searchsorted(starts, prices, side="right"), counts).max())


@compiled
def _fill_buckets(
    keys: NDArray[np.uint64],
    starts: NDArray[np.float64],
    amounts: NDArray[np.float64],
    currencies: NDArray[np.uint64],
    buckets: NDArray[np.uint8],
) -> None:
    """Fills in the buckets (N,) of the prices that have one and are in a currency with bins (C,)."""
    for n in range(len(buckets)):
        if buckets[n] != 0:
            row = 0
            while row < len(keys) and keys[row] != currencies[n]:
                row += 1
            if row < len(keys) and amounts[n] == amounts[n]:
                bucket = 1
                while bucket <= starts.shape[1] and amounts[n] >= starts[row, bucket - 1]:
                    bucket += 1
                buckets[n] = bucket
