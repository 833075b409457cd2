"""How good rankings are, over all targets and over slices of them.

Shapes: N targets, K items of a list, I items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import SEARCH
from model.data.sequences import Sequences
from model.evaluation.baselines import ItemIndex
from model.evaluation.ranking import Holdout, RankedTargets, Ranking, mean, ranking
from model.evaluation.split import Split

DAY_MS: Final = 24 * 60 * 60 * 1000
# Numbers of earlier actions of the user, lowest and highest.
POSITIONS: Final = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, None))


@dataclass(frozen=True, slots=True)
class Quality:
    """What a ranker reached on some targets."""

    targets: int
    unseen: float  # share of the targets on items that training does not have: a miss for every ranker
    means: Ranking
    coverage: float  # distinct items in the lists, as a share of all items of training
    popular_share: float  # share of the lists' entries that are among the fewest items that make half of the training


class QualityMeter:
    """Measures rankings of the same targets by the items of training."""

    def __init__(self, items: ItemIndex, targets: NDArray[np.uint64]) -> None:
        """`targets` (N,) are the keys of the target items."""
        self._items = items
        self._unseen = items.codes_of(targets) < 0
        counts = np.bincount(items.codes, minlength=len(items))
        order = np.argsort(-counts, kind="stable")
        half = np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2) + 1
        self._popular = np.zeros(len(items) + 1, np.bool_)
        self._popular[order[:half]] = True

    def measure(self, ranked: RankedTargets, subset: NDArray[np.bool_] | None = None) -> Quality:
        """Returns the quality on all targets, or on a subset (N,) of them."""
        ranks, top, unseen = ranked.ranks, ranked.top, self._unseen
        if subset is not None:
            ranks, top, unseen = ranks[subset], top[subset], unseen[subset]
        codes = self._items.codes_of(top[top != 0])
        return Quality(
            targets=len(ranks),
            unseen=mean(unseen),
            means=ranking(ranks),
            coverage=len(np.unique(codes[codes >= 0])) / max(1, len(self._items)),
            popular_share=mean(self._popular[codes]),
        )


def slices(split: Split, known: NDArray[np.uint64]) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Returns which targets (N,) belong to which slice, by the kind of the slices; empty slices are left out.

    `known`: the keys of the items of training.
    """
    holdout = split.holdout
    kinds = {
        "position": dict(_positions(holdout)),
        "user": _seen(holdout.sequences.times[holdout.starts] < split.cut),
        "item": _seen(np.isin(holdout.item_keys, known)),
        "repeat": _repeats(holdout),
        "day": dict(_days(holdout)) if split.timed else {},
    }
    return {kind: {name: mask for name, mask in masks.items() if mask.any()} for kind, masks in kinds.items() if masks}


def _positions(holdout: Holdout) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    earlier = holdout.positions - holdout.starts
    for low, high in POSITIONS:
        name = f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"
        yield name, (earlier >= low) & (earlier <= (high or earlier))


def _seen(seen: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    return {"seen in training": seen, "unseen": ~seen}


def _repeats(holdout: Holdout) -> dict[str, NDArray[np.bool_]]:
    """Parts the targets by whether their user has an earlier action on the same item."""
    again = ~_first_touches(holdout.sequences)[holdout.positions]
    return {"touched before": again, "new to the user": ~again}


def _first_touches(sequences: Sequences) -> NDArray[np.bool_]:
    """Returns of each action (A,) whether it is its user's first one on its item; a search is none."""
    positions = np.flatnonzero(sequences.types != SEARCH)
    users, items = sequences.users_at(positions), sequences.item_keys[positions]
    order = np.lexsort((positions, items, users))
    changes = (np.diff(users[order]) != 0) | (np.diff(items[order]) != 0)
    firsts = np.zeros(len(sequences), np.bool_)
    firsts[positions[order[np.append(True, changes)[: len(order)]]]] = True
    return firsts


def _days(holdout: Holdout) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    days = holdout.sequences.times[holdout.positions] // DAY_MS
    for day in np.unique(days).tolist():
        yield datetime.fromtimestamp(day * DAY_MS / 1000, UTC).date().isoformat(), days == day
