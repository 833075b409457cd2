"""What a shopper did: the event of the contract, and its columns as the model reads them.

An action is a type and a key of 64 bits: the stable hash of an item id or, for a search, of its normalised text, whose
words stand beside it (`data/queries.py`). What else the model reads about an action fits into 32 bits, the context
(`data/contexts.py`). All are independent of any vocabulary, so a stored sequence stays valid when the vocabulary grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.data.queries import QueryWords, joined_queries, read_queries

EVENT_TYPES: Final = ("click", "search", "purchase", "view", "cart", "favorite", "remove")
TYPE_CODES: Final = {name: code for code, name in enumerate(EVENT_TYPES)}
SEARCH: Final = TYPE_CODES["search"]
PURCHASE: Final = TYPE_CODES["purchase"]
REMOVE: Final = TYPE_CODES["remove"]

PRICE_BUCKETS: Final = 16  # 0: not given
CATEGORY_BUCKETS: Final = 1024  # 0: not given
BRAND_BUCKETS: Final = 512  # 0: not given

MOST_LINES: Final = 32  # actions of one event that enter a user's sequence, the first ones; baskets can have hundreds
NO_TIME: Final = np.iinfo(np.int64).min  # before a user's first action, or where the time is unknown
SESSION_GAP_MS: Final = 30 * 60 * 1000  # the convention of web analytics where events have no session_id
PURCHASE_HORIZON: Final = 10  # events: a coming purchase is one among the user's next 10 …
PURCHASE_WITHIN_MS: Final = SESSION_GAP_MS  # … and within this time, so that its absence becomes known, too

_PRICE_STARTS: Final = 2.0 ** np.arange(PRICE_BUCKETS - 1) - 1  # the lowest price of each bucket from 1 on
_CURRENCIES: Final = 1_024  # whose keys are remembered
_HASHED: Final = "HASH "  # before what stands for the name of a currency that is only known by its hash
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, near the golden ratio of 2**64 (Knuth, multiplicative hashing)

ID_LENGTH: Final = 256  # characters, at most
MOST_NAMES: Final = 65_536  # of a table; real shops have some thousands of categories and of brands
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
Price = Annotated[float, msgspec.Meta(ge=0)]


class Line(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One line of an event that names several items, such as a basket; unknown fields are ignored."""

    item_id: Id
    category: str | None = None
    brand: str | None = None
    currency: str | None = None
    price: Price | None = None
    quantity: float | None = None


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One event as published to the events topic; unknown fields are ignored."""

    user_id: Id
    type: str
    item_id: Id | None = None
    query: str | None = None
    timestamp: str | int | float | None = None
    event_id: str | None = None
    session_id: str | None = None
    category: str | None = None
    brand: str | None = None
    currency: str | None = None
    price: Price | None = None
    quantity: float | None = None
    market: str | None = None
    items: list[Line] | None = None  # instead of `item_id`, for several items; an action has none


class NameTable:
    """Names by their keys: the first ones that come, as many as there is room for."""

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def keys_of(self, names: Sequence[str | None]) -> NDArray[np.uint64]:
        """Returns the keys of names, (N,), and keeps the names; 0: not given."""
        known, column = self._keys, []
        for name in names:
            if not name:
                column.append(0)
                continue
            key = known.get(name)
            column.append(self._add(name) if key is None else key)
        return np.array(column, np.uint64)

    def missing(self, keys: NDArray[np.uint64]) -> list[int]:
        """Returns which of the keys (N,) stand for a name that there is room for and that is not kept, each once."""
        if len(self._names) >= MOST_NAMES:
            return []
        return [key for key in np.unique(keys).tolist() if key and key not in self._names]

    def since(self, number: int) -> list[tuple[int, str]]:
        """Returns keys and names in the order in which they came, without the first ones."""
        return list(islice(self._names.items(), number, None))

    def _add(self, name: str) -> int:
        key = stable_hash(name)
        if len(self._names) < MOST_NAMES and len(name) <= ID_LENGTH:
            self._keys[name] = key
            self._names[key] = name
        return key


class ItemNames:
    """What categories and brands are called, which records know by their keys, and the model by their buckets."""

    def __init__(self) -> None:
        self.categories = NameTable()
        self.brands = NameTable()


@dataclass(frozen=True, slots=True)
class Actions:
    """N actions as columns, in log order; every array is (N,)."""

    users: list[str]
    items: list[str]  # ids; "" for a search
    queries: QueryWords  # the words of the searches among them, and perhaps of others
    types: NDArray[np.uint8]
    item_keys: NDArray[np.uint64]
    times: NDArray[np.int64]  # milliseconds since the epoch, by `event_time.judge_times`; NO_TIME: unknown
    event_ids: NDArray[np.uint64]  # hash; 0: not given
    sessions: NDArray[np.uint64]  # hash of the session id; 0: not given
    prices: NDArray[np.uint8]  # bucket by `price_buckets`; 0: not given
    amounts: NDArray[np.float64]  # the prices themselves; NaN where they are not given or not known
    currencies: NDArray[np.uint64]  # of these, by `currency_key`
    categories: NDArray[np.uint16]  # bucket
    brands: NDArray[np.uint16]  # bucket
    category_keys: NDArray[np.uint64]  # by `NameTable`; 0: not given, or only the bucket is known
    brand_keys: NDArray[np.uint64]  # as `category_keys`
    lines: NDArray[np.uint16]  # of the action in its event, from 0: above 0 it continues the event of the one before

    def __len__(self) -> int:
        return len(self.users)

    def take(self, indices: NDArray[np.int64]) -> Actions:
        """Returns the actions at some indices, which must rise."""
        if len(indices) == len(self):
            return self
        return Actions(
            users=[self.users[index] for index in indices.tolist()],
            items=[self.items[index] for index in indices.tolist()],
            queries=self.queries,
            **{name: getattr(self, name)[indices] for name in ARRAYS},
        )

    def in_sequences(self) -> Actions:
        """Returns the actions that enter the sequences of users: of each event the first MOST_LINES."""
        return self.take(np.flatnonzero(self.lines < MOST_LINES))


ARRAYS: Final = tuple(name for name in Actions.__slots__ if name not in ("users", "items", "queries"))


def actions_of(
    events: Sequence[Event],
    times: Sequence[int] | NDArray[np.int64],
    lines: Sequence[int] = (),
    names: ItemNames | None = None,
) -> Actions:
    """Returns the columns of valid events of one action each, whose types are names of EVENT_TYPES; returns count as
    `remove`.

    `times` and `lines` as in `Actions`; by default no action continues the event of the one before. `names` keeps what
    categories and brands are called.
    """
    names = names or ItemNames()
    types = np.array([TYPE_CODES[event.type] for event in events], np.uint8)
    types[[n for n, event in enumerate(events) if event.quantity is not None and is_return(event)]] = REMOVE
    item_keys = np.array([stable_hash(event.item_id or "") for event in events], np.uint64)
    prices = [event.price for event in events]
    searches = np.flatnonzero(types == SEARCH)
    item_keys[searches], queries = read_queries([events[index].query or "" for index in searches.tolist()])
    categories = names.categories.keys_of([event.category for event in events])
    brands = names.brands.keys_of([event.brand for event in events])
    return Actions(
        users=[event.user_id for event in events],
        items=["" if event.type == "search" else event.item_id or "" for event in events],
        queries=queries,
        types=types,
        item_keys=item_keys,
        times=np.array(times, np.int64),
        event_ids=text_hashes([event.event_id for event in events]),
        sessions=text_hashes([event.session_id for event in events]),
        prices=price_buckets(prices),
        amounts=np.array(prices, np.float64),  # None becomes NaN
        currencies=currency_keys([event.currency for event in events]),
        categories=buckets_of_keys(categories, CATEGORY_BUCKETS),
        brands=buckets_of_keys(brands, BRAND_BUCKETS),
        category_keys=categories,
        brand_keys=brands,
        lines=np.array(lines or [0] * len(events), np.uint16),
    )


def concatenate(logs: Sequence[Actions]) -> Actions:
    """Joins the actions of several logs, one after the other."""
    if not logs:
        return actions_of([], [])
    return Actions(
        users=[user for log in logs for user in log.users],
        items=[item for log in logs for item in log.items],
        queries=joined_queries([log.queries for log in logs]),
        **{name: np.concatenate([getattr(log, name) for log in logs]) for name in ARRAYS},
    )


def is_return(event: Event) -> bool:
    """Tells whether an event gives back what was bought: a purchase of less than nothing, which counts as `remove`."""
    return event.type == "purchase" and event.quantity is not None and event.quantity < 0


def on_wanted_items(types: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tells of actions by their types whether they are on items that somebody wants, as targets are."""
    wanted: NDArray[np.bool_] = (types != SEARCH) & (types != REMOVE)
    return wanted


