"""What the log says about items, beside the network: what goes together, what is popular, what is alike.

Counted anew from the sequences of users in every training; newer actions weigh more.
Shapes: A actions on known items, I items of the vocabulary, E entries of all rows. Items are catalogue indices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data import Sequences
from model.events import CATEGORY_BUCKETS, SEARCH, unpack_contexts
from model.vocabulary import ITEM_BUCKETS, Vocabulary

Floats = NDArray[np.float32]

WINDOW: Final = 10  # actions apart, at most; a pair of actions that are g apart weighs 1 / g
MOST_NEIGHBOURS: Final = 128  # of an item: the heaviest
POPULAR: Final = 16
POPULAR_ALIKE: Final = 24  # of each category
HALF_LIFE: Final = 0.4  # of what an action counts for, as a share of the log's time
LATE: Final = 0.03  # the same, for what is popular of late
_POPULARITY_SCALE: Final = 4.0  # features should be about as large as one


class Neighbours(NamedTuple):
    """Rows of items: those of row i are at `starts[i]` to `starts[i + 1]`, heaviest first."""

    starts: NDArray[np.int64]  # (rows + 1,)
    items: NDArray[np.int32]  # (E,)
    shares: Floats  # (E,) of the weight of the whole row, dropped items included


class Evidence(NamedTuple):
    """What the log says about items."""

    followers: Neighbours  # by item
    predecessors: Neighbours  # by item
    popular: NDArray[np.int32]  # (POPULAR,) the most popular items of late
    popular_alike: Neighbours  # by bucket of the category
    categories: NDArray[np.int64]  # (I,) buckets; 0: not known
    brands: NDArray[np.int64]  # (I,) buckets; 0: not known
    popularity: Floats  # (I,) logarithm of the share among I items
    trend: Floats  # (I,) logarithm of how much larger that share is of late


def evidence_of(sequences: Sequences, vocabulary: Vocabulary) -> Evidence:
    """Counts a log."""
    rows = vocabulary.rows_of(sequences.objects) - ITEM_BUCKETS
    known = (sequences.types != SEARCH) & (rows >= 0)
    items, size = rows[known], len(vocabulary)
    offsets = np.concatenate(([0], np.cumsum(known)))[sequences.offsets]
    ages = _ages(sequences.times)[known]
    popularity = _sums(items, 0.5 ** (ages / HALF_LIFE), size)
    late = _sums(items, 0.5 ** (ages / LATE), size)
    followers, predecessors = neighbours(items, offsets, 0.5 ** (ages / HALF_LIFE), size)
    fields = unpack_contexts(sequences.contexts[known])
    categories, brands = np.zeros(size, np.int64), np.zeros(size, np.int64)
    categories[items], brands[items] = fields.categories, fields.brands
    share, late_share = _smoothed(popularity, 0.5), _smoothed(late, 0.2 * late.sum() / max(1, size) or 1.0)
    return Evidence(
        followers=followers,
        predecessors=predecessors,
        popular=np.argsort(-late, kind="stable")[:POPULAR].astype(np.int32),
        popular_alike=_rows(categories, np.arange(size), late, CATEGORY_BUCKETS, POPULAR_ALIKE),
        categories=categories,
        brands=brands,
        popularity=(np.log(share) / _POPULARITY_SCALE).astype(np.float32),
        trend=(np.log(late_share / share) / _POPULARITY_SCALE).astype(np.float32),
    )


def neighbours(
    items: NDArray[np.int64], offsets: NDArray[np.int64], weights: NDArray[np.float64], size: int
) -> tuple[Neighbours, Neighbours]:
    """What followed each of `size` items, and what it followed, in sequences of items (A,) with their `offsets`.

    A pair weighs as its later item, `weights` (A,), divided by how far apart the two are.
    """
    sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    pairs, sums = np.zeros(0, np.int64), np.zeros(0)
    for gap in range(1, WINDOW + 1):  # one after the other: all pairs at once would take ten times the memory
        together = np.flatnonzero(sequence[gap:] == sequence[:-gap])
        found = items[together] * size + items[together + gap]
        pairs, sums = _summed(np.concatenate((pairs, found)), np.concatenate((sums, weights[together + gap] / gap)))
    before, after = pairs // max(1, size), pairs % max(1, size)
    return _rows(before, after, sums, size, MOST_NEIGHBOURS), _rows(after, before, sums, size, MOST_NEIGHBOURS)


def tensors_of(evidence: Evidence) -> dict[str, NDArray[np.generic]]:
    """The arrays by name, for a file."""
    found: dict[str, NDArray[np.generic]] = {}
    for name, value in evidence._asdict().items():
        if isinstance(value, Neighbours):
            found |= {f"{name}.{part}": array for part, array in value._asdict().items()}
        else:
            found[name] = value
    return found


def evidence_from(arrays: Mapping[str, NDArray[np.generic]]) -> Evidence:
    """The inverse of `tensors_of`; raises `KeyError` for an array that is missing."""

    def rows(name: str) -> Neighbours:
        return Neighbours(*(arrays[f"{name}.{part}"] for part in Neighbours._fields))  # type: ignore[arg-type]

    nested = ("followers", "predecessors", "popular_alike")
    return Evidence(**{name: rows(name) if name in nested else arrays[name] for name in Evidence._fields})  # type: ignore[arg-type]


def _ages(times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ages as shares of the time that the log takes, 0 for the newest."""
    if not len(times):
        return np.zeros(0)
    newest, oldest = int(times.max()), int(times.min())
    return (newest - times) / max(1, newest - oldest)


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
    of: NDArray[np.int64], to: NDArray[np.int64], weights: NDArray[np.float64], rows: int, most: int
) -> Neighbours:
    """The heaviest `most` of each of so many rows."""
    totals = _sums(of, weights, rows)
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
