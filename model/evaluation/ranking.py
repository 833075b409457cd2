"""Full ranking of held-out next items: what is to be foreseen, the seam that every scorer implements, the metrics.

A target ranks behind every other item with at least its score: ties count against the scorer. A target that is not
ranked, because it was not seen in training or is no candidate, is a miss. Shapes: N targets, K places of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.sequences import Sequences

DEPTHS: Final = (1, 5, 10, 20)
LISTED: Final = DEPTHS[-1]  # K: no metric looks deeper
MISSED: Final = np.iinfo(np.int64).max  # the rank of a target that is not ranked
_PART: Final = 4096  # targets ranked at once, so that memory is bounded and progress can be told


@dataclass(frozen=True, slots=True)
class Holdout:
    """N actions on items to foresee, each from what its user did before it."""

    sequences: Sequences  # whole, from before the training ended to after the targets
    places: NDArray[np.int64]  # (N,) of the targets in the sequences, rising; none is a user's first action

    def __len__(self) -> int:
        return len(self.places)

    @property
    def item_keys(self) -> NDArray[np.uint64]:
        """The target items, (N,)."""
        return self.sequences.item_keys[self.places]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where the sequence of each target begins, (N,)."""
        return self.sequences.offsets[self.owners]

    @property
    def owners(self) -> NDArray[np.int64]:
        """The user of each target, by its place in the sequences, (N,)."""
        return self.sequences.users_at(self.places)

    def parts(self, most: int = _PART) -> Iterator[Holdout]:
        """The same targets in order, about `most` at a time, with the sequences of their users only."""
        owners, first = np.unique(self.owners, return_index=True)
        parts = first // most
        for part in np.unique(parts):
            chosen = np.flatnonzero(parts == part)
            stop = first[chosen[-1] + 1] if chosen[-1] + 1 < len(first) else len(self)
            yield self._part(owners[chosen], self.places[first[chosen[0]] : stop])

    def _part(self, owners: NDArray[np.int64], places: NDArray[np.int64]) -> Holdout:
        starts, ends = self.sequences.offsets[owners], self.sequences.offsets[owners + 1]
        shifts = np.concatenate(([0], np.cumsum(ends - starts)))[:-1] - starts
        owner = np.searchsorted(ends, places, side="right")
        return Holdout(self.sequences.of_users(owners), places + shifts[owner])


@dataclass(frozen=True, slots=True)
class RankedTargets:
    """What a scorer says about N targets."""

    ranks: NDArray[np.int64]  # (N,) of the target items, 1 is the best; MISSED: not ranked
    top: NDArray[np.uint64]  # (N, K) objects of the best items, best first; 0: no more


class Ranker(Protocol):
    """Whatever ranks items: a network, rules, a fusion of them."""

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks the targets, and lists the best items, by what came before each target in its sequence."""


def rank_all(ranker: Ranker, holdout: Holdout, progress: Callable[[int], None] = lambda _done: None) -> RankedTargets:
    """Ranks part by part; `progress` is given the number of targets done and may raise to end it."""
    parts = []
    done = 0
    for part in holdout.parts():
        parts.append(ranker.rank(part))
        done += len(part)
        progress(done)
    empty = RankedTargets(np.zeros(0, np.int64), np.zeros((0, LISTED), np.uint64))
    return RankedTargets(
        ranks=np.concatenate([part.ranks for part in (empty, *parts)]),
        top=np.concatenate([part.top for part in (empty, *parts)]),
    )


def listed(top: NDArray[np.uint64], targets: NDArray[np.uint64]) -> RankedTargets:
    """Targets (N,) ranked by their places in lists (N, K), of scorers that give nothing but a list."""
    found = top == targets[:, None]
    return RankedTargets(np.where(found.any(1), found.argmax(1) + 1, MISSED), top)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over N targets, by depth k; a target below depth k adds nothing."""

    recall: dict[int, float]
    mrr: dict[int, float]
    ndcg: dict[int, float]


def ranking(ranks: NDArray[np.int64]) -> Ranking:
    """Metrics of ranks (N,), 1 being the best; NDCG has one relevant item, so it is 1 / log2(1 + rank)."""
    reciprocal, discounted = 1.0 / ranks, 1.0 / np.log2(1.0 + ranks)
    return Ranking(
        recall={k: mean(ranks <= k) for k in DEPTHS},
        mrr={k: mean(reciprocal * (ranks <= k)) for k in DEPTHS},
        ndcg={k: mean(discounted * (ranks <= k)) for k in DEPTHS},
    )


def mean(values: NDArray[np.generic]) -> float:
    """The mean, which is 0 rather than NaN where there is nothing to average."""
    return float(values.mean()) if len(values) else 0.0
