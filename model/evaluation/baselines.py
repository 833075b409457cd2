"""Baselines that an evaluation puts beside every model, learned from a whole log at once.

They know the training data and, of a user, what came before the target; they do not learn on the way.
Shapes: A actions on items, I items, P pairs of items, N targets, K places of a list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.covisits import covisit_pairs
from model.data.events import SEARCH
from model.data.sequences import Sequences
from model.evaluation.ranking import LISTED, MISSED, Holdout, RankedTargets, listed
from model.kernels.compiled import compiled
from model.serving.rules import Rules

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Items:
    """The items of a log with codes 0..I-1, and its actions on items in the order of users."""

    def __init__(self, sequences: Sequences) -> None:
        on_item = sequences.types != SEARCH
        users = np.repeat(np.arange(len(sequences.offsets) - 1), np.diff(sequences.offsets))
        self.users: Codes = users[on_item]
        self.times: Codes = sequences.times[on_item]
        self.item_keys, self.codes = np.unique(sequences.item_keys[on_item], return_inverse=True)

    def __len__(self) -> int:
        return len(self.item_keys)

    def codes_of(self, item_keys: NDArray[np.uint64]) -> Codes:
        """Codes of objects, same shape; -1 of those that the log does not have."""
        if not len(self):
            return np.full(item_keys.shape, -1)
        places = np.minimum(np.searchsorted(self.item_keys, item_keys), len(self) - 1)
        return np.where(self.item_keys[places] == item_keys, places, -1)

    def item_keys_of(self, codes: Codes) -> NDArray[np.uint64]:
        """Objects of codes, same shape; 0 of -1."""
        return np.concatenate((self.item_keys, np.zeros(1, np.uint64)))[codes]


class Popular:
    """Items by how often they were touched, recent actions weighing more where there is a half-life."""

    def __init__(self, items: Items, half_life: float | None = None) -> None:
        """Weights halve every `half_life` actions on items."""
        age = np.empty(len(items.codes))
        age[np.argsort(items.times, kind="stable")] = np.arange(len(age))[::-1]
        self._items = items
        self._weights = np.bincount(items.codes, 0.5 ** (age / half_life) if half_life else None, len(items))
        self._rising = np.sort(self._weights)
        self.best = items.item_keys[np.argsort(-self._weights, kind="stable")[:LISTED]]  # (K,) or all there are

    def rank(self, holdout: Holdout) -> RankedTargets:
        """The same list for everybody."""
        codes = self._items.codes_of(holdout.item_keys)
        ranks, known = np.full(len(holdout), MISSED), codes >= 0
        ranks[known] = len(self._items) - np.searchsorted(self._rising, self._weights[codes[known]])
        return RankedTargets(ranks, completed(np.zeros((len(holdout), LISTED), np.uint64), self.best))


class OwnItems:
    """The user's own items, latest first, then popular ones."""

    def __init__(self, popular: Popular) -> None:
        self._popular = popular

    def rank(self, holdout: Holdout) -> RankedTargets:
        """By the place in the list."""
        return listed(completed(latest_items(holdout, LISTED), self._popular.best), holdout.item_keys)


class Transitions:
    """What followed the latest item before, then popular ones.

    Each of the COVISIT_WINDOW items before an item at distance g adds 1 / g to the item as its follower. Equal
    followers stand as they were first seen.
    """

    def __init__(self, items: Items, popular: Popular) -> None:
        self._items = items
        self._popular = popular
        keys, weights, seen = _pairs(items)
        befores, afters = np.divmod(keys, max(1, len(items)))
        self._afters = np.append(afters[np.lexsort((seen, -weights, befores))], -1)
        self._starts = np.searchsorted(befores, np.arange(len(items) + 1))  # of each item's followers

    def rank(self, holdout: Holdout) -> RankedTargets:
        """By the place in the list."""
        followers = self._items.item_keys_of(self._best(self._items.codes_of(latest_items(holdout, 1)[:, 0])))
        return listed(completed(followers, self._popular.best), holdout.item_keys)

    def _best(self, befores: Codes) -> Codes:
        """Codes of the strongest followers, (N, K); -1: no more."""
        places = self._starts[befores][:, None] + np.arange(LISTED)
        there = (befores >= 0)[:, None] & (places < self._starts[befores + 1][:, None])
        return self._afters[np.where(there, places, -1)]


class ServedRules:
    """The rules as the stream serves them: transitions and own items in turn, then recently popular ones."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def rank(self, holdout: Holdout) -> RankedTargets:
        """By the place in the list."""
        top = np.zeros((len(holdout), LISTED), np.uint64)
        for place, recent in enumerate(latest_items(holdout, 2 * LISTED).tolist()):
            ranked = self._rules.rank([item for item in recent if item], LISTED)
            top[place, : len(ranked)] = ranked
        return listed(top, holdout.item_keys)


def completed(top: NDArray[np.uint64], best: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Lists (N, K) whose empty places, 0, are filled with those of the best items (K,) that are not in them yet."""
    filled = top.copy()
    _complete(filled, best)
    return filled


def latest_items(holdout: Holdout, most: int) -> NDArray[np.uint64]:
    """Objects of the distinct items that each user touched before the target, latest first, (N, most); 0: no more."""
    found = np.zeros((len(holdout), most), np.uint64)
    _latest(holdout.sequences.item_keys, holdout.sequences.types != SEARCH, holdout.starts, holdout.places, found)
    return found


@compiled
def _latest(
    item_keys: NDArray[np.uint64], on_item: NDArray[np.bool_], starts: Codes, places: Codes, found: NDArray[np.uint64]
) -> None:
    for n in range(len(places)):
        count = 0
        for place in range(places[n] - 1, starts[n] - 1, -1):
            if count == found.shape[1]:
                break
            fresh = on_item[place]
            for known in range(count):
                fresh = fresh and found[n, known] != item_keys[place]
            if fresh:
                found[n, count] = item_keys[place]
                count += 1


@compiled
def _complete(top: NDArray[np.uint64], best: NDArray[np.uint64]) -> None:
    for row in top:
        count = 0
        while count < len(row) and row[count] != 0:
            count += 1
        for item in best:
            if count == len(row):
                break
            there = False
            for known in range(count):
                there = there or row[known] == item
            if not there:
                row[count] = item
                count += 1


def _pairs(items: Items) -> tuple[Codes, Floats, Codes]:
    """All pairs that occurred: rising keys (before * I + after), weights, the first time in ms; (P,) each."""
    keys, weights, seen = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
    for gap, earlier, later in covisit_pairs(items.users):
        fresh = items.codes[earlier] * len(items) + items.codes[later]
        keys = np.concatenate((keys, fresh))
        order = np.argsort(keys, kind="stable")
        keys, first = np.unique(keys[order], return_index=True)
        weights = np.add.reduceat(np.append(weights, np.full(len(fresh), 1.0 / gap))[order], first)
        seen = np.minimum.reduceat(np.append(seen, items.times[later])[order], first)
    return keys, weights.round(9), seen  # rounded, so that equal sums are equal whatever their order
