"""The items that a version can recommend: those of its vocabulary, and those that the stream has named since.

Items are numbered: those of the vocabulary as in the catalogue, then those that came later, in the order in which they
were seen. A later one has a vector before any training: its category's and its brand's, and those of the items that it
was touched beside.

Shapes: I items of the vocabulary, J later ones, R rows of the statistics, D width.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import CONTEXT_SLICES
from model.data.events import NO_TIME
from model.data.vocabulary import Vocabulary
from model.kernels.compiled import Floats, compiled
from model.statistics.rows import NOBODY, ItemRows, NeighbourRows
from model.statistics.statistics_table import StatisticsTable

MOST_LATER: Final = 1 << 18  # later items of a version; those that come then wait for the next one
NO_NUMBER: Final = -1
_LEAST_LATER: Final = 256
_BESIDE: Final = 8  # heaviest neighbours of each side that a later item's vector is made of
_CATEGORIES: Final = CONTEXT_SLICES["categories"].start
_BRANDS: Final = CONTEXT_SLICES["brands"].start


class LiveArrays(NamedTuple):
    """Numbers and rows of items, and their vectors, for compiled loops."""

    numbers: NDArray[np.int32]  # (R or more,) of rows; NO_NUMBER: the row cannot be recommended
    rows: NDArray[np.int32]  # (I + J or more,) of numbers; NOBODY: it has none
    vectors: Floats  # (I + J or more, D)
    known: int  # I


class LiveItems:
    """The numbers of a version's items beside a table's rows. The thread that answers owns it."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        vectors: Floats,
        attributes: Floats,
        table: StatisticsTable,
        *,
        nameless: bool = False,
        hidden: NDArray[np.bool_] | None = None,
    ) -> None:
        """`vectors` (I, D) are the catalogue's, `attributes` (…, D) are those of the network's context table.

        With `nameless` later items are numbered without their ids, for evaluations, which tell items by their keys.
        Items that are `hidden` (I,) are taken for later ones.
        """
        self.table = table
        self.names: list[str] = list(vocabulary.items)  # by number; it only grows
        self.item_keys = vocabulary.item_keys  # (I + J or more,) by number
        self.count = len(vocabulary)
        self._vocabulary = vocabulary
        self._attributes = attributes
        self._generation, self._seen, self._revision = NOBODY, 0, NOBODY
        self._later: dict[int, int] = {}  # numbers of later items by key
        self._blended = np.zeros(0, np.int64)  # (J or more,) times of the rows when the vectors were made
        self._unnamed: list[int] = []  # rows that have no name yet
        self._nameless = nameless
        self._hidden = hidden
        self.arrays = LiveArrays(
            np.zeros(0, np.int32), np.full(len(vectors), NOBODY, np.int32), vectors, len(vocabulary)
        )
        self._number()

    @property
    def later(self) -> int:
        """The number of later items, J."""
        return self.count - self.arrays.known

    def follow(self) -> NDArray[np.int64]:
        """Takes in the rows that have come since the last call; returns the numbers of later items whose vectors are
        other ones now."""
        if self._revision == self.table.revision:
            return np.zeros(0, np.int64)
        self._number()
        self._revision = self.table.revision
        if self.count == self.arrays.known:
            return np.zeros(0, np.int64)
        changed = np.empty(self.later, np.int64)
        count = _blend_later(self.arrays, self.table.arrays.items, self.count, self._attributes, self._blended, changed)
        return changed[:count]

    def _number(self) -> None:
        if self._generation != self.table.generation:
            self._begin()
        if self._seen < self.table.size or self._unnamed:
            self._number_rows()

    def _begin(self) -> None:
        """Finds the rows of the vocabulary's items, which get one if they have none yet."""
        self.table.add(self._vocabulary.item_keys, self._vocabulary.items)
        self._generation, self._seen, self._unnamed = self.table.generation, 0, []
        self.arrays.rows[:] = NOBODY

    def _number_rows(self) -> None:
        table, seen = self.table, self._seen
        rows = np.concatenate((np.array(self._unnamed, np.int64), np.arange(seen, table.size)))
        self._seen, self._unnamed = table.size, []
        numbers = self._grown(len(table.arrays.changes))
        keys = table.arrays.items.keys[rows]
        own = self._vocabulary.table.find(keys)
        if self._hidden is not None and len(self._hidden):
            own[(own >= 0) & self._hidden[own]] = NO_NUMBER
        numbers[rows] = own
        self.arrays.rows[own[own >= 0]] = rows[own >= 0]
        for row, key in zip(rows[own < 0].tolist(), keys[own < 0].tolist(), strict=True):
            self._number_later(row, key)

    def _number_later(self, row: int, key: int) -> None:
        name = self.table.names[row]
        number = self._later.get(key)
        if number is None:
            if not name and not self._nameless:
                self._unnamed.append(row)
                return
            if self.later >= MOST_LATER:
                return
            number = self._later[key] = self.count
            self._make_room()
            self.names.append(name)
            self.item_keys[number] = key
            self.count += 1
        self.arrays.numbers[row], self.arrays.rows[number] = number, row

    def _grown(self, rows: int) -> NDArray[np.int32]:
        """Returns the numbers of rows, with room for all of them."""
        if len(self.arrays.numbers) < rows:
            numbers = np.full(rows, NO_NUMBER, np.int32)
            numbers[: len(self.arrays.numbers)] = self.arrays.numbers
            self.arrays = self.arrays._replace(numbers=numbers)
        return self.arrays.numbers

    def _make_room(self) -> None:
        """Makes room for one more later item; arrays that answers have in hand stay as they are."""
        if self.count < len(self.arrays.vectors):
            return
        size = self.count + max(_LEAST_LATER, self.later)
        vectors = np.zeros((size, self.arrays.vectors.shape[1]), np.float32)
        vectors[: self.count] = self.arrays.vectors
        rows, keys = np.full(size, NOBODY, np.int32), np.zeros(size, np.uint64)
        rows[: self.count], keys[: self.count] = self.arrays.rows, self.item_keys[: self.count]
        blended = np.full(size - self.arrays.known, NO_TIME)
        blended[: len(self._blended)] = self._blended
        self.arrays = self.arrays._replace(rows=rows, vectors=vectors)
        self.item_keys, self._blended = keys, blended

    def rows_of(self, item_keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Returns the rows of item keys, same shape; NOBODY: there is none."""
        return self.table.rows_of(item_keys).astype(np.int32)


@compiled
def _blend_later(
    live: LiveArrays,
    items: ItemRows,
    count: int,
    attributes: Floats,
    blended: NDArray[np.int64],
    changed: NDArray[np.int64],
) -> int:
    """Gives later items that were touched since then vectors of what is known of them, of length one; returns how many
    these are, whose numbers it fills in."""
    found = 0
    for number in range(live.known, count):
        row = live.rows[number]
        if row == NOBODY or items.times[row] == blended[number - live.known]:
            continue
        blended[number - live.known] = items.times[row]
        vector = live.vectors[number]
        vector[:] = np.float32(0)
        if items.categories[row] != 0:
            vector += attributes[_CATEGORIES + items.categories[row]]
        if items.brands[row] != 0:
            vector += attributes[_BRANDS + items.brands[row]]
        _add_beside(live, items.predecessors, row, vector)
        _add_beside(live, items.followers, row, vector)
        length = np.float32(np.sqrt((vector * vector).sum()))
        if length > 0:
            vector /= length
        changed[found] = number
        found += 1
    return found


@compiled
def _add_beside(live: LiveArrays, neighbours: NeighbourRows, row: int, vector: Floats) -> None:
    total = np.float32(1e-20)
    for at in range(min(_BESIDE, neighbours.items.shape[1])):
        total += neighbours.weights[row, at]
    for at in range(min(_BESIDE, neighbours.items.shape[1])):
        item = neighbours.items[row, at]
        if item == NOBODY:
            return
        number = live.numbers[item]
        if 0 <= number < live.known:
            vector += live.vectors[number] * np.float32(neighbours.weights[row, at] / total)
