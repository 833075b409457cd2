"""How well the answers of a live run foresaw the next items, by who the user is and who had touched the item before.

Shapes: N targets, T touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import event_keys
from model.evaluation.gate import Difference, difference
from model.evaluation.ranking import LIST_SIZE, MISSED, Ranking, mean, ranking

UNTOUCHED, BORN_OWN, BORN_NOT_OWN, OTHER = range(4)
# By who touched the item before: nobody; items that nobody had touched before the log began, by whether their user has
# touched them since; all others.
TARGET_KINDS: Final = ("untouched", "born_own", "born_not_own", "other")


class Touches(NamedTuple):
    """T times that somebody did something with an item, in the order of the log."""

    events: NDArray[np.int64]  # (T,) numbers of the events in the log, never falling
    users: NDArray[np.int64]  # (T,) numbers of the users
    item_keys: NDArray[np.uint64]  # (T,)


@dataclass(frozen=True, slots=True)
class LiveScores:
    """N next items of users who were answered before, in the order of the log."""

    targets: Touches  # (N,)
    model_ranks: NDArray[np.int64]  # (N,) in the answers before them, 1 is the best; MISSED: not among the 20 best
    rules_ranks: NDArray[np.int64]  # (N,)
    known_users: NDArray[np.bool_]  # (N,) whether the user did something before the log began
    kinds: NDArray[np.uint8]  # (N,) indices into TARGET_KINDS

    def __len__(self) -> int:
        return len(self.model_ranks)

    @property
    def ceiling(self) -> float:
        """The share of targets that somebody had touched before: nobody could have foreseen the others."""
        return mean(self.kinds != UNTOUCHED)

    def slices(self) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
        """Yields kind, name and targets (N,) of every slice that has any."""
        users = {"known": self.known_users, "new": ~self.known_users}
        targets = {name: self.kinds == code for code, name in enumerate(TARGET_KINDS)}
        for kind, masks in (("users", users), ("targets", targets)):
            yield from ((kind, name, mask) for name, mask in masks.items() if mask.any())

    def means(self, subset: NDArray[np.bool_] | None = None) -> tuple[Ranking, Ranking]:
        """Returns the metrics of the model and of the rules, on all targets or on a subset (N,)."""
        chosen = slice(None) if subset is None else subset
        return ranking(self.model_ranks[chosen]), ranking(self.rules_ranks[chosen])

    def gains(self) -> tuple[Difference, Difference]:
        """Returns how far the model is ahead of the rules, in Recall@20 and in MRR@20."""
        users = self.targets.users
        hits, rules_hits = self.model_ranks <= LIST_SIZE, self.rules_ranks <= LIST_SIZE
        recall = hits.astype(np.float64) - rules_hits
        return difference(recall, users), difference(hits / self.model_ranks - rules_hits / self.rules_ranks, users)


def ranks_of(online: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns online ranks (N,), where 0 means that an item is not among the best, as ranks of a `Ranking`."""
    return np.where(online > 0, online, MISSED)


def target_kinds(targets: Touches, touches: Touches, known: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Returns the kinds (N,) of targets, which are among all touches of the log; `known` are the items from before."""
    first_of_all = _first_events(touches.events, touches.item_keys, targets.item_keys)
    first_of_user = _first_events(touches.events, _pairs(touches), _pairs(targets))
    kinds = np.full(len(targets.events), OTHER, np.uint8)
    born = ~np.isin(targets.item_keys, known)
    kinds[born] = BORN_NOT_OWN
    kinds[born & (first_of_user < targets.events)] = BORN_OWN
    kinds[born & (first_of_all >= targets.events)] = UNTOUCHED
    return kinds


def _pairs(touches: Touches) -> NDArray[np.uint64]:
    return event_keys(touches.users.astype(np.uint64) + np.uint64(1), touches.item_keys)


def _first_events(events: NDArray[np.int64], keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns the first event (N,) that has each of the wanted keys, all of which there are."""
    distinct, firsts = np.unique(keys, return_index=True)
    return events[firsts[distinct.searchsorted(wanted)]]
