"""The catalogue: up to a million items as columns, with every text once in a table. One thread writes, others read.

A row belongs to an item from its first record until it is removed, and then to another. What is in lists (the levels of
a category, tags, markets) is packed into bytes that are interned, too: equal lists are kept once. What is replaced
stays behind in the tables until there is as much of it as there are items; then they are made anew.
Shapes: R rows, N items of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import (
    NO_TIME,
    item_key,
    name_keys,
    price_buckets,
)
from model.items.item import CATEGORY_SEPARATOR, Item, Offer
from model.items.string_table import Numbers, StringTable, frozen, grown
from model.kernels.hash_table import ChangingHashTable

MARKET: Final = np.dtype(
    [
        ("market", np.uint32),  # a text; so is the next
        ("currency", np.uint32),
        ("price", np.float64),  # NaN: not given
        ("available", np.int8),
        ("price_bucket", np.uint8),
        ("unused", "V6"),
    ]
)
COLUMNS: Final[dict[str, type[np.generic]]] = {
    "ids": np.uint32,  # texts, as are all uint32 but the three lists; 0: the row is free
    "titles": np.uint32,
    "categories": np.uint32,  # lists
    "brands": np.uint32,
    "groups": np.uint32,
    "currencies": np.uint32,
    "tags": np.uint32,  # lists
    "markets": np.uint32,  # lists
    "prices": np.float64,  # NaN: not given
    "stocks": np.float64,  # units; NaN: not given
    "released": np.int64,  # milliseconds since the epoch; NO_TIME: not given
    "details": np.int64,  # where the rest of the record lies, as who applies it says
    "available": np.int8,  # 1, 0, or -1: not given
    "price_buckets": np.uint8,  # as the model reads them; 0: not given
    "category_keys": np.uint64,  # of the whole path, see `NameTable`; 0: not given
    "brand_keys": np.uint64,
}
LISTS: Final = ("categories", "tags", "markets")  # columns of numbers of lists
TEXTS: Final = tuple(name for name, kind in COLUMNS.items() if kind is np.uint32 and name not in LISTS)
_LEAST_LEFT_BEHIND: Final = 10_000  # records
_UNKNOWN: Final = -1

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Tables:
    """The strings that columns have the numbers of."""

    texts: StringTable  # UTF-8
    lists: Mapping[str, StringTable]  # by column: packed numbers of texts, or `MARKET`s

    @property
    def nbytes(self) -> int:
        """The bytes that they take."""
        return self.texts.nbytes + sum(table.nbytes for table in self.lists.values())


class ItemLabel(NamedTuple):
    """What an item is called; "": it is not said."""

    item_id: str
    title: str
    category: str  # the whole path


def empty_tables() -> Tables:
    """Makes tables without strings."""
    return Tables(StringTable(), {name: StringTable() for name in LISTS})


class ItemCatalogue:
    """The items by their keys. Whoever reads several rows or columns holds `lock` meanwhile."""

    def __init__(self, columns: Columns | None = None, tables: Tables | None = None) -> None:
        """With columns and tables of another catalogue, its items."""
        rows = len(columns["ids"]) if columns else 0
        self._columns = {name: np.zeros(0, kind) for name, kind in COLUMNS.items()} | dict(columns or {})
        self.tables = tables or empty_tables()
        self.table = ChangingHashTable()  # from item keys to rows
        self.lock = Lock()
        self._rows = rows  # in use or free
        self._left_behind = 0  # records whose texts nobody may need any more
        self._free = np.flatnonzero(self.column("ids") == 0).tolist()
        if rows:
            taken = np.flatnonzero(self.column("ids"))
            self.table.put(np.array([item_key(self._text("ids", row)) for row in taken.tolist()], np.uint64), taken)

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Item]:
        """Yields all items, by row; nothing may be applied meanwhile."""
        return (self.item(row) for row in np.flatnonzero(self.column("ids")).tolist())

    @property
    def nbytes(self) -> int:
        """The bytes of columns and tables, room to grow included."""
        return sum(column.nbytes for column in self._columns.values()) + self.tables.nbytes + self.table.cells.nbytes

    def column(self, name: str) -> NDArray[Any]:
        """Returns a column of all rows (R,), the free ones included."""
        return self._columns[name][: self._rows]

    def columns(self) -> Columns:
        """Returns all columns."""
        return {name: self.column(name) for name in COLUMNS}

    def row_of(self, item_id: str) -> int:
        """Returns the row of an item, or -1. Two ids with the same key (3 in 10^8 at a million) are one item."""
        return int(self.table.find(np.array([item_key(item_id)], np.uint64))[0])

    def labels_of(self, keys: NDArray[np.uint64]) -> list[ItemLabel | None]:
        """Returns what items are called, by their keys (N,); None where the catalogue lacks one. It takes the lock."""
        if not len(self):
            return [None] * len(keys)
        with self.lock:
            rows = self.table.find(keys).tolist()
            categories = {row: self.column("categories")[row] for row in rows if row >= 0}
            paths = {
                number: CATEGORY_SEPARATOR.join(self._texts("categories", number)) for number in categories.values()
            }
            return [
                None
                if row < 0
                else ItemLabel(self._text("ids", row), self._text("titles", row), paths[categories[row]])
                for row in rows
            ]

    def item(self, row: int) -> Item:
        """Returns the item of a row."""
        number: dict[str, Any] = {name: self.column(name)[row].item() for name in COLUMNS}
        return Item(
            item_id=self._text("ids", row),
            title=self._text("titles", row),
            category=self._list("categories", row),
            brand=self._text("brands", row),
            group=self._text("groups", row),
            price=_given(number["prices"]),
            currency=self._text("currencies", row),
            available=_flag(number["available"]),
            stock=_given(number["stocks"]),
            tags=self._list("tags", row),
            released=None if number["released"] == NO_TIME else number["released"],
            markets={self._string(each["market"]): self._offer(each) for each in self._markets(row)},
        )

    def apply(
        self, items: Sequence[Item], details: Sequence[int] | NDArray[np.int64], removed: Sequence[str] = ()
    ) -> None:
        """Puts items (N,), each whole in the place of what was there, and takes others away, by id; no id comes twice.

        `details` (N,) says where the rest of each record lies.
        """
        keys = np.array([item_key(item.item_id) for item in items], np.uint64)
        buckets = _buckets_of(items)
        with self.lock:
            self._remove(np.array([item_key(item_id) for item_id in removed], np.uint64))
            values = self._values_of(items) | buckets
            rows = self._rows_for(keys)
            for name in COLUMNS:
                self._columns[name][rows] = details if name == "details" else values[name]
        if self._left_behind > max(_LEAST_LEFT_BEHIND, len(self)):
            self.compact()

    def take_over(self, other: ItemCatalogue) -> None:
        """Takes the place of another catalogue's items, which is not used any more; what was here is dropped."""
        with self.lock:
            self._columns, self.tables, self.table = other._columns, other.tables, other.table
            self._rows, self._free, self._left_behind = other._rows, other._free, other._left_behind

    def compact(self) -> None:
        """Makes the tables anew of what rows still use; readers wait only for the exchange."""
        tables, columns = compacted(self.tables, self.columns())
        with self.lock:
            self.tables = tables
            for name, column in columns.items():
                self._columns[name][: self._rows] = column
            self._left_behind = 0

    def _remove(self, keys: NDArray[np.uint64]) -> None:
        rows = self.table.find(keys)
        rows = np.unique(rows[rows >= 0])
        self.table.remove(keys)
        self._free += rows.tolist()
        self._left_behind += len(rows)
        for column in self._columns.values():
            column[rows] = 0

    def _rows_for(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Returns the rows (N,) of keys, new ones for those that have none; the first to be reused are the newest."""
        rows = self.table.find(keys)
        fresh = np.flatnonzero(rows < 0)
        self._left_behind += len(rows) - len(fresh)
        reused = min(len(fresh), len(self._free))
        at_end = len(fresh) - reused
        for name in COLUMNS:
            self._columns[name] = grown(self._columns[name], self._rows + at_end)
        taken = [self._free.pop() for _ in range(reused)]
        rows[fresh] = [*taken, *range(self._rows, self._rows + at_end)]
        self._rows += at_end
        self.table.put(keys[fresh], rows[fresh])
        return rows

    def _values_of(self, items: Sequence[Item]) -> dict[str, Any]:
        """Returns the columns (N,) of items, without details and buckets; interns what they say."""
        intern = self._intern
        return {
            "ids": intern([item.item_id for item in items]),
            "titles": intern([item.title for item in items]),
            "brands": intern([item.brand for item in items]),
            "groups": intern([item.group for item in items]),
            "currencies": intern([item.currency for item in items]),
            "categories": self._intern_lists("categories", [item.category for item in items]),
            "tags": self._intern_lists("tags", [item.tags for item in items]),
            "markets": self._intern_markets([item.markets for item in items]),
            "prices": [np.nan if item.price is None else item.price for item in items],
            "stocks": [np.nan if item.stock is None else item.stock for item in items],
            "released": [NO_TIME if item.released is None else item.released for item in items],
            "available": [_UNKNOWN if (given := item.is_available) is None else given for item in items],
        }

    def _intern(self, texts: Sequence[str]) -> Numbers:
        return self.tables.texts.intern([text.encode() for text in texts])

    def _intern_lists(self, name: str, lists: Sequence[Sequence[str]]) -> Numbers:
        """Returns the numbers (N,) of lists of texts."""
        numbers = self._intern([text for texts in lists for text in texts])
        ends = 4 * np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return self.tables.lists[name].intern_column(frozen(numbers.view(np.uint8), ends))

    def _intern_markets(self, markets: Sequence[Mapping[str, Offer]]) -> Numbers:
        """Returns the numbers (N,) of packed lists of offers."""
        offers = [offer for each in markets for offer in each.values()]
        packed = np.zeros(len(offers), MARKET)
        packed["market"] = self._intern([name for each in markets for name in each])
        packed["currency"] = self._intern([offer.currency for offer in offers])
        prices = [offer.price for offer in offers]
        packed["price"] = [np.nan if price is None else price for price in prices]
        packed["price_bucket"] = price_buckets(prices)
        packed["available"] = [_UNKNOWN if offer.available is None else offer.available for offer in offers]
        ends = MARKET.itemsize * np.cumsum([0, *map(len, markets)], dtype=np.int64)
        return self.tables.lists["markets"].intern_column(frozen(packed.view(np.uint8), ends))

    def _string(self, number: int) -> str:
        return self.tables.texts[number].decode()

    def _text(self, column: str, row: int) -> str:
        return self._string(self.column(column)[row])

    def _list(self, column: str, row: int) -> tuple[str, ...]:
        return self._texts(column, self.column(column)[row])

    def _texts(self, column: str, number: int) -> tuple[str, ...]:
        packed = self.tables.lists[column][number]
        return tuple(map(self._string, np.frombuffer(packed, np.uint32).tolist()))

    def _markets(self, row: int) -> NDArray[np.void]:
        return np.frombuffer(self.tables.lists["markets"][self.column("markets")[row]], MARKET)

    def _offer(self, packed: Any) -> Offer:
        return Offer(_given(float(packed["price"])), self._string(packed["currency"]), _flag(packed["available"]))


def compacted(tables: Tables, columns: Columns) -> tuple[Tables, dict[str, Numbers]]:
    """Makes tables of what columns use; returns them and the columns that have other numbers then."""
    kept = {name: table.kept(_used(len(table), columns[name])) for name, table in tables.lists.items()}
    used = _used(len(tables.texts), *(columns[name] for name in TEXTS))
    for name, (table, _) in kept.items():
        for numbers in _texts_in(name, table.column.text):
            used[numbers] = True
    texts, renumbered = tables.texts.kept(used)
    lists = {name: _translated(name, table, renumbered) for name, (table, _) in kept.items()}
    changed = {name: numbers[columns[name]] for name, (_, numbers) in kept.items()}
    changed |= {name: renumbered[columns[name]] for name in TEXTS}
    return Tables(texts, lists), changed


def _used(size: int, *columns: Numbers) -> NDArray[np.bool_]:
    used = np.zeros(size, np.bool_)
    for column in columns:
        used[column] = True
    return used


def _texts_in(name: str, packed: NDArray[np.uint8]) -> list[Numbers]:
    """Returns the numbers of texts in packed lists: views."""
    if name != "markets":
        return [packed.view(np.uint32)]
    markets = packed.view(MARKET)
    return [markets["market"], markets["currency"]]


def _translated(name: str, table: StringTable, renumbered: Numbers) -> StringTable:
    """Makes a table of the same lists, of texts that have other numbers."""
    packed = table.column.text.copy()
    for numbers in _texts_in(name, packed):
        numbers[:] = renumbered[numbers]
    return StringTable.of(frozen(packed, table.column.starts))


def _buckets_of(items: Sequence[Item]) -> dict[str, NDArray[Any]]:
    """Returns what the model reads of items as it reads it of events (N,)."""
    return {
        "price_buckets": price_buckets([item.price for item in items]),
        "category_keys": name_keys([item.category_text for item in items]),
        "brand_keys": name_keys([item.brand for item in items]),
    }


def _given(number: float) -> float | None:
    return None if number != number else number


def _flag(value: int) -> bool | None:
    return None if value < 0 else bool(value)
