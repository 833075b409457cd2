"""What the log says about items, beside the network: what is visited together, what is popular, what is alike.

The statistics are counted from the sequences of users in every training; newer actions weigh more.
Shapes: A actions on known items, I items of the vocabulary, E entries of all rows. Items are catalogue indices.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts
from model.data.covisits import covisit_pairs
from model.data.event_log import EventLog, parts
from model.data.events import CATEGORY_BUCKETS, SEARCH
from model.data.sequences import Sequences
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.kernels.compiled import Floats

MOST_NEIGHBOURS: Final = 128  # neighbours of an item, the heaviest ones
POPULAR: Final = 16  # items that are popular of late
POPULAR_ALIKE: Final = 24  # items of each category that are popular of late
HALF_LIFE: Final = 0.4  # of the weight of an action, as a share of the log's time
LATE: Final = 0.03  # half-life of the weight for what is popular of late, as a share of the log's time
_PAIRS_PER_ACTION: Final = 4  # pairs of items that a log in parts keeps, for each action that there is room for
_POPULARITY_SCALE: Final = 4.0  # features should be about as large as one


class Neighbours(NamedTuple):
    """Rows of items: row i is from `starts[i]` to `starts[i + 1]`, heaviest first."""

    starts: NDArray[np.int64]  # (rows + 1,)
    items: NDArray[np.int32]  # (E,)
    shares: Floats  # (E,) share of each in the weight of its row, dropped items included


class ItemStatistics(NamedTuple):
    """What the log says about items. The names of the fields are keys in files of versions."""

    followers: Neighbours  # by item
    predecessors: Neighbours  # by item
    popular: NDArray[np.int32]  # (POPULAR,) the most popular items of late
    popular_alike: Neighbours  # by bucket of the category
    categories: NDArray[np.int64]  # (I,) buckets; 0: unknown
    brands: NDArray[np.int64]  # (I,) buckets; 0: unknown
    popularity: Floats  # (I,) logarithm of the share among I items
    trend: Floats  # (I,) logarithm of how many times larger that share is of late


def item_statistics_of(log: EventLog, vocabulary: Vocabulary) -> ItemStatistics:
    """Counts the statistics of a log, part by part."""
    counts, size = _ItemCounts(log, len(vocabulary)), len(vocabulary)
    for sequences in parts(log):
        counts.add(sequences, vocabulary)
    followers, predecessors = counts.pairs.neighbours()
    late = counts.late
    share, late_share = _smoothed(counts.popularity, 0.5), _smoothed(late, 0.2 * late.sum() / max(1, size) or 1.0)
    return ItemStatistics(
        followers=followers,
        predecessors=predecessors,
        popular=np.argsort(-late, kind="stable")[:POPULAR].astype(np.int32),
        popular_alike=_rows(counts.categories, np.arange(size), late, CATEGORY_BUCKETS, POPULAR_ALIKE),
        categories=counts.categories,
        brands=counts.brands,
        popularity=(np.log(share) / _POPULARITY_SCALE).astype(np.float32),
        trend=(np.log(late_share / share) / _POPULARITY_SCALE).astype(np.float32),
    )


class _ItemCounts:
    """The counts of a log so far; (I,) each."""

    def __init__(self, log: EventLog, size: int) -> None:
        self.popularity, self.late = np.zeros(size), np.zeros(size)
        self.categories, self.brands = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self.pairs = CoVisits(size, most=sys.maxsize if log.part_count == 1 else _PAIRS_PER_ACTION * log.room)
        self._oldest, self._newest = log.span

    def add(self, sequences: Sequences, vocabulary: Vocabulary) -> None:
        rows = vocabulary.rows_of(sequences.item_keys) - ITEM_BUCKETS
        known = (sequences.types != SEARCH) & (rows >= 0)
        items = rows[known]
        log_time = max(1, self._newest - self._oldest)
        times = np.maximum(sequences.times[known], self._oldest)  # an unknown time counts as the oldest
        ages = (self._newest - times) / log_time  # as shares of it
        weights = 0.5 ** (ages / HALF_LIFE)
        self.popularity += _sums(items, weights, len(vocabulary))
        self.late += _sums(items, 0.5 ** (ages / LATE), len(vocabulary))
        self.pairs.add(items, np.concatenate(([0], np.cumsum(known)))[sequences.offsets], weights)
        fields = unpack_contexts(sequences.contexts[known])
        self.categories[items], self.brands[items] = fields.categories, fields.brands


class CoVisits:
    """Counts which of so many items followed which in the sequences of users.

    A pair weighs as much as its later action, divided by how far apart the two are.
    """

    def __init__(self, size: int, *, most: int = sys.maxsize) -> None:
        """After each `add` only the heaviest `most` pairs stay; the weight of the others still counts in the shares."""
        self._size, self._most = max(1, size), most
        self._pairs, self._sums = np.zeros(0, np.int64), np.zeros(0)
        self._before, self._after = np.zeros(size), np.zeros(size)  # weight of all pairs with each item before or after

    def add(self, items: NDArray[np.int64], offsets: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Counts sequences of items (A,), which begin at `offsets`, with weights (A,)."""
        users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        pairs, sums = np.zeros(0, np.int64), np.zeros(0)
        for gap, earlier, later in covisit_pairs(users):
            fresh = items[earlier] * self._size + items[later]
            pairs, sums = _summed(np.concatenate((pairs, fresh)), np.concatenate((sums, weights[later] / gap)))
        self._before += _sums(pairs // self._size, sums, len(self._before))
        self._after += _sums(pairs % self._size, sums, len(self._after))
        if len(self._pairs):
            pairs, sums = _summed(np.concatenate((self._pairs, pairs)), np.concatenate((self._sums, sums)))
        self._pairs, self._sums = pairs, sums
        if len(self._pairs) > self._most:
            heaviest = np.sort(np.argpartition(-self._sums, self._most)[: self._most])
            self._pairs, self._sums = self._pairs[heaviest], self._sums[heaviest]

    def neighbours(self) -> tuple[Neighbours, Neighbours]:
        """Returns the followers and the predecessors of each item."""
        before, after, sums, size = *np.divmod(self._pairs, self._size), self._sums, len(self._before)
        return (
            _rows(before, after, sums, size, MOST_NEIGHBOURS, self._before),
            _rows(after, before, sums, size, MOST_NEIGHBOURS, self._after),
        )


def tensors_of(statistics: ItemStatistics) -> dict[str, NDArray[np.generic]]:
    """Returns the arrays by name, for a file."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, value in statistics._asdict().items():
        if isinstance(value, Neighbours):
            arrays |= {f"{name}.{field}": array for field, array in value._asdict().items()}
        else:
            arrays[name] = value
    return arrays


def item_statistics_from(arrays: Mapping[str, NDArray[np.generic]]) -> ItemStatistics:
    """Builds statistics from the arrays of `tensors_of`; raises `KeyError` when one is missing."""

    def rows(name: str) -> Neighbours:
        return Neighbours(*(arrays[f"{name}.{field}"] for field in Neighbours._fields))  # type: ignore[arg-type]

    nested = ("followers", "predecessors", "popular_alike")
    return ItemStatistics(**{name: rows(name) if name in nested else arrays[name] for name in ItemStatistics._fields})  # type: ignore[arg-type]


def _smoothed(counts: NDArray[np.float64], more: float) -> NDArray[np.float64]:
    """Adds something to each count and divides by the mean."""
    smoothed: NDArray[np.float64] = counts + max(more, 1e-9)
    return smoothed / smoothed.mean() if len(smoothed) else smoothed


def _sums(codes: NDArray[np.int64], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sums the weights of each of `size` codes."""
    return np.bincount(codes, weights=weights, minlength=size).astype(np.float64)


def _summed(pairs: NDArray[np.int64], weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns each pair once, rising, with the sum of its weights."""
    distinct, inverse = np.unique(pairs, return_inverse=True)
    return distinct, _sums(inverse, weights, len(distinct))


def _rows(
    rows: NDArray[np.int64],
    items: NDArray[np.int64],
    weights: NDArray[np.float64],
    row_count: int,
    most: int,
    totals: NDArray[np.float64] | None = None,
) -> Neighbours:
    """Puts items with weights into the rows given with them, the heaviest `most` of each.

    `totals` (row_count,) are the weights of the whole rows; by default the sums of those given.
    """
    totals = _sums(rows, weights, row_count) if totals is None else totals
    order = np.lexsort((-weights, rows))
    rows, items, weights = rows[order], items[order], weights[order]
    starts = np.searchsorted(rows, np.arange(row_count + 1))
    heaviest = np.arange(len(rows)) - starts[rows] < most
    rows, items, weights = rows[heaviest], items[heaviest], weights[heaviest]
    return Neighbours(
        starts=np.searchsorted(rows, np.arange(row_count + 1)).astype(np.int64),
        items=items.astype(np.int32),
        shares=(weights / np.maximum(totals[rows], 1e-30)).astype(np.float32),
    )
