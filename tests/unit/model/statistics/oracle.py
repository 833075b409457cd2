"""Counting as plain Python, one event at a time: what the docstrings of the statistics say, and no code of theirs."""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.data.events import TYPE_CODES, Actions, Event, actions_of
from model.statistics.counter import source_key, word_key
from model.statistics.rows import NeighbourRows
from model.statistics.statistics_table import StatisticsTable

HOUR, DAY = 3_600_000, 86_400_000  # ms
START = 1_700_000_000_000
KINDS = ("view", "view", "view", "click", "favorite", "cart", "purchase", "search", "search", "remove")
QUERIES = ("red shoes", "Red  SHOES", "hat", "a b c d e", "blue hat", "?!")


@dataclass(frozen=True)
class Act:
    """What a shopper did; `thing` is an item's id or the text of a search."""

    user: str
    kind: str
    thing: str
    time: int
    category: str = ""
    brand: str = ""


@dataclass
class Past:
    """What is remembered of one user."""

    first: int
    actions: int = 0
    last: list[tuple[str, str]] = field(default_factory=list)  # items and what was done with them
    query: tuple[str, list[str]] | None = None
    since_query: int = 0


@dataclass
class Row:
    """What is counted of an item; weights are in units of the clocks' start."""

    time: int = 0
    slow: float = 0.0
    fast: float = 0.0
    category: str = ""
    brand: str = ""
    followers: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    predecessors: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    recent: dict[str, float] = field(default_factory=lambda: defaultdict(float))


