"""What the model, or the rules before there is one, say after each event; and how well the last answer did.

Shapes: N answers, k ranked items, K event types, S slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.events import SEARCH
from model.kernels.compiled import compiled

RANKED = 20  # items ranked per answer, published or not: the k of hit@k and MRR@k


@dataclass(frozen=True, slots=True)
class Answers:
    """N answers, each after one event."""

    version: str
    names: Sequence[str]  # item ids, by catalogue index
    items: NDArray[np.int64]  # (N, k) catalogue indices, best first; -1: there is no k-th item
    probabilities: NDArray[np.float32]  # (N, k), of the item among next actions with an item
    next_type: NDArray[np.float32]  # (N, K)
    type_given_item: NDArray[np.float32]  # (N, k, K)
    purchase: NDArray[np.float32]  # (N,)


def next_actions(answers: Answers, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The most probable actions: types (N, count), places among the ranked items (-1: a search), probabilities.

    P(search) comes from the type; any other action is P(not a search) P(item) P(type | item).
    """
    n, k, types = answers.type_given_item.shape
    shape = n, min(count, k * types + 1)
    kinds, places = np.empty(shape, np.int64), np.empty(shape, np.int64)
    chances = np.full(shape, -1, np.float32)
    _choose(answers.next_type[:, SEARCH], answers.probabilities, answers.type_given_item, kinds, places, chances)
    return kinds, places, chances


@compiled
def _choose(
    search: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    type_given_item: NDArray[np.float32],
    kinds: NDArray[np.int64],
    places: NDArray[np.int64],
    chances: NDArray[np.float32],
) -> None:
    """Fills in `next_actions`; of equal ones the first item's first type comes first, a search last."""
    n, k, types = type_given_item.shape
    for row in range(n):
        for place in range(k):
            on_item = (np.float32(1) - search[row]) * probabilities[row, place]
            for kind in range(types):
                _enter(kinds[row], places[row], chances[row], kind, place, on_item * type_given_item[row, place, kind])
        _enter(kinds[row], places[row], chances[row], SEARCH, -1, search[row])


@compiled
def _enter(
    kinds: NDArray[np.int64],
    places: NDArray[np.int64],
    chances: NDArray[np.float32],
    kind: int,
    place: int,
    chance: np.float32,
) -> None:
    """Puts an action where it belongs among the best of one answer."""
    at = len(chances) - 1
    if chance <= chances[at]:
        return
    while at > 0 and chances[at - 1] < chance:
        kinds[at], places[at], chances[at] = kinds[at - 1], places[at - 1], chances[at - 1]
        at -= 1
    kinds[at], places[at], chances[at] = kind, place, chance