def stable_hash(text: str) -> int:
    """Hashes a text to 64 bits: XXH3 of its UTF-8, the same in every process, on every machine, for ever."""
    return xxh3_64_intdigest(text.encode())


def item_key(item_id: str) -> int:
    """Returns the 64-bit key of an item: the stable hash of its id."""
    return stable_hash(item_id)


def currency_keys(currencies: Sequence[str | None]) -> NDArray[np.uint64]:
    """Returns the keys of currencies as shops write them, (N,); 0: not given, which is a currency like others."""
    return np.array([currency_key(currency) if currency else 0 for currency in currencies], np.uint64)


@lru_cache(_CURRENCIES)
def currency_key(currency: str) -> int:
    """Returns 64 bits that stand for a currency: its letters in upper case or, of more than eight bytes, their hash."""
    name = currency.strip().upper()
    if name.startswith(_HASHED) and len(name) == len(_HASHED) + 16:
        return int(name.removeprefix(_HASHED), 16)
    packed = name.encode()
    return int.from_bytes(packed, "little") if len(packed) <= 8 else stable_hash(name)


def currency_name(key: int) -> str:
    """Returns a text whose `currency_key` is a key: the currency, or "hash " and its hash."""
    with suppress(UnicodeDecodeError):
        name = key.to_bytes(8, "little").rstrip(b"\0").decode()
        if currency_key(name) == key:
            return name
    return f"{_HASHED}{key:016X}"


