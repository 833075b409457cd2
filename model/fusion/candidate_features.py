"""The features of candidates, which the combiner scores: what the network, the user and the log say about each of them.

Collecting fills in those that are known while candidates are found (`fusion/candidates.py`); the others are filled in
here once all candidates of an answer are there.

Shapes: N answers, A actions of their users, C candidates of the answer at hand, F features, K best items of the
network, D width. Items are rows of the statistics where nothing else is said; vectors are by number (`LiveItems`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import FIRST_GAP, gap_bucket, opens_session
from model.data.recent import RecentActions
from model.fusion.live_items import LiveArrays
from model.kernels.compiled import Floats, uncounted
from model.kernels.fast_math import fast_log
from model.kernels.gathered_dot import dot, multiply_by_four
from model.statistics.rows import ItemRows
from model.statistics.statistics_table import TableArrays

FEATURES: Final = (
    "log_probability",  # by the network
    "followed_last", "followed_second", "followed_earlier",  # how often it followed the user's latest distinct items
    "preceded_last", "preceded_second", "preceded_earlier",
    "followed_late_last", "followed_late_second",  # as `followed`, of late
    "followed_intent", "followed_query",  # how often it followed the last cart or purchase, and the last search
    "own", "own_recency", "own_count", "own_last", "own_bought", "own_session",  # what the user did with it
    "same_category", "same_brand", "category_share",  # with the user's last item, and among all own ones
    "own_next", "own_previous",  # the user went from or to the last item before
    "like_latest",  # cosine with a blend of the user's latest distinct items, in the network's vectors
    "like_last", "like_second",  # with each of the latest two
    "popularity", "trend", "later",  # `later`: the vocabulary lacks it
    "history", "repeats", "certainty", "gap", "boundary",  # of the answer, not of the item: how far to trust the others
)  # fmt: skip
(LOG_PROBABILITY, FOLLOWED, _, _, PRECEDED, _, _, FOLLOWED_LATE, _, FOLLOWED_INTENT, FOLLOWED_QUERY,
 OWN, OWN_RECENCY, OWN_COUNT, OWN_LAST, OWN_BOUGHT, OWN_SESSION,
 _SAME_CATEGORY, _SAME_BRAND, _CATEGORY_SHARE, OWN_NEXT, OWN_PREVIOUS, _LIKE_LATEST, _LIKE_LAST, _LIKE_SECOND,
 _POPULARITY, _TREND, _LATER,
 _HISTORY, _REPEATS, _CERTAINTY, _GAP, _BOUNDARY) = range(len(FEATURES))  # fmt: skip
LATER_FEATURES: Final = (  # those that came with live statistics: versions of the format before lack them
    "followed_late_last", "followed_late_second", "followed_intent", "followed_query", "later"
)  # fmt: skip
OWN_ITEM_FEATURES: Final = (  # zero for all items that are not the user's own; OWN is 1 for those that are
    OWN, OWN_RECENCY, OWN_COUNT, OWN_LAST, OWN_BOUGHT, OWN_SESSION, OWN_NEXT, OWN_PREVIOUS
)  # fmt: skip
ANSWER_FEATURES: Final = (_HISTORY, _REPEATS, _CERTAINTY, _GAP, _BOUNDARY)  # the same for all candidates of an answer

NETWORK_BEST: Final = 64  # best items of the network that become candidates
RECENCY_RANKS: Final = 3  # latest distinct items with neighbour features of their own; older ones share the last
LOG_PROBABILITY_SCALE: Final = np.float32(4)  # divides log-probabilities: features should be about as large as one
_LEAST_LOG_PROBABILITY: Final = np.float32(-20)
_BLENDED: Final = 6  # latest distinct items of the user that candidates are compared with
LATE_RANKS: Final = 2  # latest distinct items with a feature of what followed them of late
LEVEL_SCALE: Final = np.float32(np.log(2) / 4)  # of levels, which are logarithms to base 2
_LEAST_LENGTH: Final = np.float32(1e-6)  # of a blend, so that nothing is divided by zero


class NetworkBest(NamedTuple):
    """The network's best items, and all that it takes to compute its scores of the others."""

    items: NDArray[np.int64]  # (N, K) numbers, best first
    log_probabilities: Floats  # (N, K)
    queries: Floats  # (N, D)

    def select(self, answers: slice | NDArray[np.int64]) -> NetworkBest:
        """Returns the best items for some of the answers."""
        return NetworkBest(self.items[answers], self.log_probabilities[answers], self.queries[answers])


