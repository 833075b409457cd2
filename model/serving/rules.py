"""Rules that need no training: popular items, the user's own, what followed an item before, chains of types.

They serve before the first weights exist, and run beside every model, which has to beat them.
Items are their 64-bit keys (`events.item_key`) as plain Python ints, so a user's ring of actions is all that `rank`
needs, also right after a restart. Everything is learned online, in constant time per action and in bounded memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Final

from model.data.covisits import COVISIT_WEIGHTS
from model.data.events import EVENT_TYPES, PURCHASE, PURCHASE_HORIZON

RULES_HALF_LIFE: Final = 50_000  # actions on items in which popularity halves
NO_TYPE: Final = len(EVENT_TYPES)  # the previous type of a user's first action
POPULAR_KEPT: Final = 256  # popular items ranked at once
REFRESH: Final = 64  # events, at least, between two looks at all items or types
HEAVIEST: Final = 1e100  # weight of one event at which all popularity is scaled down


class Rules:
    """Counts of what the stream has shown so far, and rankings from them."""

    def __init__(self, *, half_life: float = RULES_HALF_LIFE, max_items: int = 50_000, max_followers: int = 64) -> None:
        """Popularity halves every `half_life` actions on items; beyond the limits the weakest are dropped."""
        # New actions weigh more, instead of old ones less: constant time per action.
        self._growth = 2.0 ** (1.0 / half_life)
        self._max_items = max_items
        self._max_followers = max_followers
        self._weight = 1.0
        self._names: dict[int, str] = {}
        self._popularity: dict[int, float] = {}
        self._followers: dict[int, dict[int, float]] = {}
        self._popular: list[int] = []
        self._popular_due = 0
        self._types = [[0] * len(EVENT_TYPES) for _ in range(len(EVENT_TYPES) + 1)]
        self._purchases = [0.0] * (len(EVENT_TYPES) + 1)
        self._purchases_due = 0

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> Mapping[int, str]:
        """The ids of all known items by key; a new, smaller mapping once the weakest were dropped."""
        return self._names

    def learn(self, previous: Sequence[int], item: int, name: str) -> None:
        """Counts an action on an item, after `previous`: the user's earlier items, latest first, repeats included.

        Each of the last COVISIT_WINDOW predecessors at distance g adds 1 / g to its transition to the item.
        """
        popularity = self._popularity
        self._weight *= self._growth
        popularity[item] = popularity.get(item, 0.0) + self._weight
        self._names[item] = name
        followers = self._followers
        for before, weight in zip(previous, COVISIT_WEIGHTS, strict=False):  # the window ends with the weights
            after = followers.get(before)
            if after is None:
                after = followers[before] = {}
            after[item] = after.get(item, 0.0) + weight
            if len(after) > 3 * self._max_followers:  # rarely, as it looks at all of them
                followers[before] = _strongest(after, self._max_followers)
        self._popular_due -= 1
        too_many = len(popularity) > self._max_items or len(followers) > 2 * self._max_items
        if too_many or self._weight > HEAVIEST:
            self._compact()

    def rank(self, recent: Sequence[int], k: int) -> list[int]:
        """Ranks at most k items: what followed the latest item in turn with the user's own, then popular ones.

        `recent`: the user's items, latest first, the current one included, repeats allowed.
        """
        after = self._followers.get(recent[0], {}) if recent else {}
        ranked = sorted(after, key=after.__getitem__, reverse=True)[:k]
        in_turn = zip_longest(ranked, islice(dict.fromkeys(recent), k))
        merged = dict.fromkeys(chain.from_iterable(in_turn))
        best = [item for item in merged if item in self._names]
        if len(best) < k:
            best += [item for item in self.popular(k) if item not in merged]
        return best[:k]

    def popular(self, k: int) -> list[int]:
        """Ranks at most k items by recent popularity, as it was at the last look at all items."""
        if self._popular_due <= 0 or k > len(self._popular) < len(self._popularity):
            self._popular = heapq.nlargest(max(k, POPULAR_KEPT), self._popularity, key=self._popularity.__getitem__)
            self._popular_due = max(REFRESH, len(self._popularity) // 8)
        return self._popular[:k]

    def learn_type(self, previous_type: int, type_code: int) -> None:
        """Counts an event of any type after one of `previous_type` (NO_TYPE: the user's first)."""
        self._types[previous_type][type_code] += 1
        self._purchases_due -= 1

    def type_probabilities(self, previous_type: int) -> list[float]:
        """P(next type | previous type) over EVENT_TYPES, with one added to every count; sums to 1."""
        counts = self._types[previous_type]
        total = sum(counts) + len(counts)
        return [(count + 1) / total for count in counts]

    def purchase_probability(self, previous_type: int) -> float:
        """P(a purchase among the user's next PURCHASE_HORIZON events), by the chain of types alone.

        The chain may also end: an event of a type that nothing followed so far counts as the user's last. Time plays
        no role: a purchase hours later counts too.
        """
        if self._purchases_due <= 0:
            self._purchases = self._purchase_chain()
            self._purchases_due = REFRESH
        return self._purchases[previous_type]

    def _purchase_chain(self) -> list[float]:
        """Computes first passages to a purchase from every previous type: h events from the h - 1 that follow one."""
        types = range(len(EVENT_TYPES))
        seen = [sum(row[code] for row in self._types) for code in types]
        stays = [min(1.0, (sum(self._types[code]) + 1) / (seen[code] + 2)) for code in types] + [1.0]
        steps = [[stay * p for p in self.type_probabilities(code)] for code, stay in enumerate(stays)]
        chances = [0.0] * len(steps)
        for _ in range(PURCHASE_HORIZON):
            chances = [row[PURCHASE] + sum(row[b] * chances[b] for b in types if b != PURCHASE) for row in steps]
        return chances

    def _compact(self) -> None:
        """Forgets the least popular eighth of too many items, and brings weights back to a scale of 1."""
        popularity = self._popularity
        if len(popularity) > self._max_items:
            popularity = _strongest(popularity, self._max_items - self._max_items // 8)
        self._popularity = {item: weight / self._weight for item, weight in popularity.items()}
        self._names = {item: self._names[item] for item in popularity}
        self._followers = {item: self._followers[item] for item in popularity if item in self._followers}
        self._weight = 1.0
        self._popular_due = 0


def _strongest(weights: dict[int, float], count: int) -> dict[int, float]:
    return {item: weights[item] for item in heapq.nlargest(count, weights, key=weights.__getitem__)}
