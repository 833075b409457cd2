"""Counts events into the statistics: one at a time, in constant time.

What one user does counts once per hour, for an item and for a pair of items: who repeats it moves nothing. Users
without a past weigh little, and few of them count within an hour, so that crowds of new accounts move little: the less,
the more of the shop's actions are of users with a past. Where nobody has one, all count. Returned goods do not count. A
pair weighs as much as its user, divided by how far apart the two actions are.

Shapes: N actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.covisits import COVISIT_WINDOW
from model.data.events import EVENT_TYPES, NO_TIME, PURCHASE, SEARCH, TYPE_CODES, Actions
from model.data.recent import AFTER_QUERY
from model.kernels.compiled import compiled, uncounted
from model.kernels.hash_table import cell_of, find_row
from model.statistics.counted_events import CountedEvents, events_of_actions
from model.statistics.decay import Decay
from model.statistics.pasts import (
    WORDS,
    UserPasts,
    begin_user,
    full_sets,
    grown,
    nbytes_of,
    new_pasts,
    place_of,
)
from model.statistics.rows import MOST_TICKS as _MOST_TICKS
from model.statistics.rows import NeighbourRows, add_neighbour, item_units, source_unit
from model.statistics.statistics_table import StatisticsTable, TableArrays, note_popular

LEAST_ACTIONS: Final = 10  # that make a past …
LEAST_AGE_MS: Final = 60_000  # … and how long ago the first of them was
NEWCOMER: Final = 0.05  # what an action of a user without a past weighs where nearly all others have one
CROWD: Final = 0.5  # users without a past that count within an hour, for each such action per action of the others
_ENOUGH: Final = 1 << 17  # actions by which users with and without a past are compared; then both count half
_ALL: Final = 2.0**40  # so many are told apart at most
_CART: Final = TYPE_CODES["cart"]
_REMOVE: Final = TYPE_CODES["remove"]
_HOUR_MS: Final = 3_600_000
_SHARE_OF_PASTS: Final = 4  # the users' pasts take one part of so many of the memory
_FULL: Final = 16  # pasts get more places when one set of so many is full
_SEEN_CELLS: Final = 1 << 22  # of what was counted within the hour; each keeps the newest that fell into it
_IS_SOURCE: Final = np.isin(np.arange(len(EVENT_TYPES)), (_CART, PURCHASE))
_WORD_SALT: Final = np.uint64(0xA0761D6478BD642F)  # odd: keys of words, kinds and pairs differ from those of items
_KIND_SALT: Final = np.uint64(0xE7037ED1A0B428DB)


class _Tally(NamedTuple):
    """All that counting reads and changes, for the compiled loops."""

    table: TableArrays
    item_index: NDArray[np.uint64]  # cells, from the keys of items to their rows
    source_index: NDArray[np.uint64]  # cells, from the keys of sources to their rows
    pasts: UserPasts
    seen: NDArray[np.uint64]  # what was counted within the hour
    mix: NDArray[np.float64]  # (2,) how many actions were of users without a past, and how many of others
    sources: NDArray[np.int64]  # (1,) how many there are


class _Moment(NamedTuple):
    """What is the same for all that one action makes count."""

    user_hour: np.uint64  # tells the user and the hour from others; users without a past share a few of them
    clock: NDArray[np.float64]  # (2,)
    weight: np.float32


class StatisticsCounter:
    """A table and the memory that it takes to count on. Not for two threads at once."""

    def __init__(self, table: StatisticsTable, decay: Decay | None = None) -> None:
        """By default the stream begins with the first event that is counted."""
        self.table = table
        table.decay = table.decay or decay
        self._mix = np.zeros(2)
        self._pasts = new_pasts()
        self._seen = np.zeros(_SEEN_CELLS, np.uint64)

    def learn(self, actions: Actions, *, counted: bool = True) -> None:
        """Counts actions in their order; with `counted` off it only takes in who did what."""
        self.learn_events(events_of_actions(actions), actions.items, counted=counted)

    def learn_events(self, events: CountedEvents, names: Sequence[str] = (), *, counted: bool = True) -> None:
        """Counts events (N,) in their order; `names` (N,) are the items' ids, where these are known."""
        if not len(events.users):
            return
        known = events.times != NO_TIME
        decay = self.table.decay = self.table.decay or Decay(int(events.times[known.argmax()]) if known.any() else 0)
        events = events._replace(times=np.where(known, events.times, decay.start))
        self._make_room(events, names, counted=counted)
        table = self.table
        tally = _Tally(
            table.arrays,
            table.index.cells,
            table.source_index.cells,
            self._pasts,
            self._seen,
            self._mix,
            np.array([table.source_size], np.int64),
        )
        _learn(events, decay.clocks(events.times), tally, counted)
        added = int(tally.sources[0]) - table.source_size
        table.revision += 1
        table.source_index.note_added(added)
        table.source_size += added

    def _make_room(self, events: CountedEvents, names: Sequence[str], *, counted: bool) -> None:
        """Makes room for all users, items and sources that events may bring."""
        most = self.table.memory // _SHARE_OF_PASTS
        while self._are_few(len(events.users)) and 2 * nbytes_of(self._pasts) <= most:
            self._pasts = grown(self._pasts)
        if not counted:
            return
        on_item = np.flatnonzero((events.types != SEARCH) & (events.types != _REMOVE))
        given = [names[n] for n in on_item.tolist()] if names else [""] * len(on_item)
        searches = int((events.types == SEARCH).sum())
        sources = searches * (1 + WORDS) + int(_IS_SOURCE[events.types].sum())
        self.table.make_room(0, sources)  # before items come, as it may let those go that nobody has touched yet
        self.table.add(events.item_keys[on_item], given)
        self.table.source_index.reserve(sources)

    def _are_few(self, events: int) -> bool:
        """Returns whether there are few places for the users of so many events."""
        return max(int(full_sets(self._pasts)) * _FULL, events) > len(self._pasts.keys)