def price_buckets(prices: Sequence[float | None]) -> NDArray[np.uint8]:
    """Returns 1 + floor(log2(1 + price)), at most 15, for each price; 0: not given."""
    given = np.array([-1.0 if price is None or price != price else price for price in prices], np.float64)
    return _PRICE_STARTS.searchsorted(given, side="right").astype(np.uint8)


def buckets_of_keys(keys: NDArray[np.uint64], buckets: int) -> NDArray[np.uint16]:
    """Returns the buckets of the keys of names, 1..buckets-1; 0: not given."""
    return np.where(keys == 0, 0, 1 + keys % np.uint64(buckets - 1)).astype(np.uint16)


def name_keys(texts: Sequence[str | None]) -> NDArray[np.uint64]:
    """Returns the keys of categories or brands, (N,), as a `NameTable` does; 0: not given."""
    return np.array([stable_hash(text) if text else 0 for text in texts], np.uint64)


def text_buckets(texts: Sequence[str | None], buckets: int) -> NDArray[np.uint16]:
    """Returns the hash buckets of texts, 1..buckets-1; 0: not given."""
    return buckets_of_keys(name_keys(texts), buckets)


def text_hashes(texts: Sequence[str | None]) -> NDArray[np.uint64]:
    """Returns the stable hashes of texts; 0: not given."""
    return np.array([stable_hash(text) or 1 if text else 0 for text in texts], np.uint64)


def event_keys(owners: NDArray[np.uint64], event_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns 64 bits for each pair of an owner and an event id, (N,); two pairs share them by chance alone."""
    return event_ids + owners * _MIXER
