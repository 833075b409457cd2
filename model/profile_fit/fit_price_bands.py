"""Fits price bands to the prices of a log: those of a currency follow its bins, those of a category are its own."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np

from model.data.price_bins import EDGES, PriceBins, PriceCounts
from model.profile.counting import BANDS
from model.profile.price_bands import LEAST_PRICES, Edges, PriceBands, edges_of

_PER_BAND: Final = (EDGES + 1) // BANDS  # bins


def fit_price_bands(prices: PriceCounts, bins: PriceBins) -> PriceBands:
    """Returns the bands of the currencies that have bins, and of the categories with enough prices in them.

    A band of a currency is so many bins, so that what contexts hold says the band, too.
    """
    categories: defaultdict[str, dict[int, Edges]] = defaultdict(dict)
    for currency, bucket, values, counts in prices.of_categories():
        if currency in bins.edges and counts.sum() >= LEAST_PRICES:
            categories[currency][bucket] = edges_of(np.repeat(values.astype(np.float64), counts))
    return PriceBands({name: _every_third(edges) for name, edges in bins.edges.items()}, dict(categories))


def _every_third(edges: tuple[float, ...]) -> Edges:
    first, second, third, fourth = edges[_PER_BAND - 1 :: _PER_BAND]
    return first, second, third, fourth
