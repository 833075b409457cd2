"""Which items may come next, and what speaks for each of them: the evidence that the combiner weighs.

Candidates are the network's best items, the user's own recent ones, what followed and preceded these in other users'
sequences, and popular ones, in all and in the last item's category. A compiled loop collects them, each once per
answer, with their features.

Shapes: N answers, A actions of their users, C candidates of an answer at most, F features, K best items of the
network, D width, I items of the catalogue. Items are catalogue indices.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.compiled import compiled
from model.events import (
    BOUNDARY_SHIFT,
    CATEGORY_BUCKETS,
    FIRST_GAP,
    GAP_BUCKETS,
    GAP_SHIFT,
    PURCHASE,
    SEARCH,
    TYPE_SLOTS,
)
from model.evidence import Evidence, Neighbours

Floats = NDArray[np.float32]

CANDIDATES: Final = 256
NETWORK_BEST: Final = 64
RECENT: Final = 32  # last actions of a user that are looked at
FEATURES: Final = (
    "log_probability",  # by the network
    "followed_last", "followed_second", "followed_earlier",  # how often it followed the user's latest distinct items
    "preceded_last", "preceded_second", "preceded_earlier",
    "own", "own_recency", "own_count", "own_last", "own_bought", "own_session",  # what the user did with it
    "same_category", "same_brand", "category_share",  # with the user's last item, and among all own ones
    "like_latest",  # cosine with a blend of the user's latest distinct items, as the network places items
    "popularity", "trend",
    "history", "repeats", "certainty", "gap", "boundary",  # of the answer, not of the item: they tell whom to trust
)  # fmt: skip
(_LOG_PROBABILITY, _FOLLOWED, _, _, _PRECEDED, _, _, _OWN, _OWN_RECENCY, _OWN_COUNT, _OWN_LAST, _OWN_BOUGHT,
 _OWN_SESSION, _SAME_CATEGORY, _SAME_BRAND, _CATEGORY_SHARE, _LIKE_LATEST, _POPULARITY, _TREND,
 _HISTORY, _REPEATS, _CERTAINTY, _GAP, _BOUNDARY) = range(len(FEATURES))  # fmt: skip

# How many neighbours of the last distinct item, of the one before it, … become candidates. Others of their neighbours
# add to the features of items that are candidates already.
_FOLLOWERS: Final = np.array((64, 24, 12, 12, 8, 8))
_PREDECESSORS: Final = np.array((24, 8, 4, 4, 4, 4))
_SLOTS: Final = 3  # of recency that have features of their own; what is older shares the last one
_BLENDED: Final = 6  # latest distinct items that candidates are compared with
_LEAST_LENGTH: Final = np.float32(1e-6)
_LEAST_LOG_PROBABILITY: Final = np.float32(-20)
LOG_PROBABILITY_SCALE: Final = np.float32(4)  # divides them: features should be about as large as one


class Recent(NamedTuple):
    """The last actions of the users who get answers: those of answer n are `starts[n]` to `stops[n]`, oldest first."""

    items: NDArray[np.int32]  # (A,); -1: a search or an item that is not in the catalogue
    contexts: NDArray[np.uint32]  # (A,)
    starts: NDArray[np.int64]  # (N,)
    stops: NDArray[np.int64]  # (N,)


class NetworkBest(NamedTuple):
    """What the network says: its best items, and all that it takes to ask it for the others."""

    items: NDArray[np.int64]  # (N, K) best first
    log_probabilities: Floats  # (N, K)
    queries: Floats  # (N, D)
    vectors: Floats  # (I, D)


class Candidates(NamedTuple):
    """The candidates of N answers; features beyond their counts are zero."""

    items: NDArray[np.int32]  # (N, C)
    features: Floats  # (N, C, F)
    counts: NDArray[np.int64]  # (N,)


class Marks(NamedTuple):
    """Room to remember which items are candidates of the answer at hand, and where; kept from call to call."""

    answers: NDArray[np.int64]  # (I,) the last answer that had the item as a candidate
    places: NDArray[np.int32]  # (I,) where it was
    next_answer: NDArray[np.int64]  # (1,)


def marks(items: int) -> Marks:
    """Room for so many items."""
    return Marks(np.full(items, -1, np.int64), np.zeros(items, np.int32), np.zeros(1, np.int64))


def room(answers: int) -> Candidates:
    """Room for the candidates of so many answers."""
    return Candidates(
        np.zeros((answers, CANDIDATES), np.int32),
        np.zeros((answers, CANDIDATES, len(FEATURES)), np.float32),
        np.zeros(answers, np.int64),
    )


def collect(
    recent: Recent, best: NetworkBest, evidence: Evidence, marks: Marks, found: Candidates | None = None
) -> Candidates:
    """Candidates of N answers with their features. `marks` are of this thread alone.

    `found` is room for N answers to put them, with what an earlier call has left there; by default it is new.
    """
    found = room(len(recent.starts)) if found is None else found
    _collect(recent, best, evidence, marks, found)
    return found


@compiled
def _collect(recent: Recent, best: NetworkBest, evidence: Evidence, marks: Marks, found: Candidates) -> None:
    own = np.empty(RECENT, np.int32)
    shares = np.zeros(CATEGORY_BUCKETS, np.float32)
    for n in range(len(recent.starts)):
        found.features[n, : found.counts[n]] = np.float32(0)
        found.counts[n] = 0
        answer = marks.next_answer[0]
        marks.next_answer[0] += 1
        for k in range(best.items.shape[1]):
            place = _enter(best.items[n, k], n, answer, marks, found, True)
            found.features[n, place, _LOG_PROBABILITY] = best.log_probabilities[n, k]
        distinct, actions = _own_items(recent, n, answer, marks, found, own)
        for slot in range(min(distinct, len(_FOLLOWERS))):
            column = min(slot, _SLOTS - 1)
            _neighbours(evidence.followers, own[slot], _FOLLOWERS[slot], _FOLLOWED + column, n, answer, marks, found)
            _neighbours(
                evidence.predecessors, own[slot], _PREDECESSORS[slot], _PRECEDED + column, n, answer, marks, found
            )
        for item in evidence.popular:
            _enter(item, n, answer, marks, found, True)
        if distinct:
            _popular_alike(evidence, own[0], n, answer, marks, found)
            _alike(evidence, own[:distinct], shares, n, found)
        _ask_network(best, n, found)
        if distinct:
            _like(best.vectors, own[: min(distinct, _BLENDED)], n, found)
        _finish(recent, best, evidence, n, distinct, actions, found)


@compiled
def _enter(item: int, n: int, answer: int, marks: Marks, found: Candidates, may_enter: bool) -> int:
    """The place of an item among the candidates, at their end if it is new and may enter; -1: it is none."""
    if marks.answers[item] == answer:
        return int(marks.places[item])
    place = found.counts[n]
    if not may_enter or place == found.items.shape[1]:
        return -1
    marks.answers[item] = answer
    marks.places[item] = place
    found.items[n, place] = item
    found.counts[n] = place + 1
    return int(place)


@compiled
def _own_items(
    recent: Recent, n: int, answer: int, marks: Marks, found: Candidates, own: NDArray[np.int32]
) -> tuple[int, int]:
    """The user's own items: fills `own` with the distinct ones, latest first; how many these are, of how many."""
    distinct, actions, session = 0, 0, np.float32(1)
    first = max(recent.starts[n], recent.stops[n] - len(own))
    for at in range(recent.stops[n] - 1, first - 1, -1):
        item, context = recent.items[at], recent.contexts[at]
        kind = context % np.uint32(TYPE_SLOTS)
        if item >= 0 and kind != SEARCH:
            actions += 1
            features = found.features[n, _enter(item, n, answer, marks, found, True)]
            if features[_OWN] == 0:
                features[_OWN] = 1
                features[_OWN_RECENCY] = np.float32(1) / np.float32(1 + distinct)
                features[_OWN_LAST] = np.float32(distinct == 0)
                features[_OWN_BOUGHT] = np.float32(kind == PURCHASE)
                features[_OWN_SESSION] = session
                own[distinct] = item
                distinct += 1
            features[_OWN_COUNT] += 1
        if _is_boundary(context):
            session = np.float32(0)
    return distinct, actions