class PlainCounter:
    """Dictionaries and lists."""

    def __init__(self, start: int, floor: int = HOUR) -> None:
        self.start, self.floor = start, floor
        self.users: dict[str, Past] = {}
        self.seen: set[tuple[object, ...]] = set()
        self.items: dict[str, Row] = defaultdict(Row)
        self.sources: dict[int, dict[str, float]] = {}  # by key
        self.sums = [0.0, 0.0]
        self.pasts: list[bool] = []  # of each action: whether its user had a past

    def learn(self, acts: Iterable[Act], *, counted: bool = True) -> PlainCounter:
        for act in acts:
            past = self.users.setdefault(act.user, Past(act.time))
            old = past.actions >= 10 and act.time - past.first > 60_000
            if act.kind == "remove":
                continue
            past.actions += 1
            user, weight = (act.user, 1.0) if old else self.newcomer(act.user)
            self.pasts.append(old)
            if act.kind == "search":
                self._search(past, act, counted)
                continue
            if counted:
                self._count(past, replace(act, user=user), weight)
            past.last.append((act.thing, act.kind))
            past.since_query += 1
        return self

    def newcomer(self, user: str) -> tuple[str, float]:
        """Whom a user without a past counts as now, and what they weigh."""
        others = sum(self.pasts)
        newcomers = len(self.pasts) - others
        if not others:
            return user, 1.0
        bits = int(math.log2(max(0.5 * newcomers / others, 1)))
        return f"newcomer {key_of(user) % 2**bits}", 0.05 / (0.05 + 0.95 * others / (newcomers + others))

    def worth(self, time: int) -> tuple[float, float]:
        """What 1 is worth at a time, by both clocks: they tick once per half-life."""
        age = max(time, self.start) - self.start + self.floor
        ticks = []
        for share, longest in ((0.4, 30 * DAY), (0.03, DAY)):
            turn = max(longest / share, self.floor)
            ticks.append(math.log(min(age, turn) / self.floor) / share + max(age - turn, 0) / longest)
        return 2.0 ** ticks[0], 2.0 ** ticks[1]

    def _search(self, past: Past, act: Act, counted: bool) -> None:
        words = re.findall(r"\w+", act.thing.casefold())
        past.query, past.since_query = (" ".join(words), words[:4]), 0
        if counted:
            for key in _keys_of_query(*past.query):
                self.sources.setdefault(key, defaultdict(float))

    def _count(self, past: Past, act: Act, weight: float) -> None:
        slow, fast = self.worth(act.time)
        row, moment = self.items[act.thing], (act.user, act.time // HOUR)
        row.time = max(row.time, act.time)
        row.category, row.brand = act.category or row.category, act.brand or row.brand
        if act.kind in ("cart", "purchase"):
            self.sources.setdefault(_key_of_item(act.thing, act.kind), defaultdict(float))
        if self._is_first(*moment, act.thing):
            row.slow += weight * slow
            row.fast += weight * fast
            self.sums[0] += weight * slow
            self.sums[1] += weight * fast
        for gap, (other, kind) in enumerate(reversed(past.last[-10:]), 1):
            if not self._is_first(*moment, other, act.thing):
                continue
            before = self.items[other]
            before.followers[act.thing] += weight / gap * slow
            before.recent[act.thing] += weight / gap * fast
            row.predecessors[other] += weight / gap * slow
            before.time = max(before.time, row.time)
            if kind in ("cart", "purchase"):
                self._follow(_key_of_item(other, kind), act.thing, weight / gap * slow)
        if not past.query or past.since_query >= 3:
            return
        if self._is_first(*moment, "query", past.query[0], act.thing):
            for key in _keys_of_query(*past.query):
                self._follow(key, act.thing, weight / (1 + past.since_query) * slow)

    def _follow(self, source: int, item: str, weight: float) -> None:
        if source in self.sources:
            self.sources[source][item] += weight

    def _is_first(self, *what: object) -> bool:
        known = what in self.seen
        self.seen.add(what)
        return not known


def key_of(item: str) -> int:
    return xxh3_64_intdigest(item.encode())


def bucket(name: str, buckets: int) -> int:
    return 1 + xxh3_64_intdigest(name.encode()) % (buckets - 1) if name else 0


def _key_of_item(item: str, kind: str) -> int:
    return int(source_key(np.uint64(key_of(item)), TYPE_CODES[kind]))


def _keys_of_query(query: str, words: list[str]) -> list[int]:
    buckets = [1 + xxh3_64_intdigest(word.encode()) % 65_520 for word in words]
    whole = int(source_key(np.uint64(key_of(query)), TYPE_CODES["search"]))
    return [whole, *(int(word_key(np.uint16(number))) for number in buckets)]


def random_acts(seed: int, count: int = 300, *, items: int = 14, users: int = 5, late: bool = False) -> list[Act]:
    """Shoppers over some weeks: fast clicks, breaks, days without anything; with `late` some come out of order.

    No row has more neighbours than there is room for by default.
    """
    rng = random.Random(seed)
    time, acts = START, list[Act]()
    for _ in range(count):
        time += 0 if not acts else rng.choice((0, 900, 900, 20_000, 20_000, 700_000, HOUR, 40 * HOUR))
        kind, number = rng.choice(KINDS), min(rng.randrange(items), rng.randrange(items))
        thing = rng.choice(QUERIES) if kind == "search" else f"item {number}"
        category, brand = rng.choice(("", f"category {number % 3}")), rng.choice(("", "", "acme", "none"))
        back = rng.choice((0, 0, 5000, 2 * HOUR)) if late else 0
        acts.append(Act(f"user {rng.randrange(users)}", kind, thing, max(time - back, START), category, brand))
    return acts


def actions_from(acts: Sequence[Act]) -> Actions:
    events = [
        Event(
            user_id=act.user,
            type=act.kind,
            item_id=None if act.kind == "search" else act.thing,
            query=act.thing if act.kind == "search" else None,
            category=act.category or None,
            brand=act.brand or None,
        )
        for act in acts
    ]
    return actions_of(events, [act.time for act in acts])


def neighbours_of(table: StatisticsTable, rows: NeighbourRows, row: int, base: float = 0.0) -> dict[int, float]:
    """The weights of a row's neighbours by their keys, in units of the clocks' start; heaviest first, each once."""
    count = int((rows.items[row] >= 0).sum())
    assert (rows.items[row, count:] == -1).all()
    assert (np.diff(rows.weights[row, :count]) <= 0).all()
    keys = table.arrays.items.keys[rows.items[row, :count]].tolist()
    assert len(set(keys)) == count
    return dict(zip(keys, (rows.weights[row, :count].astype(np.float64) * 2.0**base).tolist(), strict=True))


def content_of(table: StatisticsTable) -> dict[object, tuple[object, ...]]:
    """All that is in the rows, by the keys of items and sources, bit for bit."""
    items, sources = table.arrays.items, table.arrays.sources
    content: dict[object, tuple[object, ...]] = {}
    for row, key in enumerate(items.keys[: table.size].tolist()):
        lists = (items.followers, items.predecessors, items.recent)
        numbers = (items.bases, items.counts, items.levels)
        content[key] = (
            *(int(column[row]) for column in (items.times, items.categories, items.brands)),
            *(tuple(column[row].tolist()) for column in numbers),
            *(tuple(neighbours_of(table, rows, row).items()) for rows in lists),
            *(float(rows.totals[row]) for rows in lists),
        )
    for row, key in enumerate(sources.keys[: table.source_size].tolist()):
        followers = tuple(neighbours_of(table, sources.followers, row).items())
        clock = (int(sources.times[row]), float(sources.bases[row]))
        content["source", key] = (*clock, followers, float(sources.followers.totals[row]))
    return content


def arrays_of(table: StatisticsTable) -> dict[str, NDArray[np.generic]]:
    """Copies of all arrays of a table, the rows in use alone."""
    flat: dict[str, NDArray[np.generic]] = {}

    def take(name: str, value: object) -> None:
        if isinstance(value, tuple):
            for field_name, one in zip(value._fields, value, strict=True):  # type: ignore[attr-defined]
                take(f"{name}.{field_name}", one)
        elif isinstance(value, np.ndarray):
            rows = table.source_size if "source" in name else table.size
            whole = any(part in name for part in ("popular", "sum", "clocks"))
            flat[name] = value.copy() if whole else value[:rows].copy()

    take("", table.arrays)
    return flat


def assert_same_arrays(table: StatisticsTable, other: StatisticsTable) -> None:
    assert table.names == other.names
    one, two = arrays_of(table), arrays_of(other)
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)
