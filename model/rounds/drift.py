"""How far the live stream has moved from what a version learned: population stability and the share of unseen items.

The population stability index is the sum of (q - p) ln(q / p) over the bins of two distributions, a symmetric form of
the Kullback-Leibler divergence (Kullback and Leibler, 1951). By the rule of thumb of credit scoring, where it comes
from, nothing has moved below 0.1 and much has above 0.25. Samples of m and n events from one distribution of B bins
still give about (B - 1) (1 / m + 1 / n), which is taken off.

Shapes: B bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts
from model.data.event_log import EventLog, parts
from model.data.events import EVENT_TYPES, SEARCH, Actions
from model.data.sequences import Sequences

DISTRIBUTIONS: Final = ("types", "categories", "items")
_BINS: Final = 50  # most frequent categories or items with a bin each; the others share one, unseen ones another
_LEAST_SHARE: Final = 1e-4  # of a bin: an empty one would make the index infinite

Counts = NDArray[np.int64]  # (B,)
_NO_COUNTS: Final = np.zeros(len(EVENT_TYPES), np.int64)


class DriftMonitor:
    """Compares the types, categories and items of the live events with those that a version learned from."""

    def __init__(self, learned: EventLog) -> None:
        """`learned` is the training window."""
        self._items = _Bins(learned, _items_of)
        self._categories = _Bins(learned, _categories_of)
        types = sum((np.bincount(part.types, minlength=len(EVENT_TYPES)) for part in parts(learned)), start=_NO_COUNTS)
        self._learned = {"types": types, "categories": self._categories.learned, "items": self._items.learned}
        self._live = {name: np.zeros_like(counts) for name, counts in self._learned.items()}

    def add(self, live: Actions) -> None:
        """Counts events that came after the training window."""
        for name, counts in self._counts(live.in_sequences()).items():
            self._live[name] += counts

    def psi(self) -> dict[str, float]:
        """Returns the population stability index of each distribution; 0 where there is nothing to compare.

        Unseen items are left out: the training window has none, so that a few would look like a landslide.
        """
        indices = {}
        for name, learned in self._learned.items():
            seen = slice(-1) if name == "items" else slice(None)
            indices[name] = population_stability_index(learned[seen], self._live[name][seen])
        return indices

    @property
    def live_events(self) -> int:
        """The number of events since the training window."""
        return int(self._live["types"].sum())

    def unseen_share(self) -> float:
        """Returns the share of the live events on items whose item was not in the training window."""
        items = self._live["items"]
        return float(items[-1] / max(1, items.sum()))

    def _counts(self, actions: Actions) -> dict[str, Counts]:
        return {
            "types": np.bincount(actions.types, minlength=len(EVENT_TYPES)),
            "categories": self._categories.counts(actions.categories[actions.categories != 0]),
            "items": self._items.counts(actions.item_keys[actions.types != SEARCH]),
        }


def _items_of(part: Sequences) -> NDArray[np.uint64]:
    items: NDArray[np.uint64] = part.item_keys[part.types != SEARCH]
    return items


def _categories_of(part: Sequences) -> NDArray[np.uint64]:
    categories = unpack_contexts(part.contexts).categories
    given: NDArray[np.uint64] = categories[categories != 0].astype(np.uint64)
    return given


class _Bins:
    """A bin for each of the most frequent values, one for all other known values and one for unknown ones."""

    def __init__(self, log: EventLog, values_of: Callable[[Sequences], NDArray[np.uint64]]) -> None:
        self._known, counts = _distinct(map(values_of, parts(log)))
        order = np.argsort(-counts, kind="stable")
        self._bins = np.full(len(order) + 1, _BINS)
        self._bins[order[:_BINS]] = np.arange(min(_BINS, len(order)))
        self._bins[-1] = _BINS + 1
        self.learned: Counts = np.bincount(self._bins[:-1], counts, _BINS + 2).astype(np.int64)

    def counts(self, values: NDArray[np.unsignedinteger]) -> Counts:
        """Counts the values in each bin, (B,)."""
        indices = np.searchsorted(self._known, values)
        known = indices < len(self._known)
        known[known] = self._known[indices[known]] == values[known]
        return np.bincount(self._bins[np.where(known, indices, len(self._known))], minlength=_BINS + 2)


def _distinct(groups: Iterable[NDArray[np.uint64]]) -> tuple[NDArray[np.uint64], Counts]:
    """Returns the distinct values of all groups, rising, and how often each occurs."""
    known, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for group in groups:
        values, counts_of_group = np.unique(group, return_counts=True)
        known, indices = np.unique(np.concatenate((known, values)), return_inverse=True)
        counts = np.bincount(indices, np.concatenate((counts, counts_of_group)), len(known)).astype(np.int64)
    return known, counts


def population_stability_index(learned: Counts, live: Counts) -> float:
    """Returns the index of two distributions given as counts (B,), less what chance adds to it; never below 0."""
    m, n = int(learned.sum()), int(live.sum())
    if not m or not n:
        return 0.0
    p, q = (np.maximum(counts / counts.sum(), _LEAST_SHARE) for counts in (learned, live))
    bins = int(((learned > 0) | (live > 0)).sum())
    index = float(((q - p) * np.log(q / p)).sum()) - (bins - 1) * (1 / m + 1 / n)
    return max(0.0, index)
