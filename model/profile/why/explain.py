"""Explains recommended items: the user's own items without which each would score lower, most of all, and why.

Shapes: N answers, k explained items of each, O own items that are left out, F features, B reasons of an item
(`BECAUSE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.fusion.candidate_features import FEATURES, CandidateSources
from model.fusion.combiner_kernel import CombinerWeights, score_candidates
from model.kernels.compiled import Floats, compiled, uncounted
from model.profile.why.left_out import (
    AT_ONCE,
    MOST_LEFT_OUT,
    OwnItems,
    enter_items,
    list_own,
    look_up,
    new_explained,
    new_own_items,
)
from model.profile.why.left_out_features import BESIDES, fill_columns
from model.profile.why.reasons import (
    BECAUSE,
    BOUGHT_TOGETHER,
    CATEGORY,
    GOES_WITH,
    LIKE,
    POPULAR_NOW,
    SEARCHED_FOR,
    VIEWED,
    ReasonWeights,
)

NO_REASON: Final = -1
_LEAST_WEIGHT: Final = np.float32(0.02)  # of a reason that is worth a word


# What a loss is put down to, by the features that make it. What the user did with an item itself changes where another
# own item is left out that they came from or went to.
_FEATURES_OF: Final = {
    GOES_WITH: (
        "followed_last", "followed_second", "followed_earlier", "preceded_last", "preceded_second", "preceded_earlier",
        "followed_late_last", "followed_late_second", "own_next", "own_previous",
    ),
    BOUGHT_TOGETHER: ("followed_intent",),
    LIKE: ("log_probability", "like_latest", "like_last", "like_second"),
    CATEGORY: ("same_category", "same_brand", "category_share"),
}  # fmt: skip
_GROUPS: Final = tuple(_FEATURES_OF)
_GROUPED: Final = np.array([FEATURES.index(name) for names in _FEATURES_OF.values() for name in names])
_GROUP_STARTS: Final = np.cumsum([0, *map(len, _FEATURES_OF.values())])


class Reasons(NamedTuple):
    """Why the first k items of N answers are recommended, the weightiest reasons first."""

    codes: NDArray[np.int8]  # (N, k, B) see `CODES`; NO_REASON behind the last
    weights: Floats  # (N, k, B)
    items: NDArray[np.int64]  # (N, k, B) numbers of own items; -1: the reason is none


class ExplainWeights(NamedTuple):
    """`ReasonWeights` as the compiled loop takes them."""

    network: Floats  # (AGES, T)
    slopes: Floats  # (F,)


def explain_weights(weights: ReasonWeights) -> ExplainWeights:
    """Returns weights as arrays."""
    return ExplainWeights(np.array(weights.network, np.float32), np.array(weights.slopes, np.float32))


def explain(
    sources: CandidateSources, items: NDArray[np.int64], combiner: CombinerWeights, weights: ExplainWeights
) -> Reasons:
    """Returns why the items (N, k), by number, are recommended in N answers; -1: there is none to explain."""
    shape = *items.shape, BECAUSE
    reasons = Reasons(np.full(shape, NO_REASON, np.int8), np.zeros(shape, np.float32), np.full(shape, -1, np.int64))
    _explain(sources, items, combiner, weights, reasons)
    return reasons


def joined_reasons(shards: Sequence[Reasons]) -> Reasons:
    """Joins the reasons of several shards of answers."""
    return shards[0] if len(shards) == 1 else Reasons(*map(np.concatenate, zip(*shards, strict=True)))


@compiled
def _explain(
    sources: CandidateSources,
    items: NDArray[np.int64],
    combiner: CombinerWeights,
    weights: ExplainWeights,
    reasons: Reasons,
) -> None:
    own, explained = new_own_items(), new_explained(sources.live.vectors.shape[1])
    most = AT_ONCE * (MOST_LEFT_OUT + BESIDES)
    all_features, all_scores = np.empty((len(FEATURES), most), np.float32), np.empty(most, np.float32)
    for n in range(len(items)):
        distinct = list_own(sources, n, own)
        width = min(distinct, MOST_LEFT_OUT) + BESIDES
        features, scores = all_features[:, : AT_ONCE * width], all_scores[: AT_ONCE * width]
        out = Reasons(reasons.codes[n], reasons.weights[n], reasons.items[n])
        for first in range(0, items.shape[1], AT_ONCE):
            there = enter_items(sources, items[n], first, explained)
            if there == 0:
                break
            look_up(sources, n, own, distinct, explained)
            fill_columns(sources, n, own, distinct, explained, weights.network, features)
            score_candidates(features, combiner, scores)
            for j in range(there):
                of_item = slice(j * width, (j + 1) * width)
                _choose(features[:, of_item], scores[of_item], explained.ranks[j], weights.slopes, own, out, first + j)


@uncounted
def _choose(
    features: Floats, scores: Floats, rank: int, slopes: Floats, own: OwnItems, reasons: Reasons, j: int
) -> None:
    """Fills in the reasons of an item with features (F, O + BESIDES) and scores (O + BESIDES,), which is the user's own
    item of that rank: those of place j of an answer's."""
    total, columns = np.float32(1e-6), len(scores)
    for column in range(1, columns):
        total += max(scores[0] - scores[column], np.float32(0))
    last = np.float32(np.inf)
    column = 0
    for place in range(BECAUSE):
        column, before = 0, column
        for other in range(1, columns):
            drop = scores[0] - scores[other]
            follows = drop < last or (drop == last and other > before)
            if follows and (column == 0 or drop > scores[0] - scores[column]):
                column = other
        if column == 0:
            return
        last = scores[0] - scores[column]
        weight = last / total
        if not weight >= _LEAST_WEIGHT:
            return
        reasons.weights[j, place] = weight
        if column == columns - 1:
            reasons.codes[j, place] = POPULAR_NOW
        elif column == columns - 2:
            reasons.codes[j, place] = SEARCHED_FOR
        else:
            reasons.items[j, place] = own.numbers[column - 1]
            reasons.codes[j, place] = VIEWED if column - 1 == rank else _code(features, column, slopes)


@uncounted
def _code(features: Floats, column: int, slopes: Floats) -> int:
    """Returns what most of the loss in a column comes from, among what is less in it than as it is."""
    most, code = np.float32(-np.inf), LIKE
    for group in range(len(_GROUPS)):
        loss, less = np.float32(0), False
        for at in range(_GROUP_STARTS[group], _GROUP_STARTS[group + 1]):
            feature = _GROUPED[at]
            difference = features[feature, 0] - features[feature, column]
            loss += slopes[feature] * difference
            less |= difference > 0
        if less and loss > most:
            most, code = loss, _GROUPS[group]
    return code
