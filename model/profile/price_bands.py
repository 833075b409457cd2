"""Price bands: five of a currency, and of a category that has enough prices, which hold about as many prices each.

Shapes: N actions, R rows of edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.events import Actions, currency_key, currency_name
from model.kernels.compiled import compiled
from model.profile.counting import BANDS

LEAST_PRICES: Final = 200  # of a category with bands of its own
MOST_ROWS: Final = 4_096  # of edges of categories
_ANY: Final = 0  # in place of a category's bucket: all of a currency

Edges = tuple[float, float, float, float]  # the lowest prices of the bands but the first


class PriceBands(msgspec.Struct, frozen=True):
    """The edges of bands; "" stands for prices without a currency."""

    currencies: Mapping[str, Edges] = {}
    categories: Mapping[str, Mapping[int, Edges]] = {}  # by currency, then by the category's bucket

    def check(self) -> None:
        """Raises ValueError for edges that fall, or are not finite."""
        rows = [*self.currencies.values(), *(edges for of in self.categories.values() for edges in of.values())]
        if len(rows) > 2 * MOST_ROWS:
            raise ValueError(f"there are {len(rows)} rows of price bands")
        if rows and not (np.isfinite(rows).all() and (np.diff(rows, axis=1) >= 0).all()):
            raise ValueError("the edges of price bands are not rising numbers")


class BandTable:
    """`PriceBands`, ready to look prices up."""

    def __init__(self, bands: PriceBands) -> None:
        rows = [(currency_key(name), _ANY, edges) for name, edges in bands.currencies.items()]
        for name, of_currency in bands.categories.items():
            rows += [(currency_key(name), bucket, edges) for bucket, edges in of_currency.items()]
        rows.sort(key=lambda row: row[:2])
        self._table = _Rows(
            np.array([row[0] for row in rows], np.uint64),
            np.array([row[1] for row in rows], np.uint64),
            np.array([row[2] for row in rows], np.float64).reshape(len(rows), BANDS - 1),
        )

    def __len__(self) -> int:
        return len(self._table.currencies)

    def bands_of(self, actions: Actions) -> NDArray[np.uint8]:
        """Returns the bands of the prices of actions (N,), from 1 on; 0: not given, or the currency has none."""
        bands = np.zeros(len(actions.types), np.uint8)
        if len(self):
            _fill(self._table, actions.currencies, actions.categories, actions.amounts, bands)
        return bands

    def rows_of(self, currencies: NDArray[np.uint64], categories: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Returns the rows (N,) that hold for currencies and buckets of categories; -1: there is none."""
        found = np.full(len(currencies), -1)
        if len(self):
            _find_rows(self._table, currencies, categories, found)
        return found

    def limits(self) -> list[tuple[str, float | None, float | None]]:
        """Returns currency, lowest and highest price of every band of every row (R x BANDS); None: without a bound."""
        names = [currency_name(key) for key in self._table.currencies.tolist()]
        return [
            (name, *pair)
            for name, edges in zip(names, self._table.edges.tolist(), strict=True)
            for pair in _pairs(edges)
        ]


class _Rows(NamedTuple):
    currencies: NDArray[np.uint64]  # (R,) rising
    categories: NDArray[np.uint64]  # (R,) rising within a currency
    edges: NDArray[np.float64]  # (R, BANDS - 1)


NO_BANDS: Final = BandTable(PriceBands())


def edges_of(prices: Sequence[float] | NDArray[np.float64]) -> Edges:
    """Returns the edges of bands that hold about as many of the prices each."""
    first, second, third, fourth = np.quantile(prices, np.arange(1, BANDS) / BANDS, method="higher").tolist()
    return first, second, third, fourth


def _pairs(edges: Sequence[float]) -> list[tuple[float | None, float | None]]:
    return list(zip([None, *edges], [*edges, None], strict=True))


@compiled
def _row_of(rows: _Rows, currency: np.uint64, category: np.uint64) -> int:
    """Returns the row of a category in a currency, else the currency's, else -1."""
    begin = np.searchsorted(rows.currencies, currency)
    end = np.searchsorted(rows.currencies, currency, side="right")
    if begin == end:
        return -1
    at = begin + np.searchsorted(rows.categories[begin:end], category)
    if category != _ANY and at < end and rows.categories[at] == category:
        return int(at)
    return int(begin) if rows.categories[begin] == _ANY else -1


@compiled
def _find_rows(
    rows: _Rows, currencies: NDArray[np.uint64], categories: NDArray[np.uint64], found: NDArray[np.int64]
) -> None:
    for n in range(len(found)):
        found[n] = _row_of(rows, currencies[n], categories[n])


@compiled
def _fill(
    rows: _Rows,
    currencies: NDArray[np.uint64],
    categories: NDArray[np.uint16],
    amounts: NDArray[np.float64],
    bands: NDArray[np.uint8],
) -> None:
    for n in range(len(bands)):
        if amounts[n] != amounts[n]:
            continue
        row = _row_of(rows, currencies[n], np.uint64(categories[n]))
        if row >= 0:
            band = 1
            for edge in range(rows.edges.shape[1]):
                band += amounts[n] >= rows.edges[row, edge]
            bands[n] = band
