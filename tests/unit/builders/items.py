"""Strategies of items."""

from __future__ import annotations

from hypothesis import strategies as st

from model.items.item import Item, Offer

FEW = st.sampled_from(["a", "b", "ä", "\0", "c d"])  # texts that are often equal
NUMBERS = st.none() | st.floats(0, 1e6)
OFFERS = st.builds(Offer, NUMBERS, FEW | st.just(""), st.none() | st.booleans())
MARKETS = st.sampled_from(["DE", "FR", "CN"])


def items(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Item]:
    """Items with these ids, as the catalogue gives them back: one with a stock is known to be available or not."""
    return st.builds(
        Item,
        ids,
        title=FEW | st.just(""),
        category=st.lists(FEW, max_size=3).map(tuple),
        brand=FEW | st.just(""),
        group=FEW | st.just(""),
        price=NUMBERS,
        currency=FEW | st.just(""),
        available=st.booleans(),
        stock=NUMBERS,
        tags=st.lists(FEW, max_size=3).map(tuple),
        released=st.none() | st.integers(0, 2**50),
        markets=st.dictionaries(MARKETS, OFFERS, max_size=3),
    )
