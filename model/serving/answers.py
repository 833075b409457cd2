"""The answers after each event, of the model or the rules, and the most probable actions by them.

Shapes: N answers, k ranked items, K event types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import SEARCH
from model.kernels.compiled import compiled, uncounted
from model.profile.preference_shares import LikedAnswers
from model.profile.scores import ScoreAnswers
from model.profile.segments import SegmentAnswers
from model.profile.why.explain import Reasons

RANKED: Final = 20  # items ranked per answer, published or not: the k of hit@k and MRR@k


@dataclass(frozen=True, slots=True)
class Answers:
    """N answers of one version, each after one event."""

    version: str
    names: Sequence[str]  # item ids, by catalogue index
    items: NDArray[np.int64]  # (N, k) catalogue indices, best first; -1: there is no k-th item
    probabilities: NDArray[np.float32]  # (N, k), of the item among next actions with an item
    next_type: NDArray[np.float32]  # (N, K)
    type_given_item: NDArray[np.float32]  # (N, k, K)
    purchase: NDArray[np.float32]  # (N,)
    segments: SegmentAnswers | None = None  # None: nobody asked for them, or the version has none
    scores: ScoreAnswers | None = None  # None: nobody asked for them, or the version has none
    liked: LikedAnswers | None = None  # what the users like; None: nobody asked for it
    reasons: Reasons | None = None  # for the first items; None: nobody asked for them, or the version cannot tell


def next_actions(answers: Answers, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The most probable actions: types (N, count), columns of the ranked items (-1: a search), and probabilities.

    P(search) comes from the type; any other action is P(not a search) P(item) P(type | item). Where one of these is
    NaN, all probabilities of the answer are.
    """
    n, k, num_types = answers.type_given_item.shape
    shape = n, min(count, k * num_types + 1)
    types, columns, chances = np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.float32)
    _choose(answers.next_type, answers.probabilities, answers.type_given_item, types, columns, chances)
    return types, columns, chances


def ranked_keys(items: NDArray[np.int64], item_keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the keys of ranked items (N, k), 0 where there is no k-th; `item_keys` (I,) are the catalogue's."""
    keys = np.empty(items.shape, np.uint64)
    _look_up(items, item_keys, keys)
    return keys


@uncounted
def _look_up(items: NDArray[np.int64], item_keys: NDArray[np.uint64], keys: NDArray[np.uint64]) -> None:
    for n in range(items.shape[0]):
        for rank in range(items.shape[1]):
            item = items[n, rank]
            keys[n, rank] = item_keys[item] if item >= 0 else np.uint64(0)


@uncounted
def _choose(
    next_type: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    type_given_item: NDArray[np.float32],
    types: NDArray[np.int64],
    columns: NDArray[np.int64],
    chances: NDArray[np.float32],
) -> None:
    for n in range(len(types)):
        choose(next_type[n], probabilities[n], type_given_item[n], types[n], columns[n], chances[n])


@compiled
def choose(
    next_type: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    type_given_item: NDArray[np.float32],
    types: NDArray[np.int64],
    columns: NDArray[np.int64],
    chances: NDArray[np.float32],
) -> None:
    """Fills in the `next_actions` of one answer, from compiled loops.

    Of equally probable ones the first item's first type comes first, a search last.
    """
    sound, search, num_types = True, next_type[SEARCH], type_given_item.shape[1]
    chances[:] = -1
    for column in range(len(probabilities)):
        on_item = (np.float32(1) - search) * probabilities[column]
        for code in range(num_types):
            sound &= _insert(types, columns, chances, code, column, on_item * type_given_item[column, code])
    if not _insert(types, columns, chances, SEARCH, -1, search) or not sound:
        chances[:] = np.nan


@uncounted
def _insert(
    types: NDArray[np.int64],
    columns: NDArray[np.int64],
    chances: NDArray[np.float32],
    code: int,
    column: int,
    chance: np.float32,
) -> bool:
    """Puts an action where it belongs among the best of one answer, which are sorted by their chances.

    Returns False, and changes nothing, for a chance that is NaN.
    """
    at = len(chances) - 1
    if chance <= chances[at]:
        return True
    if np.isnan(chance):
        return False
    while at > 0 and chances[at - 1] < chance:
        types[at], columns[at], chances[at] = types[at - 1], columns[at - 1], chances[at - 1]
        at -= 1
    types[at], columns[at], chances[at] = code, column, chance
    return True
