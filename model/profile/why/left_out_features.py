"""The columns of features that the combiner scores to explain recommended items: see `left_out`.

Shapes: k explained items (`AT_ONCE`), O own items that are left out, F features, T terms. Item j has the columns from
j (O + BESIDES) on: as it is, without each own item, without the last search,
and as if it were as popular as the mean one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from model.data.events import PURCHASE
from model.data.recent import RECENT_LENGTH
from model.fusion.candidate_features import (
    FEATURES,
    FOLLOWED,
    FOLLOWED_INTENT,
    FOLLOWED_LATE,
    FOLLOWED_QUERY,
    LATE_RANKS,
    LOG_PROBABILITY,
    LOG_PROBABILITY_SCALE,
    OWN,
    OWN_BOUGHT,
    OWN_COUNT,
    OWN_ITEM_FEATURES,
    OWN_LAST,
    OWN_NEXT,
    OWN_PREVIOUS,
    OWN_RECENCY,
    OWN_SESSION,
    PRECEDED,
    RECENCY_RANKS,
    CandidateSources,
    compare_levels,
    describe_answer,
)
from model.kernels.compiled import Floats, uncounted
from model.kernels.fast_math import fast_log
from model.profile.why.left_out import (
    AT_ONCE,
    BLENDED,
    LEAST_LOG_PROBABILITY,
    NEAR,
    ExplainedItems,
    OwnItems,
    network_drop,
)
from model.statistics.rows import ItemRows

(_SAME_CATEGORY, _SAME_BRAND, _CATEGORY_SHARE, _LIKE_LATEST, _LIKE_LAST, _LIKE_SECOND, _POPULARITY, _TREND) = map(
    FEATURES.index,
    ("same_category", "same_brand", "category_share", "like_latest", "like_last", "like_second", "popularity", "trend"),
)
BESIDES: Final = 3  # columns of an item beside those without own ones
_NOTHING: Final = RECENT_LENGTH  # the rank of what is left out where nothing is
_LEAST_LENGTH: Final = np.float32(1e-6)
_FOLLOWED, _PRECEDED, _LATE = range(3)  # kinds of neighbours in `ExplainedItems.beside`


@uncounted
def fill_columns(
    sources: CandidateSources,
    n: int,
    own: OwnItems,
    distinct: int,
    explained: ExplainedItems,
    weights: Floats,
    features: Floats,
) -> None:
    """Fills in the columns of `features` (F, k (O + BESIDES)) for answer n, whose user has so many distinct items.

    `weights` (AGES, T) are those of the terms.
    """
    actions, width = 0, features.shape[1] // AT_ONCE
    for rank in range(distinct):
        actions += int(own.counts[rank])
    for j in range(AT_ONCE):
        begin = j * width
        columns = features[:, begin : begin + width]
        for row in range(len(features)):
            columns[row, 0] = np.float32(0)
        compare_levels(sources, explained.rows[j : j + 1], features, begin)
        _fill_network(explained, j, _NOTHING, weights, columns[:, 0])
        if explained.ranks[j] >= 0:
            _fill_own(own, explained.ranks[j], columns[:, 0])
        _fill_latest(explained, distinct, j, _NOTHING, columns[:, 0])
        _fill_attributes(sources.table.items, own, distinct, explained, j, _NOTHING, columns[:, 0])
        for row in range(len(features)):
            for column in range(1, width):
                columns[row, column] = columns[row, 0]
        for gone in range(width - BESIDES):
            _fill_network(explained, j, gone, weights, columns[:, 1 + gone])
            if gone <= explained.ranks[j]:
                _take_from_own(own, explained.ranks[j], gone, columns[:, 1 + gone])
            if gone < BLENDED or gone == explained.intent[0]:
                _fill_latest(explained, distinct, j, gone, columns[:, 1 + gone])
            _fill_attributes(sources.table.items, own, distinct, explained, j, gone, columns[:, 1 + gone])
        columns[FOLLOWED_QUERY, width - 2] = np.float32(0)
        columns[_POPULARITY, width - 1] = columns[_TREND, width - 1] = np.float32(0)
    describe_answer(sources, n, distinct, actions, features)


@uncounted
def _fill_network(explained: ExplainedItems, j: int, gone: int, weights: Floats, column: Floats) -> None:
    log_probability = explained.log_probabilities[j]
    if gone != _NOTHING:
        log_probability -= network_drop(explained, gone, j, weights)
    column[LOG_PROBABILITY] = max(log_probability, LEAST_LOG_PROBABILITY) / LOG_PROBABILITY_SCALE


@uncounted
def _fill_own(own: OwnItems, rank: int, column: Floats) -> None:
    """Fills in what the user did with their own item of a rank (F,)."""
    column[OWN], column[OWN_COUNT] = np.float32(1), fast_log(np.float32(1) + own.counts[rank])
    column[OWN_RECENCY] = np.float32(1) / np.float32(1 + rank)
    column[OWN_LAST] = np.float32(rank == 0)
    column[OWN_BOUGHT] = np.float32(own.kinds[rank] == PURCHASE)
    column[OWN_SESSION] = own.sessions[rank]
    _fill_steps(own, rank, 0, column)


@uncounted
def _take_from_own(own: OwnItems, rank: int, gone: int, column: Floats) -> None:
    """Changes what `_fill_own` filled in for an item of the same rank, or of a lower one, that is left out."""
    if gone == rank:
        for feature in OWN_ITEM_FEATURES:
            column[feature] = np.float32(0)
        return
    column[OWN_RECENCY] = np.float32(1) / np.float32(rank)
    column[OWN_LAST] = np.float32(rank == 1)
    if gone == 0:
        _fill_steps(own, rank, 1, column)


@uncounted
def _fill_steps(own: OwnItems, rank: int, last: int, column: Floats) -> None:
    """Fills in whether the user went from the last item to another one, and back."""
    newer = -1
    column[OWN_NEXT] = column[OWN_PREVIOUS] = np.float32(0)
    for action in own.actions[: own.held[0]]:
        if action >= last:
            if action == last and newer == rank:
                column[OWN_NEXT] = np.float32(1)
            if newer == last and action == rank:
                column[OWN_PREVIOUS] = np.float32(1)
            newer = action


@uncounted
def _fill_latest(explained: ExplainedItems, distinct: int, j: int, gone: int, column: Floats) -> None:
    """Fills in what followed and preceded the latest own items, and how like these an item is (F,)."""
    for feature in range(FOLLOWED, FOLLOWED_QUERY + 1):
        column[feature] = np.float32(0)
    blend = np.float32(0)
    column[_LIKE_LAST] = column[_LIKE_SECOND] = np.float32(0)
    for rank in range(min(distinct, NEAR)):
        place = rank - (gone < rank)
        if rank == gone or place >= BLENDED:
            continue
        late = min(place, RECENCY_RANKS - 1)
        column[FOLLOWED + late] += explained.beside[_FOLLOWED, rank, j]
        column[PRECEDED + late] += explained.beside[_PRECEDED, rank, j]
        if place < LATE_RANKS:
            column[FOLLOWED_LATE + place] = explained.beside[_LATE, rank, j]
            column[_LIKE_LAST + place] = explained.products[rank, j] / max(explained.lengths[rank], _LEAST_LENGTH)
        blend += explained.products[rank, j] / np.float32(1 + place)
    column[_LIKE_LATEST] = blend / max(explained.blends[min(gone, BLENDED)], _LEAST_LENGTH)
    column[FOLLOWED_INTENT] = explained.after_intent[np.int64(gone == explained.intent[0]), j]
    column[FOLLOWED_QUERY] = explained.after_query[j]
    for feature in range(FOLLOWED, FOLLOWED_QUERY + 1):
        if column[feature] > 0:
            column[feature] = fast_log(np.float32(1) + np.float32(1000) * column[feature]) / np.float32(3)


@uncounted
def _fill_attributes(
    items: ItemRows, own: OwnItems, distinct: int, explained: ExplainedItems, j: int, gone: int, column: Floats
) -> None:
    """Compares category and brand of an item with those of the own ones (F,)."""
    rest, item = distinct - (gone < distinct), explained.rows[j]
    category, brand = items.categories[item], items.brands[item]
    column[_SAME_CATEGORY] = column[_SAME_BRAND] = column[_CATEGORY_SHARE] = np.float32(0)
    if rest == 0:
        return
    last = own.rows[np.int64(gone == 0)]
    if category != 0:
        alike = explained.alike[j] - (gone < distinct and items.categories[own.rows[gone]] == category)
        column[_SAME_CATEGORY] = np.float32(items.categories[last] == category)
        column[_CATEGORY_SHARE] = np.float32(alike) / np.float32(rest)
    if brand != 0:
        column[_SAME_BRAND] = np.float32(items.brands[last] == brand)
