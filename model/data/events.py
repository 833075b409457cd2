"""What a shopper did: the event of the contract, and its columns as the model reads them.

An action is a word of two parts, (type, object). The object is 64 bits: the stable hash of an item id or, for a
search, the hashed words of the query. What else the model reads about an action fits into 32 bits, the context.
Both are independent of any vocabulary, so a stored sequence stays valid when the vocabulary grows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

EVENT_TYPES: Final = ("click", "search", "purchase", "view", "cart", "favorite", "remove")
TYPE_CODES: Final = {name: code for code, name in enumerate(EVENT_TYPES)}
SEARCH: Final = TYPE_CODES["search"]
PURCHASE: Final = TYPE_CODES["purchase"]

PRICE_BUCKETS: Final = 16  # 0: no price given
CATEGORY_BUCKETS: Final = 1024  # 0: no category given
BRAND_BUCKETS: Final = 512  # 0: no brand given
WORD_BUCKETS: Final = 4096  # 0: no word
QUERY_WORDS: Final = 5  # of 12 bits each, in the 64 bits of the object


NO_TIME: Final = np.iinfo(np.int64).min  # of the action before a user's first, or where no time is known
SESSION_GAP_MS: Final = 30 * 60 * 1000  # the web-analytics convention where no session_id is given
PURCHASE_HORIZON: Final = 10  # a coming purchase is one among the user's next 10 actions …
PURCHASE_WITHIN_MS: Final = SESSION_GAP_MS  # … and soon enough, so that it is known some time that none came

_WORD = re.compile(r"\w+")
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, near the golden ratio of 2**64 (Knuth, multiplicative hashing)


ID_LENGTH: Final = 256  # characters, at most
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
Price = Annotated[float, msgspec.Meta(ge=0)]


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


@dataclass(frozen=True, slots=True)
class Actions:
    """N actions as columns, in log order; every array has shape (N,)."""

    users: list[str]
    items: list[str]  # "" for a search
    types: NDArray[np.uint8]
    item_keys: NDArray[np.uint64]
    times: NDArray[np.int64]  # milliseconds since the epoch, by `event_time.judged`; NO_TIME: unknown
    event_ids: NDArray[np.uint64]  # hash; 0: none given
    sessions: NDArray[np.uint64]  # hash; 0: none given
    prices: NDArray[np.uint8]  # bucket
    categories: NDArray[np.uint16]  # bucket
    brands: NDArray[np.uint16]  # bucket

    def __len__(self) -> int:
        return len(self.users)

    def take(self, places: NDArray[np.int64]) -> Actions:
        """The actions at ascending places."""
        if len(places) == len(self):
            return self
        return Actions(
            users=[self.users[place] for place in places.tolist()],
            items=[self.items[place] for place in places.tolist()],
            **{name: getattr(self, name)[places] for name in self.__slots__[2:]},
        )


def actions_of(events: Sequence[Event], times: Sequence[int] | NDArray[np.int64]) -> Actions:
    """Columns of valid events (types are names of EVENT_TYPES); `times` as in `Actions`."""
    types = np.array([TYPE_CODES[event.type] for event in events], np.uint8)
    return Actions(
        users=[event.user_id for event in events],
        items=["" if event.type == "search" else event.item_id or "" for event in events],
        types=types,
        item_keys=np.array([_object(event) for event in events], np.uint64),
        times=np.array(times, np.int64),
        event_ids=text_hashes([event.event_id for event in events]),
        sessions=text_hashes([event.session_id for event in events]),
        prices=price_buckets([event.price for event in events]),
        categories=text_buckets([event.category for event in events], CATEGORY_BUCKETS),
        brands=text_buckets([event.brand for event in events], BRAND_BUCKETS),
    )


def concatenate(parts: Sequence[Actions]) -> Actions:
    """All actions of several logs, one after the other."""
    if not parts:
        return actions_of([], [])
    return Actions(
        users=[user for part in parts for user in part.users],
        items=[item for part in parts for item in part.items],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Actions.__slots__[2:]},
    )


def stable_hash(text: str) -> int:
    """64 bits of a text, XXH3 of its UTF-8, the same in every process and version."""
    return xxh3_64_intdigest(text.encode())


def item_key(item_id: str) -> int:
    """The 64-bit key of an item: the stable hash of its id."""
    return stable_hash(item_id)


def query_key(query: str) -> int:
    """The first words of a query, case-folded and hashed to 12 bits each; the first word lowest."""
    packed = 0
    for place, word in enumerate(_WORD.findall(query.casefold())[:QUERY_WORDS]):
        packed |= (1 + stable_hash(word) % (WORD_BUCKETS - 1)) << (12 * place)
    return packed


def query_words(item_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Word buckets of search objects, shape (..., QUERY_WORDS); 0 where there is no word."""
    shifts = np.arange(QUERY_WORDS, dtype=np.uint64) * np.uint64(12)
    return ((item_keys[..., None] >> shifts) & np.uint64(WORD_BUCKETS - 1)).astype(np.int64)


def price_buckets(prices: Sequence[float | None]) -> NDArray[np.uint8]:
    """1 + floor(log2(1 + price)), at most 15; 0 where no price is given."""
    given = np.array([np.nan if price is None else price for price in prices], np.float64)
    buckets = np.minimum(1 + np.floor(np.log2(1 + given)), PRICE_BUCKETS - 1)
    found: NDArray[np.uint8] = np.nan_to_num(buckets, nan=0.0).astype(np.uint8)
    return found


def text_buckets(texts: Sequence[str | None], buckets: int) -> NDArray[np.uint16]:
    """Hash buckets 1..buckets-1 of texts; 0 where none is given."""
    seen: dict[str, int] = {}
    found = []
    for text in texts:
        if not text:
            found.append(0)
            continue
        bucket = seen.get(text)
        if bucket is None:
            bucket = seen[text] = 1 + stable_hash(text) % (buckets - 1)
        found.append(bucket)
    return np.array(found, np.uint16)


def text_hashes(texts: Sequence[str | None]) -> NDArray[np.uint64]:
    """XXH3 of texts in UTF-8; 0 where none is given."""
    return np.array([stable_hash(text) or 1 if text else 0 for text in texts], np.uint64)


def event_keys(owners: NDArray[np.uint64], event_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """64 bits of each pair of an owner and an event id, (N,); different pairs share them by chance alone."""
    return event_ids + owners * _MIXER


def _object(event: Event) -> int:
    if event.type == "search":
        return query_key(event.query or "")
    return item_key(event.item_id or "")