@compiled
def _learn(events: CountedEvents, clocks: NDArray[np.float64], tally: _Tally, counted: bool) -> None:
    """Counts N events; without `counted` only the users' pasts take them in."""
    pasts = tally.pasts
    for n in range(len(events.users)):
        time, kind, key = events.times[n], events.types[n], events.item_keys[n]
        row, way = place_of(pasts, events.users[n])
        if pasts.keys[row, way] != events.users[n]:
            begin_user(pasts, row, way, events.users[n], time)
        has_past = pasts.actions[row, way] >= LEAST_ACTIONS and time - pasts.firsts[row, way] > LEAST_AGE_MS
        who, weight = events.users[n], np.float32(1)
        if not has_past:
            who, weight = _newcomer(who, tally.mix)
        pasts.lasts[row, way] = max(pasts.lasts[row, way], time)
        if kind == _REMOVE:
            continue
        pasts.actions[row, way] += 1
        _note_mix(tally.mix, has_past)
        if counted:
            _add_sources(tally, events, n, clocks[n, 0])
        if kind == SEARCH:
            pasts.queries[row, way] = key
            pasts.words[row, way] = events.words[n]
            pasts.since_query[row, way] = 0
            continue
        item = find_row(tally.item_index, key)
        if counted and item >= 0:
            moment = _Moment(who ^ np.uint64(time // _HOUR_MS) * _WORD_SALT, clocks[n], weight)
            _count_item(tally, item, events, n, moment)
            _count_pairs(tally, row, way, item, moment)
        at = pasts.heads[row, way] % COVISIT_WINDOW
        pasts.items[row, way, at], pasts.kinds[row, way, at] = key, kind
        pasts.heads[row, way] += 1
        pasts.since_query[row, way] += 1


@uncounted
def _newcomer(user: np.uint64, mix: NDArray[np.float64]) -> tuple[np.uint64, np.float32]:
    """Returns whom a user without a past counts as, and what they weigh: 1 where nobody has a past.

    They are told apart by some of their key's bits, so that hardly anybody is somebody else when the mix changes.
    """
    newcomers, others = mix
    if others == 0:
        return user, np.float32(1)
    most = min(max(CROWD * newcomers / others, 1.0), _ALL)
    mask = (np.uint64(1) << np.uint64(np.log2(most))) - np.uint64(1)
    past_share = others / (newcomers + others)
    return user & mask, np.float32(NEWCOMER / (NEWCOMER + (1 - NEWCOMER) * past_share))


@uncounted
def _note_mix(mix: NDArray[np.float64], has_past: bool) -> None:
    mix[int(has_past)] += 1
    if mix[0] + mix[1] > _ENOUGH:
        mix[0] /= 2
        mix[1] /= 2


@compiled
def _add_sources(tally: _Tally, events: CountedEvents, n: int, clock: float) -> None:
    """Gives rows to what an event makes others follow: a search and its words, a cart, a purchase."""
    kind, time = events.types[n], events.times[n]
    if kind in (_CART, PURCHASE, SEARCH):
        _add_source(tally, source_key(events.item_keys[n], kind), time, clock)
    if kind == SEARCH:
        for word in events.words[n]:
            if word != 0:
                _add_source(tally, word_key(word), time, clock)


@compiled
def source_key(key: np.uint64, kind: int) -> np.uint64:
    """Returns the key of what follows an action of a kind on an item, or a search."""
    return (key ^ np.uint64(kind + 1) * _KIND_SALT) * _WORD_SALT | np.uint64(1)


@compiled
def word_key(word: np.uint16) -> np.uint64:
    """Returns the key of what follows a search with a word, by the word's bucket."""
    return (np.uint64(word) * _KIND_SALT ^ _WORD_SALT) * _KIND_SALT | np.uint64(1)


@compiled
def _is_fresh(seen: NDArray[np.uint64], moment: np.uint64, key: np.uint64, other: np.uint64) -> bool:
    """Returns whether a user's pair was not counted within the hour, and notes that it is now."""
    mixed = (moment + key * _KIND_SALT ^ (other + np.uint64(1)) * _WORD_SALT) * _KIND_SALT
    mixed ^= mixed >> np.uint64(29)
    cell = np.int64(mixed & np.uint64(len(seen) - 1))
    if seen[cell] == mixed:
        return False
    seen[cell] = mixed
    return True


@compiled
def _add_source(tally: _Tally, key: np.uint64, time: int, clock: float) -> None:
    """Gives a source a row unless it has one. There is room for it."""
    cells, rows = tally.source_index, tally.table.sources
    cell = cell_of(cells, key)
    if cells[cell, 1] != 0:
        known = np.int64(cells[cell, 1]) - 1
        rows.times[known] = max(rows.times[known], time)
        return
    row = tally.sources[0]
    tally.sources[0] += 1
    cells[cell, 0], cells[cell, 1] = key, np.uint64(row + 1)
    rows.keys[row], rows.times[row], rows.bases[row] = key, time, clock


@compiled
def _count_item(tally: _Tally, item: int, events: CountedEvents, n: int, moment: _Moment) -> None:
    """Counts an action on an item, and what it says of the item."""
    table, rows, clock = tally.table, tally.table.items, moment.clock
    table.clocks[:] = np.maximum(table.clocks, clock)
    rows.times[item] = max(rows.times[item], events.times[n])
    if events.categories[n] != 0:
        rows.categories[item] = events.categories[n]
    if events.brands[n] != 0:
        rows.brands[item] = events.brands[n]
    if not _is_fresh(tally.seen, moment.user_hour, events.item_keys[n], np.uint64(0)):
        return
    units = item_units(rows, item, clock[0], clock[1])
    for column in range(2):
        rows.counts[item, column] += moment.weight * np.float32(units[column])
        rows.levels[item, column] = np.log2(rows.counts[item, column]) + rows.bases[item, column]
        if clock[column] - table.sum_bases[column] > _MOST_TICKS:
            table.sums[column] *= 2.0 ** (table.sum_bases[column] - clock[column])
            table.sum_bases[column] = clock[column]
        table.sums[column] += moment.weight * 2.0 ** (clock[column] - table.sum_bases[column])
    table.changes[item] += moment.weight
    note_popular(table.popular, rows, item)


@compiled
def _count_pairs(tally: _Tally, row: int, way: int, item: int, moment: _Moment) -> None:
    """Counts an item as what follows the last items, and the last search, of the user in a place."""
    table, pasts, clock = tally.table, tally.pasts, moment.clock
    rows = table.items
    key, head = rows.keys[item], pasts.heads[row, way]
    for gap in range(1, min(head, COVISIT_WINDOW) + 1):
        at = (head - gap) % COVISIT_WINDOW
        other = pasts.items[row, way, at]
        before = find_row(tally.item_index, other)
        if before < 0 or not _is_fresh(tally.seen, moment.user_hour, other, key):
            continue
        share = moment.weight / np.float32(gap)
        slow, fast = item_units(rows, before, clock[0], clock[1])
        _add_pair(rows.followers, before, item, share * np.float32(slow))
        _add_pair(rows.recent, before, item, share * np.float32(fast))
        slow, _ = item_units(rows, item, clock[0], clock[1])
        _add_pair(rows.predecessors, item, before, share * np.float32(slow))
        table.changes[before] += share
        table.changes[item] += share
        rows.times[before] = max(rows.times[before], rows.times[item])
        kind = pasts.kinds[row, way, at]
        if kind in (_CART, PURCHASE):
            _count_source(tally, source_key(other, kind), item, clock[0], share)
    if pasts.queries[row, way] != 0 and pasts.since_query[row, way] < AFTER_QUERY:
        query = pasts.queries[row, way]
        if _is_fresh(tally.seen, moment.user_hour, query, key):
            share = moment.weight / np.float32(1 + pasts.since_query[row, way])
            _count_source(tally, source_key(query, SEARCH), item, clock[0], share)
            for word in pasts.words[row, way]:
                if word != 0:
                    _count_source(tally, word_key(word), item, clock[0], share)


@uncounted
def _add_pair(rows: NeighbourRows, row: int, item: int, weight: np.float32) -> None:
    rows.totals[row] += weight
    add_neighbour(rows, row, item, weight)


@compiled
def _count_source(tally: _Tally, key: np.uint64, item: int, clock: float, share: np.float32) -> None:
    """Counts an item as what follows a source, if that has a row."""
    row, table = find_row(tally.source_index, key), tally.table
    if row >= 0:
        unit = np.float32(source_unit(table.sources, row, clock))
        _add_pair(table.sources.followers, row, item, share * unit)
        table.source_changes[row] += share
