"""Bands of prices: compared with a look-up in dictionaries."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.events import Event, actions_of, text_buckets
from model.profile.price_bands import BandTable, Edges, PriceBands, edges_of

EDGES = st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0, 100.0]), min_size=4, max_size=4).map(
    lambda row: tuple(sorted(row))
)
CURRENCIES = st.sampled_from(["", "EUR", "CHF", "a currency with a long name"])
CATEGORIES = ["c1", "c2", "c3"]
BUCKET_OF = dict(zip(CATEGORIES, text_buckets(CATEGORIES, 1024).tolist(), strict=True))


@settings(deadline=None)
@given(
    st.dictionaries(CURRENCIES, EDGES),
    st.dictionaries(CURRENCIES, st.dictionaries(st.sampled_from(CATEGORIES).map(BUCKET_OF.get), EDGES)),
    st.lists(
        st.tuples(
            st.none() | CURRENCIES,
            st.none() | st.sampled_from(CATEGORIES),
            st.none() | st.sampled_from([0.0, 1.0, 2.4, 9.0, 1e9]),
        ),
        max_size=9,
    ),
)
def test_a_price_is_in_the_band_of_its_category_or_its_currency(
    currencies: dict[str, Edges],
    categories: dict[str, dict[int, Edges]],
    given_prices: list[tuple[str | None, str | None, float | None]],
) -> None:
    bands = PriceBands(currencies, categories)
    bands.check()
    table = BandTable(bands)
    events = [
        Event("u", "view", "i", price=price, currency=currency, category=category)
        for currency, category, price in given_prices
    ]
    found = table.bands_of(actions_of(events, [0] * len(events))).tolist()
    for event, band in zip(events, found, strict=True):
        currency = event.currency or ""
        edges = categories.get(currency, {}).get(BUCKET_OF.get(event.category or "", -1), currencies.get(currency))
        wanted = 0 if edges is None or event.price is None else 1 + bisect_right(edges, event.price)
        assert band == wanted


def test_edges_part_prices_evenly() -> None:
    assert edges_of(np.arange(1.0, 101.0)) == (21.0, 41.0, 61.0, 81.0)
    limits = BandTable(PriceBands({"EUR": (1, 2, 3, 4)})).limits()
    assert limits == [("EUR", None, 1), ("EUR", 1, 2), ("EUR", 2, 3), ("EUR", 3, 4), ("EUR", 4, None)]


@pytest.mark.parametrize("edges", [(1, 2, 3, float("nan")), (4, 3, 2, 1)])
def test_edges_that_do_not_rise_are_refused(edges: Edges) -> None:
    with pytest.raises(ValueError, match="not rising numbers"):
        PriceBands({"EUR": edges}).check()
