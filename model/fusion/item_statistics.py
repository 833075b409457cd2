"""What the log says about items, beside the network: what goes together, what is popular, what is alike.

Counted anew from the sequences of users in every training; newer actions weigh more.
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

MOST_NEIGHBOURS: Final = 128  # of an item: the heaviest
POPULAR: Final = 16
POPULAR_ALIKE: Final = 24  # of each category
HALF_LIFE: Final = 0.4  # of what an action counts for, as a share of the log's time
LATE: Final = 0.03  # the same, for what is popular of late
_PAIRS_IN_ROOM: Final = 4  # pairs kept of a log in parts, for each action that there is room for
_POPULARITY_SCALE: Final = 4.0  # features should be about as large as one


class Neighbours(NamedTuple):
    """Rows of items: those of row i are at `starts[i]` to `starts[i + 1]`, heaviest first."""

    starts: NDArray[np.int64]  # (rows + 1,)
    items: NDArray[np.int32]  # (E,)
    shares: Floats  # (E,) of the weight of the whole row, dropped items included


class ItemStatistics(NamedTuple):
    """What the log says about items."""

    followers: Neighbours  # by item
    predecessors: Neighbours  # by item
    popular: NDArray[np.int32]  # (POPULAR,) the most popular items of late
    popular_alike: Neighbours  # by bucket of the category
    categories: NDArray[np.int64]  # (I,) buckets; 0: not known
    brands: NDArray[np.int64]  # (I,) buckets; 0: not known
    popularity: Floats  # (I,) logarithm of the share among I items
    trend: Floats  # (I,) logarithm of how much larger that share is of late


def item_statistics_of(log: EventLog, vocabulary: Vocabulary) -> ItemStatistics:
    """Counts a log, part by part."""
    counts, size = _ItemCounts(log, len(vocabulary)), len(vocabulary)
    for part in parts(log):
        counts.add(part, vocabulary)
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
    """What has been counted of a log so far; (I,) each."""

    def __init__(self, log: EventLog, size: int) -> None:
        self.popularity, self.late = np.zeros(size), np.zeros(size)
        self.categories, self.brands = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self.pairs = CoVisits(size, most=sys.maxsize if log.part_count == 1 else _PAIRS_IN_ROOM * log.room)
        self._oldest, self._newest = log.span

    def add(self, part: Sequences, vocabulary: Vocabulary) -> None:
        rows = vocabulary.rows_of(part.item_keys) - ITEM_BUCKETS
        known = (part.types != SEARCH) & (rows >= 0)
        items = rows[known]
        ages = (self._newest - part.times[known]) / max(1, self._newest - self._oldest)  # as shares of the log's time
        weights = 0.5 ** (ages / HALF_LIFE)
        self.popularity += _sums(items, weights, len(vocabulary))
        self.late += _sums(items, 0.5 ** (ages / LATE), len(vocabulary))
        self.pairs.add(items, np.concatenate(([0], np.cumsum(known)))[part.offsets], weights)
        fields = unpack_contexts(part.contexts[known])
        self.categories[items], self.brands[items] = fields.categories, fields.brands


class CoVisits:
    """Which of so many items followed which, in the sequences of users.

    A pair weighs as its later item, divided by how far apart the two are.
    """

    def __init__(self, size: int, *, most: int = sys.maxsize) -> None:
        """After each part the heaviest `most` pairs are kept; what the others weigh still counts in the shares."""
        self._size, self._most = max(1, size), most
        self._pairs, self._sums = np.zeros(0, np.int64), np.zeros(0)
        self._before, self._after = np.zeros(size), np.zeros(size)  # weight of all pairs of each item

    def add(self, items: NDArray[np.int64], offsets: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Takes in sequences of items (A,) with their `offsets`, and weights (A,)."""
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
            kept = np.sort(np.argpartition(-self._sums, self._most)[: self._most])
            self._pairs, self._sums = self._pairs[kept], self._sums[kept]

    def neighbours(self) -> tuple[Neighbours, Neighbours]:
        """What followed each item, and what it followed."""
        before, after, sums, size = *np.divmod(self._pairs, self._size), self._sums, len(self._before)
        return (
            _rows(before, after, sums, size, MOST_NEIGHBOURS, self._before),
            _rows(after, before, sums, size, MOST_NEIGHBOURS, self._after),
        )


def tensors_of(statistics: ItemStatistics) -> dict[str, NDArray[np.generic]]:
    """The arrays by name, for a file."""
    found: dict[str, NDArray[np.generic]] = {}
    for name, value in statistics._asdict().items():
        if isinstance(value, Neighbours):
            found |= {f"{name}.{part}": array for part, array in value._asdict().items()}
        else:
            found[name] = value
    return found


def item_statistics_from(arrays: Mapping[str, NDArray[np.generic]]) -> ItemStatistics:
    """The inverse of `tensors_of`; raises `KeyError` for an array that is missing."""

    def rows(name: str) -> Neighbours:
        return Neighbours(*(arrays[f"{name}.{part}"] for part in Neighbours._fields))  # type: ignore[arg-type]

    nested = ("followers", "predecessors", "popular_alike")
    return ItemStatistics(**{name: rows(name) if name in nested else arrays[name] for name in ItemStatistics._fields})  # type: ignore[arg-type]


def _smoothed(counts: NDArray[np.float64], more: float) -> NDArray[np.float64]:
    """Shares relative to the mean one, with something added to each count."""
    found: NDArray[np.float64] = counts + max(more, 1e-9)
    return found / found.mean() if len(found) else found


def _sums(places: NDArray[np.int64], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The weight in all of each of `size` places."""
    return np.bincount(places, weights=weights, minlength=size).astype(np.float64)


def _summed(pairs: NDArray[np.int64], weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each pair once, with its weight in all."""
    distinct, places = np.unique(pairs, return_inverse=True)
    return distinct, _sums(places, weights, len(distinct))


def _rows(
    of: NDArray[np.int64],
    to: NDArray[np.int64],
    weights: NDArray[np.float64],
    rows: int,
    most: int,
    totals: NDArray[np.float64] | None = None,
) -> Neighbours:
    """The heaviest `most` of each of so many rows; `totals` (rows,) are the weights of all that was counted."""
    totals = _sums(of, weights, rows) if totals is None else totals
    order = np.lexsort((-weights, of))
    of, to, weights = of[order], to[order], weights[order]
    starts = np.searchsorted(of, np.arange(rows + 1))
    kept = np.arange(len(of)) - starts[of] < most
    of, to, weights = of[kept], to[kept], weights[kept]
    return Neighbours(
        starts=np.searchsorted(of, np.arange(rows + 1)).astype(np.int64),
        items=to.astype(np.int32),
        shares=(weights / np.maximum(totals[of], 1e-30)).astype(np.float32),
    )
