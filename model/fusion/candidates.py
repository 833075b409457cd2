"""Which items may come next, and what speaks for each of them: the evidence that the combiner weighs.

Candidates are the network's best items, the user's own recent ones, what followed and preceded these in other users'
sequences, and popular ones, in all and in the last item's category. A compiled loop collects them, each once per
answer, with their features.

The candidates of several answers lie one after the other, and a feature of all of them is a row: what is done to one
feature walks along it, and weighing them is one product of matrices without gaps.

Shapes: N answers, A actions of their users, T candidates of all answers, C of the answer at hand, F features, K best
items of the network, D width, I items of the catalogue. Items are catalogue indices.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import FIRST_GAP, gap_bucket, opens_session, type_of
from model.data.events import CATEGORY_BUCKETS, PURCHASE, SEARCH
from model.data.recent import RECENT, Recent
from model.fusion.item_statistics import ItemStatistics, Neighbours
from model.kernels.compiled import Floats, compiled
from model.kernels.fast_math import fast_log
from model.kernels.gathered_dot import FOUR, dot, multiply_by_four

CANDIDATES: Final = 256  # of an answer, at most
NETWORK_BEST: Final = 64
FEATURES: Final = (
    "log_probability",  # by the network
    "followed_last", "followed_second", "followed_earlier",  # how often it followed the user's latest distinct items
    "preceded_last", "preceded_second", "preceded_earlier",
    "own", "own_recency", "own_count", "own_last", "own_bought", "own_session",  # what the user did with it
    "same_category", "same_brand", "category_share",  # with the user's last item, and among all own ones
    "own_next", "own_previous",  # the user went from or to the last item before
    "like_latest",  # cosine with a blend of the user's latest distinct items, as the network places items
    "like_last", "like_second",  # with each of the latest two
    "popularity", "trend",
    "history", "repeats", "certainty", "gap", "boundary",  # of the answer, not of the item: they tell whom to trust
)  # fmt: skip
(_LOG_PROBABILITY, _FOLLOWED, _, _, _PRECEDED, _, _, _OWN, _OWN_RECENCY, _OWN_COUNT, _OWN_LAST, _OWN_BOUGHT,
 _OWN_SESSION, _SAME_CATEGORY, _SAME_BRAND, _CATEGORY_SHARE, _OWN_NEXT, _OWN_PREVIOUS, _LIKE_LATEST, _LIKE_LAST,
 _LIKE_SECOND, _POPULARITY, _TREND,
 _HISTORY, _REPEATS, _CERTAINTY, _GAP, _BOUNDARY) = range(len(FEATURES))  # fmt: skip
OWN: Final = _OWN  # one for the user's own items
OF_OWN_ITEMS: Final = (  # zero for all others
    _OWN, _OWN_RECENCY, _OWN_COUNT, _OWN_LAST, _OWN_BOUGHT, _OWN_SESSION, _OWN_NEXT, _OWN_PREVIOUS
)  # fmt: skip
OF_ANSWER: Final = (_HISTORY, _REPEATS, _CERTAINTY, _GAP, _BOUNDARY)  # the same for all candidates of an answer

# How many neighbours of the last distinct item, of the one before it, … become candidates. Others of their neighbours
# add to the features of items that are candidates already.
_FOLLOWERS: Final = np.array((64, 24, 12, 12, 8, 8))
_PREDECESSORS: Final = np.array((24, 8, 4, 4, 4, 4))
_SLOTS: Final = 3  # of recency that have features of their own; what is older shares the last one
_BLENDED: Final = 6  # latest distinct items that candidates are compared with
_LEAST_LENGTH: Final = np.float32(1e-6)
_LEAST_LOG_PROBABILITY: Final = np.float32(-20)
_APART: Final = 16  # rows of features that lie a power of two apart would contend for the same places of a cache
LOG_PROBABILITY_SCALE: Final = np.float32(4)  # divides them: features should be about as large as one


class NetworkBest(NamedTuple):
    """What the network says: its best items, and all that it takes to ask it for the others."""

    items: NDArray[np.int64]  # (N, K) best first
    log_probabilities: Floats  # (N, K)
    queries: Floats  # (N, D)
    vectors: Floats  # (I, D)

    def part(self, part: slice | NDArray[np.int64]) -> NetworkBest:
        """The same for some of the answers."""
        return NetworkBest(self.items[part], self.log_probabilities[part], self.queries[part], self.vectors)


class Candidates(NamedTuple):
    """The candidates of N answers: those of answer n are `starts[n]` to `starts[n + 1]`."""

    items: NDArray[np.int32]  # (T,)
    features: Floats  # (F, T)
    starts: NDArray[np.int64]  # (N + 1,)

    @property
    def answers(self) -> NDArray[np.int64]:
        """Which answer each is a candidate of, (T,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


class SeenIndex(NamedTuple):
    """Room to remember which items are candidates of the answer at hand, and where; kept from call to call."""

    seen: NDArray[np.int64]  # (I,) the last answer that had the item as a candidate, times CANDIDATES, and where it was
    next_answer: NDArray[np.int64]  # (1,)


def seen_index(items: int) -> SeenIndex:
    """Room for so many items."""
    return SeenIndex(np.full(items, -1, np.int64), np.zeros(1, np.int64))


def allocate(answers: int) -> Candidates:
    """Room for the candidates of so many answers."""
    most = answers * CANDIDATES + _APART
    return Candidates(
        np.empty(most, np.int32), np.empty((len(FEATURES), most), np.float32), np.zeros(answers + 1, np.int64)
    )


def collect(
    recent: Recent,
    best: NetworkBest,
    statistics: ItemStatistics,
    seen_index: SeenIndex,
    place: Candidates | None = None,
) -> Candidates:
    """Candidates of N answers with their features. `seen_index` are of this thread alone.

    `place` is room for N answers or more, whatever lies there; by default it is new.
    """
    items, features, starts = place or allocate(len(recent.starts))
    _collect(recent, best, statistics, seen_index, items, features, starts)
    end = starts[len(recent.starts)]
    return Candidates(items[:end], features[:, :end], starts[: len(recent.starts) + 1])


@compiled
def _collect(
    recent: Recent,
    best: NetworkBest,
    statistics: ItemStatistics,
    seen_index: SeenIndex,
    all_items: NDArray[np.int32],
    features: Floats,
    starts: NDArray[np.int64],
) -> None:
    for n in range(len(recent.starts)):
        begin = starts[n]
        starts[n + 1] = begin + collect_answer(
            recent, best, statistics, seen_index, n, all_items[begin : begin + CANDIDATES], features, begin
        )


@compiled
def collect_answer(
    recent: Recent,
    best: NetworkBest,
    statistics: ItemStatistics,
    seen_index: SeenIndex,
    n: int,
    items: NDArray[np.int32],
    features: Floats,
    begin: int,
) -> int:
    """Candidates of answer n: fills `items`, of which there is room for CANDIDATES, and columns of `features` from
    `begin` on; returns how many there are."""
    own = np.empty(RECENT, np.int32)
    shares = np.zeros(CATEGORY_BUCKETS, np.float32)
    _clear(features, begin)
    first = seen_index.next_answer[0] * CANDIDATES
    seen_index.next_answer[0] += 1
    count = 0
    for k in range(best.items.shape[1]):
        place, count = _enter(best.items[n, k], first, seen_index.seen, items, count)
        features[_LOG_PROBABILITY, begin + place] = best.log_probabilities[n, k]
    distinct, actions, count = _own_items(recent, n, first, seen_index.seen, items, count, features, begin, own)
    for slot in range(min(distinct, len(_FOLLOWERS))):
        column, item = min(slot, _SLOTS - 1), own[slot]
        followed = features[_FOLLOWED + column, begin : begin + CANDIDATES]
        preceded = features[_PRECEDED + column, begin : begin + CANDIDATES]
        count = _neighbours(
            statistics.followers, item, _FOLLOWERS[slot], followed, first, seen_index.seen, items, count
        )
        count = _neighbours(
            statistics.predecessors, item, _PREDECESSORS[slot], preceded, first, seen_index.seen, items, count
        )
    for item in statistics.popular:
        _, count = _enter(item, first, seen_index.seen, items, count)
    if distinct:
        count = _popular_alike(statistics, own[0], first, seen_index.seen, items, count)
    _describe(recent, best, statistics, n, own[:distinct], actions, shares, items[:count], features, begin)
    return int(count)


@compiled
def _clear(features: Floats, begin: int) -> None:
    for column in range(len(features)):
        features[column, begin : begin + CANDIDATES] = np.float32(0)


@compiled
def _enter(item: int, first: int, seen: NDArray[np.int64], items: NDArray[np.int32], count: int) -> tuple[int, int]:
    """The place of an item among the candidates, at their end if it is new, -1 if there is no room; and how many."""
    place = seen[item] - first
    if place < 0:
        if count == len(items):
            return -1, count
        place = count
        seen[item] = first + place
        items[place] = item
        count += 1
    return place, count


@compiled
def _own_items(
    recent: Recent,
    n: int,
    first: int,
    seen: NDArray[np.int64],
    items: NDArray[np.int32],
    count: int,
    features: Floats,
    begin: int,
    own: NDArray[np.int32],
) -> tuple[int, int, int]:
    """The user's own items: fills `own` with the distinct ones, latest first; how many these are, of how many."""
    distinct, actions, session = 0, 0, np.float32(1)
    newer, newer_place = -1, 0  # the action after the one at hand
    oldest = max(recent.starts[n], recent.stops[n] - len(own))
    for at in range(recent.stops[n] - 1, oldest - 1, -1):
        item, context = recent.items[at], recent.contexts[at]
        kind = type_of(context)
        if item >= 0 and kind != SEARCH:
            actions += 1
            place, count = _enter(item, first, seen, items, count)
            at_place = begin + place
            if features[_OWN, at_place] == 0:
                features[_OWN, at_place] = 1
                features[_OWN_RECENCY, at_place] = np.float32(1) / np.float32(1 + distinct)
                features[_OWN_LAST, at_place] = np.float32(distinct == 0)
                features[_OWN_BOUGHT, at_place] = np.float32(kind == PURCHASE)
                features[_OWN_SESSION, at_place] = session
                own[distinct] = item
                distinct += 1
            features[_OWN_COUNT, at_place] += 1
            if item == own[0] and newer >= 0:
                features[_OWN_NEXT, begin + newer_place] = 1
            if newer == own[0]:
                features[_OWN_PREVIOUS, at_place] = 1
            newer, newer_place = item, place
        if opens_session(context):
            session = np.float32(0)
    return distinct, actions, count


@compiled
def _neighbours(
    of: Neighbours,
    item: int,
    entering: int,
    feature: Floats,
    first: int,
    seen: NDArray[np.int64],
    items: NDArray[np.int32],
    count: int,
) -> int:
    """Adds the neighbours' shares to their feature; the first `entering` that are no candidates become some."""
    most = min(len(items), count + entering)
    for at in range(of.starts[item], of.starts[item + 1]):
        neighbour = of.items[at]
        place = seen[neighbour] - first
        if place < 0:
            if count == most:
                continue
            place = count
            seen[neighbour] = first + place
            items[place] = neighbour
            count += 1
        feature[place] += of.shares[at]
    return count


@compiled
def _popular_alike(
    statistics: ItemStatistics, item: int, first: int, seen: NDArray[np.int64], items: NDArray[np.int32], count: int
) -> int:
    """Popular items of an item's category, where that is known, become candidates."""
    category, popular = statistics.categories[item], statistics.popular_alike
    if category != 0:
        for at in range(popular.starts[category], popular.starts[category + 1]):
            _, count = _enter(popular.items[at], first, seen, items, count)
    return count


@compiled
def _describe(
    recent: Recent,
    best: NetworkBest,
    statistics: ItemStatistics,
    n: int,
    own: NDArray[np.int32],
    actions: int,
    shares: Floats,
    items: NDArray[np.int32],
    features: Floats,
    begin: int,
) -> None:
    """What there is to say about the candidates (C,) once all are there, and about the answer."""
    end = begin + len(items)
    if len(own):
        _alike(
            statistics,
            own,
            shares,
            items,
            features[_SAME_CATEGORY, begin:end],
            features[_CATEGORY_SHARE, begin:end],
            features[_SAME_BRAND, begin:end],
        )
    _ask_network(
        best,
        n,
        own,
        items,
        features[_LOG_PROBABILITY, begin:end],
        features[_LIKE_LATEST, begin:end],
        features[_LIKE_LAST, begin:end],
        features[_LIKE_SECOND, begin:end],
    )
    for column in range(_FOLLOWED, _PRECEDED + _SLOTS):
        _logarithms(features[column, begin:end], np.float32(1000), np.float32(3))
    _logarithms(features[_OWN_COUNT, begin:end], np.float32(1), np.float32(1))
    for place in range(len(items)):
        features[_POPULARITY, begin + place] = statistics.popularity[items[place]]
        features[_TREND, begin + place] = statistics.trend[items[place]]
    last = recent.contexts[recent.stops[n] - 1] if recent.stops[n] > recent.starts[n] else np.uint32(0)
    gap = np.float32(gap_bucket(last)) / np.float32(FIRST_GAP)
    certainty = best.log_probabilities[n, 0] / LOG_PROBABILITY_SCALE if best.items.shape[1] else np.float32(0)
    features[_HISTORY, begin:end] = np.log1p(np.float32(actions)) / np.float32(3.5)
    features[_REPEATS, begin:end] = np.float32(1) - np.float32(len(own)) / np.float32(max(actions, 1))
    features[_CERTAINTY, begin:end] = certainty
    features[_GAP, begin:end] = gap
    features[_BOUNDARY, begin:end] = np.float32(opens_session(last))


@compiled
def _alike(
    statistics: ItemStatistics,
    own: NDArray[np.int32],
    shares: Floats,
    items: NDArray[np.int32],
    same_category: Floats,
    category_share: Floats,
    same_brand: Floats,
) -> None:
    """How candidates are like the user's distinct items, latest first; `shares` is room, zero for each category."""
    for item in own:
        shares[statistics.categories[item]] += np.float32(1) / np.float32(len(own))
    for place in range(len(items)):
        category, brand = statistics.categories[items[place]], statistics.brands[items[place]]
        if category != 0:
            same_category[place] = np.float32(category == statistics.categories[own[0]])
            category_share[place] = shares[category]
        if brand != 0:
            same_brand[place] = np.float32(brand == statistics.brands[own[0]])
    for item in own:
        shares[statistics.categories[item]] = np.float32(0)


@compiled
def _ask_network(
    best: NetworkBest,
    n: int,
    own: NDArray[np.int32],
    items: NDArray[np.int32],
    log_probability: Floats,
    like_latest: Floats,
    like_last: Floats,
    like_second: Floats,
) -> None:
    """What the network's vectors say: log-probabilities, also of items that are not among its best, and cosines.

    Four candidates at once for all four: most of their vectors come from far away.
    """
    query, asked = best.queries[n], best.items.shape[1]
    log_total = dot(query, best.vectors[best.items[n, 0]]) - best.log_probabilities[n, 0] if asked else np.float32(0)
    wanted = np.zeros((FOUR, len(query)), np.float32)
    wanted[0] = query
    _blend(best.vectors, own[:_BLENDED], wanted[1])
    _blend(best.vectors, own[:1], wanted[2])
    _blend(best.vectors, own[1:2], wanted[3])
    found = np.empty((len(items), FOUR), np.float32)
    multiply_by_four(best.vectors, items, wanted, found)
    for place in range(len(items)):
        if place >= asked:
            log_probability[place] = found[place, 0] - log_total
        log_probability[place] = max(log_probability[place], _LEAST_LOG_PROBABILITY) / LOG_PROBABILITY_SCALE
        like_latest[place], like_last[place], like_second[place] = found[place, 1], found[place, 2], found[place, 3]


@compiled
def _blend(vectors: Floats, latest: NDArray[np.int32], blend: Floats) -> None:
    """Adds up items in zeros (D,), each of them less than the one before it, and makes of that a vector of length one;
    nothing of none."""
    for slot in range(len(latest)):
        vector, parts = vectors[latest[slot]], np.float32(1 + slot)
        for d in range(len(blend)):
            blend[d] += vector[d] / parts
    length = max(np.sqrt(dot(blend, blend)), _LEAST_LENGTH)
    for d in range(len(blend)):
        blend[d] /= length


@compiled
def _logarithms(feature: Floats, by: np.float32, scale: np.float32) -> None:
    for place in range(len(feature)):
        feature[place] = fast_log(np.float32(1) + by * feature[place]) / scale
