"""What an action does not say of its item, the catalogue says: compared with the rule, written plainly for an event."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.events import ARRAYS, Actions, Event, actions_of
from model.items.attributes import completed
from model.items.catalogue import ItemCatalogue
from model.items.item import Item
from tests.unit.builders.basics import words_of_searches
from tests.unit.builders.items import FEW, MARKETS, NUMBERS, items

IDS = st.sampled_from(["1", "2", "3"])
EVENTS = st.builds(
    Event,
    st.just("ada"),
    st.sampled_from(["view", "search", "cart"]),
    IDS | st.just("unknown"),
    st.just("1"),  # a query whose words could be an item's id
    category=st.none() | FEW | st.just(""),
    brand=st.none() | FEW,
    price=NUMBERS,
    currency=st.sampled_from([None, "", "eur", "CHF"]),
    market=st.none() | MARKETS | st.just("nowhere") | st.just(""),
)


def plainly(event: Event, item: Item | None) -> Event:
    """An event that says itself what the catalogue says of its item."""
    if item is None or event.type == "search":
        return event
    given = item.markets.get(event.market or "")
    price, currency = item.price, item.currency
    if given is not None and given.price is not None:
        price, currency = given.price, given.currency or item.currency
    return Event(
        event.user_id,
        event.type,
        event.item_id,
        event.query,
        category=event.category or " > ".join(item.category),
        brand=event.brand or item.brand,
        price=price if event.price is None else event.price,
        currency=currency if event.price is None and price is not None else event.currency,
    )


def same(actions: Actions, others: Actions) -> bool:
    columns = ("users", "items", *ARRAYS)
    pairs = [(name, getattr(actions, name), getattr(others, name)) for name in columns]
    found = all(np.array_equal(one, other, equal_nan=name == "amounts") for name, one, other in pairs)
    return found and words_of_searches(actions) == words_of_searches(others)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=8), st.lists(items(IDS), unique_by=lambda item: item.item_id))
def test_an_action_is_as_if_its_event_had_said_it(events: list[Event], known: list[Item]) -> None:
    catalogue, by_id = ItemCatalogue(), {item.item_id: item for item in known}
    catalogue.apply(known, [0] * len(known))
    times = [0] * len(events)
    given = actions_of(events, times)
    found = completed(given, [event.market for event in events], catalogue)
    assert same(found, actions_of([plainly(event, by_id.get(event.item_id or "")) for event in events], times))
    assert same(given, actions_of(events, times)), "the given actions stay as they were"
