"""Baselines that an evaluation puts beside every model, learned from a whole log at once.

They know the training data and what a user did before the target; they do not learn on the way.
Shapes: A actions on items, I items, P pairs of items, N targets, K items of a list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.covisits import covisit_pairs
from model.data.events import SEARCH
from model.data.sequences import Sequences
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, RankedTargets, ranks_in_lists
from model.kernels.compiled import compiled
from model.serving.rules import Rules

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class ItemIndex:
    """Numbers the items of a log with codes 0..I-1, and lists its actions on items in the order of users."""

    def __init__(self, sequences: Sequences) -> None:
        on_item = sequences.types != SEARCH
        users = np.repeat(np.arange(len(sequences.offsets) - 1), np.diff(sequences.offsets))
        self.users: Codes = users[on_item]
        self.times: Codes = sequences.times[on_item]
        self.item_keys, self.codes = np.unique(sequences.item_keys[on_item], return_inverse=True)

    def __len__(self) -> int:
        return len(self.item_keys)

    def codes_of(self, item_keys: NDArray[np.uint64]) -> Codes:
        """Returns the codes of items, same shape; -1: the log does not have the item."""
        if not len(self):
            return np.full(item_keys.shape, -1)
        codes = np.minimum(np.searchsorted(self.item_keys, item_keys), len(self) - 1)
        return np.where(self.item_keys[codes] == item_keys, codes, -1)

    def item_keys_of(self, codes: Codes) -> NDArray[np.uint64]:
        """Returns the keys of codes, same shape; 0 for -1."""
        return np.concatenate((self.item_keys, np.zeros(1, np.uint64)))[codes]


class PopularItems:
    """Ranks items by their number of actions; with a half-life, recent ones weigh more."""

    def __init__(self, items: ItemIndex, half_life: float | None = None) -> None:
        """Weights halve every `half_life` actions on items."""
        age = np.empty(len(items.codes))
        age[np.argsort(items.times, kind="stable")] = np.arange(len(age))[::-1]
        self._items = items
        self._weights = np.bincount(items.codes, 0.5 ** (age / half_life) if half_life else None, len(items))
        self._rising = np.sort(self._weights)
        self.best = items.item_keys[np.argsort(-self._weights, kind="stable")[:LIST_SIZE]]  # (K,) at most

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks alike for all users."""
        codes = self._items.codes_of(holdout.item_keys)
        ranks, known = np.full(len(holdout), MISSED), codes >= 0
        ranks[known] = len(self._items) - np.searchsorted(self._rising, self._weights[codes[known]])
        return RankedTargets(ranks, fill_lists(np.zeros((len(holdout), LIST_SIZE), np.uint64), self.best))


class OwnItems:
    """Lists the user's own items, latest first, then popular ones."""

    def __init__(self, popular: PopularItems) -> None:
        self._popular = popular

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by the position in the list."""
        return ranks_in_lists(fill_lists(latest_items(holdout, LIST_SIZE), self._popular.best), holdout.item_keys)


class Transitions:
    """Lists what followed the user's latest item in training, then popular items.

    Each of the COVISIT_WINDOW items before an item at distance g adds 1 / g to the item as its follower. Equal
    followers stand in the order in which they were first seen.
    """

    def __init__(self, items: ItemIndex, popular: PopularItems) -> None:
        self._items = items
        self._popular = popular
        keys, weights, seen = _pairs(items)
        befores, afters = np.divmod(keys, max(1, len(items)))
        self._afters = np.append(afters[np.lexsort((seen, -weights, befores))], -1)
        self._starts = np.searchsorted(befores, np.arange(len(items) + 1))  # of each item's followers

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by the position in the list."""
        followers = self._items.item_keys_of(self._best(self._items.codes_of(latest_items(holdout, 1)[:, 0])))
        return ranks_in_lists(fill_lists(followers, self._popular.best), holdout.item_keys)

    def _best(self, befores: Codes) -> Codes:
        """Returns the codes of the strongest followers, (N, K); -1: there are fewer."""
        indices = self._starts[befores][:, None] + np.arange(LIST_SIZE)
        exist = (befores >= 0)[:, None] & (indices < self._starts[befores + 1][:, None])
        return self._afters[np.where(exist, indices, -1)]


class RulesRanker:
    """Lists what the rules serve: transitions and own items in turn, then recently popular ones."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by the position in the list."""
        top = np.zeros((len(holdout), LIST_SIZE), np.uint64)
        for n, recent in enumerate(latest_items(holdout, 2 * LIST_SIZE).tolist()):
            ranked = self._rules.rank([item for item in recent if item], LIST_SIZE)
            top[n, : len(ranked)] = ranked
        return ranks_in_lists(top, holdout.item_keys)


def fill_lists(top: NDArray[np.uint64], best: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Fills the ends of lists (N, K), which are 0, with the best items (K,) that are not in them yet."""
    filled = top.copy()
    _fill(filled, best)
    return filled


def latest_items(holdout: Holdout, most: int) -> NDArray[np.uint64]:
    """Returns the distinct items before each target in its sequence, latest first, (N, most); 0: there are fewer."""
    latest = np.zeros((len(holdout), most), np.uint64)
    _latest(holdout.sequences.item_keys, holdout.sequences.types != SEARCH, holdout.starts, holdout.positions, latest)
    return latest


@compiled
def _latest(
    item_keys: NDArray[np.uint64], on_item: NDArray[np.bool_], starts: Codes, stops: Codes, latest: NDArray[np.uint64]
) -> None:
    for n in range(len(stops)):
        count = 0
        for position in range(stops[n] - 1, starts[n] - 1, -1):
            if count == latest.shape[1]:
                break
            fresh = on_item[position]
            for known in range(count):
                fresh = fresh and latest[n, known] != item_keys[position]
            if fresh:
                latest[n, count] = item_keys[position]
                count += 1


@compiled
def _fill(top: NDArray[np.uint64], best: NDArray[np.uint64]) -> None:
    for row in top:
        count = 0
        while count < len(row) and row[count] != 0:
            count += 1
        for item in best:
            if count == len(row):
                break
            listed = False
            for known in range(count):
                listed = listed or row[known] == item
            if not listed:
                row[count] = item
                count += 1


def _pairs(items: ItemIndex) -> tuple[Codes, Floats, Codes]:
    """Counts all pairs: returns rising keys (before * I + after), weights, the first time in ms; (P,) each."""
    keys, weights, seen = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
    for gap, earlier, later in covisit_pairs(items.users):
        fresh = items.codes[earlier] * len(items) + items.codes[later]
        keys = np.concatenate((keys, fresh))
        order = np.argsort(keys, kind="stable")
        keys, first = np.unique(keys[order], return_index=True)
        weights = np.add.reduceat(np.append(weights, np.full(len(fresh), 1.0 / gap))[order], first)
        seen = np.minimum.reduceat(np.append(seen, items.times[later])[order], first)
    return keys, weights.round(9), seen  # rounded, so that equal sums are equal whatever their order