@compiled
def _neighbours(
    of: Neighbours, item: int, entering: int, column: int, n: int, answer: int, marks: Marks, found: Candidates
) -> None:
    """Adds the neighbours' shares to their features; the first `entering` that are no candidates become some."""
    for at in range(of.starts[item], of.starts[item + 1]):
        known = found.counts[n]
        place = _enter(of.items[at], n, answer, marks, found, entering > 0)
        if place >= 0:
            found.features[n, place, column] += of.shares[at]
            entering -= place == known


@compiled
def _popular_alike(evidence: Evidence, item: int, n: int, answer: int, marks: Marks, found: Candidates) -> None:
    """Popular items of an item's category, where that is known, become candidates."""
    category, popular = evidence.categories[item], evidence.popular_alike
    if category != 0:
        for at in range(popular.starts[category], popular.starts[category + 1]):
            _enter(popular.items[at], n, answer, marks, found, True)


@compiled
def _alike(evidence: Evidence, own: NDArray[np.int32], shares: Floats, n: int, found: Candidates) -> None:
    """How candidates are like the user's distinct items, latest first; `shares` is room, zero for each category."""
    for item in own:
        shares[evidence.categories[item]] += np.float32(1) / np.float32(len(own))
    for place in range(found.counts[n]):
        features, item = found.features[n, place], found.items[n, place]
        category, brand = evidence.categories[item], evidence.brands[item]
        if category != 0:
            features[_SAME_CATEGORY] = np.float32(category == evidence.categories[own[0]])
            features[_CATEGORY_SHARE] = shares[category]
        if brand != 0:
            features[_SAME_BRAND] = np.float32(brand == evidence.brands[own[0]])
    for item in own:
        shares[evidence.categories[item]] = np.float32(0)