class Levels(NamedTuple):
    """What the levels of items are compared with: see `ItemRows.levels`."""

    mean: np.float32  # of all items, by the SLOW clock
    least: np.float32  # half an action
    mean_late: np.float32  # by the FAST clock
    least_late: np.float32  # less the mean of late
    shown: np.float32  # of later items from which on they are candidates for everybody, by the SLOW clock


class CandidateSources(NamedTuple):
    """All that candidates and their features come from."""

    recent: RecentActions
    rows: NDArray[np.int32]  # (A,) rows of the recent actions' items; NO_ITEM: there is none
    best: NetworkBest
    live: LiveArrays
    table: TableArrays
    source_index: NDArray[np.uint64]  # cells, from the keys of sources to their rows
    levels: Levels

    def select(self, answers: slice | NDArray[np.int64]) -> CandidateSources:
        """Returns the sources for some of the answers."""
        return self._replace(recent=self.recent.select(answers), best=self.best.select(answers))


class OwnItems(NamedTuple):
    """What a user had to do with."""

    items: NDArray[np.int32]  # rows of the distinct ones, latest first
    actions: int  # on items
    best: int  # how many candidates are the network's best items: they come first


class Scratch(NamedTuple):
    """Memory for what is computed of one answer, kept from answer to answer."""

    own: NDArray[np.int32]  # (RECENT_LENGTH,) rows
    own_numbers: NDArray[np.int32]  # (RECENT_LENGTH,)
    numbers: NDArray[np.int32]  # (C or more,)
    shares: Floats  # (CATEGORY_BUCKETS,)
    directions: Floats  # (FOUR, D)
    products: Floats  # (C or more, FOUR)


@uncounted
def describe(
    sources: CandidateSources,
    n: int,
    user: OwnItems,
    items: NDArray[np.int32],
    features: Floats,
    begin: int,
    scratch: Scratch,
) -> None:
    """Fills in the features of answer n's candidates `items` (C,), in the columns of `features` from `begin` on.

    What was counted while collecting is brought to scale.
    """
    own, end = user.items, begin + len(items)
    if len(own):
        _compare_attributes(sources.table.items, own, items, features, begin, scratch.shares)
    _ask_network(sources, n, user, items, features, begin, scratch)
    for column in range(FOLLOWED, FOLLOWED_QUERY + 1):
        _logarithms(features[column, begin:end], np.float32(1000), np.float32(3))
    _logarithms(features[OWN_COUNT, begin:end], np.float32(1), np.float32(1))
    compare_levels(sources, items, features, begin)
    describe_answer(sources, n, len(own), user.actions, features[:, begin:end])


@uncounted
def describe_answer(sources: CandidateSources, n: int, distinct: int, actions: int, features: Floats) -> None:
    """Fills in what is the same for all candidates (F, C) of answer n, whose user did so much with so many items."""
    recent, best = sources.recent, sources.best
    last = recent.contexts[recent.stops[n] - 1] if recent.stops[n] > recent.starts[n] else np.uint32(0)
    gap = np.float32(gap_bucket(last)) / np.float32(FIRST_GAP)
    certainty = best.log_probabilities[n, 0] / LOG_PROBABILITY_SCALE if best.items.shape[1] else np.float32(0)
    features[_HISTORY, :] = np.log1p(np.float32(actions)) / np.float32(3.5)
    features[_REPEATS, :] = np.float32(1) - np.float32(distinct) / np.float32(max(actions, 1))
    features[_CERTAINTY, :] = certainty
    features[_GAP, :] = gap
    features[_BOUNDARY, :] = np.float32(opens_session(last))


