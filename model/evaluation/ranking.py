"""Full ranking of held-out next items: the targets, the protocol of every ranker, the metrics.

A target ranks behind every other item with at least its score: ties count against the ranker. A target that is not
ranked, because it was not seen in training or is not a candidate, is a miss. Shapes: N targets, K items of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.sequences import Sequences

DEPTHS: Final = (1, 5, 10, 20)
LIST_SIZE: Final = DEPTHS[-1]  # K: no metric looks deeper
MISSED: Final = np.iinfo(np.int64).max  # the rank of a target that is not ranked
_CHUNK: Final = 4096  # targets ranked at once, so that memory is bounded and progress can be shown


@dataclass(frozen=True, slots=True)
class Holdout:
    """N targets: actions on items to predict, each from what its user did before it."""

    sequences: Sequences  # whole, from before the training ended to after the targets
    positions: NDArray[np.int64]  # (N,) of the targets in the sequences, rising; never a user's first action

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def item_keys(self) -> NDArray[np.uint64]:
        """The target items, (N,)."""
        return self.sequences.item_keys[self.positions]

    @property
    def starts(self) -> NDArray[np.int64]:
        """The position at which the sequence of each target begins, (N,)."""
        return self.sequences.offsets[self.owners]

    @property
    def owners(self) -> NDArray[np.int64]:
        """The user of each target, as an index into the sequences, (N,)."""
        return self.sequences.users_at(self.positions)

    def chunks(self, most: int = _CHUNK) -> Iterator[Holdout]:
        """Yields the same targets in order, about `most` at a time, with the sequences of their users only."""
        owners, first = np.unique(self.owners, return_index=True)
        numbers = first // most
        for number in np.unique(numbers):
            chunk = np.flatnonzero(numbers == number)
            stop = first[chunk[-1] + 1] if chunk[-1] + 1 < len(first) else len(self)
            yield self._of_users(owners[chunk], self.positions[first[chunk[0]] : stop])

    def _of_users(self, owners: NDArray[np.int64], positions: NDArray[np.int64]) -> Holdout:
        starts, ends = self.sequences.offsets[owners], self.sequences.offsets[owners + 1]
        shifts = np.concatenate(([0], np.cumsum(ends - starts)))[:-1] - starts
        owner = np.searchsorted(ends, positions, side="right")
        return Holdout(self.sequences.of_users(owners), positions + shifts[owner])


@dataclass(frozen=True, slots=True)
class RankedTargets:
    """What a ranker says about N targets."""

    ranks: NDArray[np.int64]  # (N,) of the target items, 1 is the best; MISSED: not ranked
    top: NDArray[np.uint64]  # (N, K) keys of the best items, best first; 0: the list is shorter


class Ranker(Protocol):
    """Ranks items: a network, rules, a fusion of them."""

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks the targets, and lists the best items, by what came before each target in its sequence."""


def rank_all(ranker: Ranker, holdout: Holdout, progress: Callable[[int], None] = lambda _done: None) -> RankedTargets:
    """Ranks chunk by chunk; `progress` gets the number of targets done and may raise to end the ranking."""
    ranked = [RankedTargets(np.zeros(0, np.int64), np.zeros((0, LIST_SIZE), np.uint64))]
    done = 0
    for chunk in holdout.chunks():
        ranked.append(ranker.rank(chunk))
        done += len(chunk)
        progress(done)
    return RankedTargets(
        ranks=np.concatenate([chunk.ranks for chunk in ranked]),
        top=np.concatenate([chunk.top for chunk in ranked]),
    )


def ranks_in_lists(top: NDArray[np.uint64], targets: NDArray[np.uint64]) -> RankedTargets:
    """Ranks targets (N,) by their positions in lists (N, K), for rankers that give nothing but a list."""
    hits = top == targets[:, None]
    return RankedTargets(np.where(hits.any(1), hits.argmax(1) + 1, MISSED), top)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over N targets, by depth k; a target below depth k adds nothing."""

    recall: dict[int, float]
    mrr: dict[int, float]
    ndcg: dict[int, float]


def ranking(ranks: NDArray[np.int64]) -> Ranking:
    """Computes the metrics of ranks (N,), 1 being the best; NDCG has one relevant item, so it is 1 / log2(1 + rank)."""
    reciprocal, discounted = 1.0 / ranks, 1.0 / np.log2(1.0 + ranks)
    return Ranking(
        recall={k: mean(ranks <= k) for k in DEPTHS},
        mrr={k: mean(reciprocal * (ranks <= k)) for k in DEPTHS},
        ndcg={k: mean(discounted * (ranks <= k)) for k in DEPTHS},
    )


def mean(values: NDArray[np.generic]) -> float:
    """Returns the mean; 0.0 rather than NaN if there are no values."""
    return float(values.mean()) if len(values) else 0.0