@compiled
def _ask_network(best: NetworkBest, n: int, found: Candidates) -> None:
    """Log-probabilities of the candidates that are not among the network's best."""
    query, asked = best.queries[n], best.items.shape[1]
    log_total = _dot(query, best.vectors[best.items[n, 0]]) - best.log_probabilities[n, 0] if asked else np.float32(0)
    for place in range(asked, found.counts[n]):
        logit = _dot(query, best.vectors[found.items[n, place]])
        found.features[n, place, _LOG_PROBABILITY] = logit - log_total


@compiled
def _like(vectors: Floats, latest: NDArray[np.int32], n: int, found: Candidates) -> None:
    """Cosines of candidates with a blend of items, of which each weighs less than the one before it."""
    blend = np.zeros(vectors.shape[1], np.float32)
    for slot in range(len(latest)):
        blend += vectors[latest[slot]] / np.float32(1 + slot)
    blend /= max(np.sqrt(_dot(blend, blend)), _LEAST_LENGTH)
    for place in range(found.counts[n]):
        found.features[n, place, _LIKE_LATEST] = _dot(blend, vectors[found.items[n, place]])


# As in `shortlist`, and not imported from there: a cached loop is not compiled again when another file changes.
@compiled
def _dot(a: Floats, b: Floats) -> np.float32:
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@compiled
def _finish(
    recent: Recent,
    best: NetworkBest,
    evidence: Evidence,
    n: int,
    distinct: int,
    actions: int,
    found: Candidates,
) -> None:
    """Features of about the size of one, and those of the answer."""
    last = recent.contexts[recent.stops[n] - 1] if recent.stops[n] > recent.starts[n] else np.uint32(0)
    gap = np.float32((last >> np.uint32(GAP_SHIFT)) % np.uint32(GAP_BUCKETS)) / np.float32(FIRST_GAP)
    boundary = np.float32(_is_boundary(last))
    history = np.log1p(np.float32(actions)) / np.float32(3.5)
    repeats = np.float32(1) - np.float32(distinct) / np.float32(max(actions, 1))
    certainty = best.log_probabilities[n, 0] / LOG_PROBABILITY_SCALE if best.items.shape[1] else np.float32(0)
    for place in range(found.counts[n]):
        features, item = found.features[n, place], found.items[n, place]
        features[_LOG_PROBABILITY] = max(features[_LOG_PROBABILITY], _LEAST_LOG_PROBABILITY) / LOG_PROBABILITY_SCALE
        for column in range(_FOLLOWED, _PRECEDED + _SLOTS):
            if features[column] != 0:  # most are, and logarithms are slow
                features[column] = np.log1p(np.float32(1000) * features[column]) / np.float32(3)
        if features[_OWN_COUNT] != 0:
            features[_OWN_COUNT] = np.log1p(features[_OWN_COUNT])
        features[_POPULARITY] = evidence.popularity[item]
        features[_TREND] = evidence.trend[item]
        features[_HISTORY] = history
        features[_REPEATS] = repeats
        features[_CERTAINTY] = certainty
        features[_GAP] = gap
        features[_BOUNDARY] = boundary


@compiled
def _is_boundary(context: np.uint32) -> bool:
    return bool((context >> np.uint32(BOUNDARY_SHIFT)) % np.uint32(2))