@uncounted
def compare_levels(sources: CandidateSources, items: NDArray[np.int32], features: Floats, begin: int) -> None:
    """Fills in how popular items are among all, how much more of late, and which came after the vocabulary."""
    levels, scale = sources.table.items.levels, sources.levels
    for index in range(len(items)):
        row = items[index]
        popularity = max(levels[row, 0], scale.least) - scale.mean
        late = max(levels[row, 1] - scale.mean_late, scale.least_late)
        features[_POPULARITY, begin + index] = popularity * LEVEL_SCALE
        features[_TREND, begin + index] = (late - popularity) * LEVEL_SCALE
        features[_LATER, begin + index] = np.float32(sources.live.numbers[row] >= sources.live.known)


@uncounted
def _compare_attributes(
    statistics: ItemRows,
    own: NDArray[np.int32],
    items: NDArray[np.int32],
    features: Floats,
    begin: int,
    shares: Floats,
) -> None:
    """Compares category and brand of candidates with those of the user's distinct items, latest first."""
    end = begin + len(items)
    same_category, category_share = features[_SAME_CATEGORY, begin:end], features[_CATEGORY_SHARE, begin:end]
    same_brand = features[_SAME_BRAND, begin:end]
    shares[:] = np.float32(0)
    for item in own:
        shares[statistics.categories[item]] += np.float32(1) / np.float32(len(own))
    for index in range(len(items)):
        category, brand = statistics.categories[items[index]], statistics.brands[items[index]]
        if category != 0:
            same_category[index] = np.float32(category == statistics.categories[own[0]])
            category_share[index] = shares[category]
        if brand != 0:
            same_brand[index] = np.float32(brand == statistics.brands[own[0]])


@uncounted
def _ask_network(
    sources: CandidateSources,
    n: int,
    user: OwnItems,
    items: NDArray[np.int32],
    features: Floats,
    begin: int,
    scratch: Scratch,
) -> None:
    """Computes log-probabilities, also of items that are not among the network's best, and cosines.

    Four products of each candidate's vector at once, as most vectors come from far away in memory.
    """
    best, live, end, own = sources.best, sources.live, begin + len(items), user.items
    log_probability, like_latest = features[LOG_PROBABILITY, begin:end], features[_LIKE_LATEST, begin:end]
    like_last, like_second = features[_LIKE_LAST, begin:end], features[_LIKE_SECOND, begin:end]
    query, known = best.queries[n], best.items.shape[1]
    log_total = dot(query, live.vectors[best.items[n, 0]]) - best.log_probabilities[n, 0] if known else np.float32(0)
    directions, products, numbers = scratch.directions, scratch.products[: len(items)], scratch.numbers[: len(items)]
    directions[1:] = np.float32(0)
    for d in range(len(query)):
        directions[0, d] = query[d]
    for index in range(len(items)):
        numbers[index] = live.numbers[items[index]]
    for rank in range(len(own)):
        scratch.own_numbers[rank] = live.numbers[own[rank]]
    own_numbers = scratch.own_numbers[: len(own)]
    _blend(live.vectors, own_numbers[:_BLENDED], directions[1])
    _blend(live.vectors, own_numbers[:1], directions[2])
    _blend(live.vectors, own_numbers[1:2], directions[3])
    multiply_by_four(live.vectors, numbers, directions, products)
    for index in range(len(items)):
        if index >= user.best:
            log_probability[index] = products[index, 0] - log_total
        log_probability[index] = max(log_probability[index], _LEAST_LOG_PROBABILITY) / LOG_PROBABILITY_SCALE
        like_latest[index], like_last[index] = products[index, 1], products[index, 2]
        like_second[index] = products[index, 3]


@uncounted
def _blend(vectors: Floats, latest: NDArray[np.int32], blend: Floats) -> None:
    """Adds up the vectors of items into zeros (D,), item k weighing 1 / (1 + k), and scales the sum to length one.

    Without items `blend` stays zero.
    """
    for rank in range(len(latest)):
        vector, divisor = vectors[latest[rank]], np.float32(1 + rank)
        for d in range(len(blend)):
            blend[d] += vector[d] / divisor
    length = max(np.sqrt(dot(blend, blend)), _LEAST_LENGTH)
    for d in range(len(blend)):
        blend[d] /= length


@uncounted
def _logarithms(feature: Floats, factor: np.float32, scale: np.float32) -> None:
    for index in range(len(feature)):
        feature[index] = fast_log(np.float32(1) + factor * feature[index]) / scale
