"""The bins of prices: about as many prices in each, the same in pieces and at once, or today's."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import Actions, Event, actions_of, currency_key, currency_name, price_buckets
from model.data.price_bins import (
    EDGES,
    LEAST_PRICES,
    MOST_CURRENCIES,
    NO_BINS,
    PriceBins,
    PriceCounts,
    price_bins_of,
)

EVEN = tuple(float(number) for number in range(10, 10 * (EDGES + 1), 10))  # a bin for each ten


def priced(*prices: tuple[float | None, str | None]) -> Actions:
    events = [Event("u", "view", "i", price=price, currency=currency) for price, currency in prices]
    return actions_of(events, [0] * len(events))


def of_log(seed: int, count: int, currency: str | None, factor: float = 1.0) -> Actions:
    amounts = factor * np.random.default_rng(seed).lognormal(3, 1, count)
    return priced(*((amount, currency) for amount in amounts.tolist()))


def test_bins_hold_about_as_many_prices_each_in_every_currency() -> None:
    logs = {"EUR": of_log(1, 3000, "EUR"), "JPY": of_log(2, 3000, "jpy ", 170.0), "": of_log(3, 3000, None)}
    counts = PriceCounts()
    for log in logs.values():
        counts.add(log)
    bins = counts.bins()
    assert set(bins.edges) == set(logs)
    for log in logs.values():
        found = Counter(bins.buckets(log).tolist())
        assert set(found) == set(range(1, 16))
        assert max(abs(number - 200) for number in found.values()) <= 12


@given(st.lists(st.tuples(st.floats(0, 1e300), st.sampled_from(["EUR", "CHF", None])), max_size=60), st.integers(1, 59))
def test_a_log_in_pieces_gives_the_same_bins(prices: list[tuple[float, str | None]], cut: int) -> None:
    prices = prices * LEAST_PRICES  # enough of each
    whole, pieces = price_bins_of(priced(*prices)), PriceCounts()
    for part in (prices[cut:], prices[:cut]):
        pieces.add(priced(*part))
    assert pieces.bins() == whole
    for name, starts in whole.edges.items():
        own = np.sort([price for price, currency in prices if (currency or "") == name])
        wanted = own[[len(own) * n // (EDGES + 1) for n in range(1, EDGES + 1)]]
        np.testing.assert_allclose(starts, np.minimum(wanted, np.finfo(np.float32).max), rtol=1 / 1000, atol=1e-37)


def test_a_price_falls_into_the_bin_that_begins_at_or_below_it() -> None:
    bins = PriceBins({"EUR": EVEN, "": [2 * start for start in EVEN]})
    actions = priced((0, "EUR"), (9.99, "eur"), (10, "EUR"), (1e9, "EUR"), (10, None), (20, ""), (None, "EUR"))
    assert bins.buckets(actions).tolist() == [1, 1, 2, 15, 1, 2, 0]


def test_without_bins_todays_rule_stands() -> None:
    actions = priced((3.5, "EUR"), (100, "USD"), (None, None), (7, None))
    today = price_buckets([3.5, 100, None, 7]).tolist()
    assert NO_BINS.buckets(actions).tolist() == today
    assert not NO_BINS
    assert PriceBins({"CHF": EVEN}).buckets(actions).tolist() == today
    assert PriceBins({"USD": EVEN}).buckets(actions).tolist() == [today[0], 11, 0, today[3]]


def test_few_prices_make_no_bins() -> None:
    assert price_bins_of(of_log(1, LEAST_PRICES - 1, "EUR")) == NO_BINS
    assert price_bins_of(of_log(1, LEAST_PRICES, "EUR")) != NO_BINS
    assert price_bins_of(priced(*[(None, "EUR")] * 1000)) == NO_BINS


def test_known_bins_stay_until_prices_no_longer_fall_into_them_evenly() -> None:
    counts = PriceCounts()
    counts.add(of_log(1, 3000, "EUR"))
    before = counts.bins()
    for factor, stays in ((1.0, True), (1.1, True), (3.0, False)):
        later = PriceCounts()
        later.add(of_log(2, 3000, "EUR", factor))
        later.add(of_log(3, 1000, "USD"))
        after = later.bins(before)
        assert (after.edges["EUR"] == before.edges["EUR"]) is stays
        assert "USD" in after.edges
    assert PriceCounts().bins(before) == before
    one_price = PriceCounts()
    one_price.add(priced(*[(9.99, "EUR")] * 1000))
    assert set(one_price.bins(before).buckets(priced((9.98, "EUR"), (9.99, "EUR"))).tolist()) <= set(range(1, 16))


def test_there_are_bins_of_so_many_currencies() -> None:
    counts = PriceCounts()
    for number in range(MOST_CURRENCIES + 5):
        counts.add(of_log(number, LEAST_PRICES, f"C{number}"))
    assert len(counts.bins().edges) == MOST_CURRENCIES
    assert len(counts.bins(PriceBins({f"D{number}": EVEN for number in range(60)})).edges) == MOST_CURRENCIES


@pytest.mark.parametrize(
    "edges",
    [
        {"EUR": EVEN[1:]},
        {"EUR": (*EVEN, 1e6)},
        {"EUR": EVEN[::-1]},
        {"EUR": (math.nan, *EVEN[1:])},
        {"EUR": (*EVEN[:-1], math.inf)},
        {f"C{number}": EVEN for number in range(MOST_CURRENCIES + 1)},
    ],
)
def test_what_are_no_bins_is_refused(edges: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="price bins of"):
        PriceBins(edges)


@given(st.text())
def test_a_currency_comes_back_from_its_key(currency: str) -> None:
    key = currency_key(currency)
    assert 0 <= key < 2**64
    assert currency_key(currency_name(key)) == key
    assert (key == 0) == (not currency.strip().strip("\0"))


def test_currencies_are_the_same_in_any_case_and_told_apart() -> None:
    assert currency_key("eur ") == currency_key("EUR")
    names = ["EUR", "USD", "", "人民币", "a currency of its own", "a currency of its own 2"]
    assert len({currency_key(name) for name in names}) == len(names)
    assert [currency_name(currency_key(name)) for name in ("eur", "€", "")] == ["EUR", "€", ""]
