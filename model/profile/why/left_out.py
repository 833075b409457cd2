"""The features of a few recommended items as they are, and as they would be had the user never had to do with one of
their own items: in time for each answer of a worker, from what ranking has just read.

They are those of `fusion/candidate_features.py`, but for this: all neighbours of the user's latest items count, also
those that were passed by before the item was a candidate. Who went from what is left out to another item did not go
there from the one before. Which items are of this session stays as it is, and so do the search that counts and what
belongs to the answer: how long the history is, how certain the network.

Shapes: k explained items (`AT_ONCE`), O own items that can be left out (`MOST_LEFT_OUT`), F features, D width, T terms.
Items are rows of the statistics; own items are the user's distinct ones, latest first.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import opens_session, type_of
from model.data.events import PURCHASE, SEARCH, TYPE_CODES
from model.data.recent import AFTER_QUERY, RECENT_LENGTH
from model.fusion.candidate_features import CandidateSources
from model.fusion.candidates import known_words
from model.kernels.compiled import Floats, compiled, uncounted
from model.kernels.gathered_dot import FOUR, dot, multiply_by_four
from model.kernels.hash_table import find_row
from model.statistics.counter import source_key, word_key
from model.statistics.rows import NOBODY, NeighbourRows

AT_ONCE: Final = 3  # explained items
MOST_LEFT_OUT: Final = 18  # with these, all columns of three items are one block of the combiner
NEAR: Final = 7  # latest own items that weigh, and one that moves up when one of them is left out
BLENDED: Final = NEAR - 1  # latest own items in a blend, and with neighbours
_SHARE: Final = (1 / (1 + np.arange(NEAR))).astype(np.float32)  # of each in a blend
TERMS: Final = 7  # of what leaving an item out does to the network's log-probability
AGES: Final = 7  # kinds of ranks that have weights of their own for these terms
_AGE_OF_RANK: Final = np.array([0, 1, 2, 3, 4, 4, *[5] * 4, *[6] * 22])
_CART: Final = TYPE_CODES["cart"]
_INTENT_WITHIN: Final = 4  # see `fusion/candidates.py`
LEAST_LOG_PROBABILITY: Final = np.float32(-20)
_NONE: Final = -2  # the rank of no item; that of an item which is not among the own ones is -1
_QUERY: Final = AT_ONCE  # the column of the products with the network's query
_FOLLOWED, _PRECEDED, _LATE = range(3)  # kinds of neighbours


class OwnItems(NamedTuple):
    """A user's distinct items, latest first: how many there are is passed beside it."""

    rows: NDArray[np.int32]  # (RECENT_LENGTH,)
    numbers: NDArray[np.int32]  # (RECENT_LENGTH,)
    kinds: NDArray[np.uint32]  # (RECENT_LENGTH,) of the latest action
    counts: Floats  # (RECENT_LENGTH,) of actions
    sessions: Floats  # (RECENT_LENGTH,) 1 where the latest action is of this session
    actions: NDArray[np.int32]  # (RECENT_LENGTH,) of each action, latest first, its item's rank; -1: none of these
    held: NDArray[np.int64]  # (1,) actions


class ExplainedItems(NamedTuple):
    """What is known of an answer's explained items beside the user's own ones."""

    rows: NDArray[np.int32]  # (k,)
    ranks: NDArray[np.int32]  # (k,) among the own items; -1: it is none
    alike: NDArray[np.int32]  # (k,) own items of the same category
    beside: Floats  # (3, NEAR, k) shares among followers, predecessors and followers of late of the latest own items
    products: Floats  # (RECENT_LENGTH, k + 1) of own items with explained ones and the network's query
    lengths: Floats  # (NEAR,) of the vectors of the latest own items
    blends: Floats  # (NEAR,) of the blend of the latest own items without each of them; the last: with all
    log_probabilities: Floats  # (k,) by the network
    query_products: Floats  # (k,) of explained items with the query
    intent: NDArray[np.int64]  # (1,) rank of the item of the last cart or purchase
    after_intent: Floats  # (2, k) shares among what followed it, and what followed the last one on another item
    after_query: Floats  # (k,) share among what followed the last search
    after_word: Floats  # (k,) among what followed one of its words
    directions: Floats  # (FOUR, D)
    terms: Floats  # (T,)


@compiled
def new_own_items() -> OwnItems:
    """Returns memory for one user's items."""
    size = RECENT_LENGTH
    return OwnItems(
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.uint32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.int32),
        np.empty(1, np.int64),
    )


@compiled
def new_explained(width: int) -> ExplainedItems:
    """Returns memory for the explained items of one answer, by vectors of a width."""
    return ExplainedItems(
        np.empty(AT_ONCE, np.int32),
        np.empty(AT_ONCE, np.int32),
        np.empty(AT_ONCE, np.int32),
        np.empty((3, NEAR, AT_ONCE), np.float32),
        np.empty((RECENT_LENGTH, FOUR), np.float32),
        np.empty(NEAR, np.float32),
        np.empty(NEAR, np.float32),
        np.empty(AT_ONCE, np.float32),
        np.empty(AT_ONCE, np.float32),
        np.empty(1, np.int64),
        np.empty((2, AT_ONCE), np.float32),
        np.empty(AT_ONCE, np.float32),
        np.empty(AT_ONCE, np.float32),
        np.empty((FOUR, width), np.float32),
        np.empty(TERMS, np.float32),
    )


@uncounted
def list_own(sources: CandidateSources, n: int, own: OwnItems) -> int:
    """Fills in the own items of answer n; returns how many there are."""
    recent, numbers = sources.recent, sources.live.numbers
    distinct, session = 0, np.float32(1)
    oldest = max(recent.starts[n], recent.stops[n] - len(own.rows))
    for at in range(recent.stops[n] - 1, oldest - 1, -1):
        row, context = sources.rows[at], recent.contexts[at]
        kind, rank = type_of(context), -1
        if row >= 0 and kind != SEARCH and numbers[row] >= 0:
            rank = 0
            while rank < distinct and own.rows[rank] != row:
                rank += 1
            if rank == distinct:
                own.rows[rank], own.numbers[rank], own.kinds[rank] = row, numbers[row], kind
                own.counts[rank], own.sessions[rank] = np.float32(0), session
                distinct += 1
            own.counts[rank] += np.float32(1)
        own.actions[recent.stops[n] - 1 - at] = rank
        if opens_session(context):
            session = np.float32(0)
    own.held[0] = recent.stops[n] - oldest
    return distinct


@uncounted
def look_up(sources: CandidateSources, n: int, own: OwnItems, distinct: int, explained: ExplainedItems) -> None:
    """Fills in what is known of the explained items of answer n, whose rows are there."""
    items = sources.table.items
    for j in range(AT_ONCE):
        explained.ranks[j], explained.alike[j] = -1, 0
        for rank in range(distinct):
            if own.rows[rank] == explained.rows[j]:
                explained.ranks[j] = rank
            explained.alike[j] += items.categories[own.rows[rank]] == items.categories[explained.rows[j]]
    near = min(distinct, NEAR)
    for rank in range(near):
        _find_beside(items.followers, own.rows[rank], explained.rows, explained.beside[_FOLLOWED, rank])
        _find_beside(items.predecessors, own.rows[rank], explained.rows, explained.beside[_PRECEDED, rank])
        _find_beside(items.recent, own.rows[rank], explained.rows, explained.beside[_LATE, rank])
    _multiply(sources, n, own, distinct, explained)
    _find_after_sources(sources, n, own, explained)


@uncounted
def _find_beside(neighbours: NeighbourRows, row: int, wanted: NDArray[np.int32], shares: Floats) -> None:
    """Fills in the shares (k,) of the three wanted items among a row's neighbours."""
    items = neighbours.items[row]
    first, second, third = wanted
    at_first, at_second, at_third = np.int32(-1), np.int32(-1), np.int32(-1)
    for at in range(len(items)):
        at_first = max(at_first, np.int32(at) if items[at] == first else np.int32(-1))
        at_second = max(at_second, np.int32(at) if items[at] == second else np.int32(-1))
        at_third = max(at_third, np.int32(at) if items[at] == third else np.int32(-1))
    weights = neighbours.weights[row]
    scale = np.float32(1) / max(neighbours.totals[row], np.float32(1e-30))
    shares[0] = weights[at_first] * scale if at_first >= 0 else np.float32(0)
    shares[1] = weights[at_second] * scale if at_second >= 0 else np.float32(0)
    shares[2] = weights[at_third] * scale if at_third >= 0 else np.float32(0)


@uncounted
def _multiply(sources: CandidateSources, n: int, own: OwnItems, distinct: int, explained: ExplainedItems) -> None:
    """Fills in products of vectors, and the network's log-probabilities."""
    vectors, numbers, query, best = sources.live.vectors, sources.live.numbers, sources.best.queries[n], sources.best
    for d in range(len(query)):
        for j in range(AT_ONCE):
            explained.directions[j, d] = vectors[numbers[explained.rows[j]], d]
        explained.directions[_QUERY, d] = query[d]
    multiply_by_four(vectors, own.numbers[:distinct], explained.directions, explained.products)
    _measure_blends(vectors, own.numbers[: min(distinct, NEAR)], explained.lengths, explained.blends)
    log_total = dot(query, vectors[best.items[n, 0]]) - best.log_probabilities[n, 0]
    for j in range(AT_ONCE):
        explained.query_products[j] = dot(query, explained.directions[j])
        explained.log_probabilities[j] = max(explained.query_products[j] - log_total, LEAST_LOG_PROBABILITY)


@uncounted
def _measure_blends(vectors: Floats, latest: NDArray[np.int32], lengths: Floats, blends: Floats) -> None:
    """Fills in the lengths of the latest own items' vectors, and of their blends."""
    for gone in range(NEAR):
        blends[gone] = np.float32(0)
    for rank in range(len(latest)):
        for other in range(rank + 1):
            product = dot(vectors[latest[rank]], vectors[latest[other]])
            if other == rank:
                lengths[rank] = np.sqrt(product)
            else:
                product *= np.float32(2)
            for gone in range(NEAR):
                if gone != rank and gone != other and rank - (gone < rank) < BLENDED:
                    blends[gone] += product * _SHARE[rank - (gone < rank)] * _SHARE[other - (gone < other)]
    for gone in range(NEAR):
        blends[gone] = np.sqrt(max(blends[gone], np.float32(0)))


@uncounted
def _find_after_sources(sources: CandidateSources, n: int, own: OwnItems, explained: ExplainedItems) -> None:
    """Fills in what followed the last cart or purchase, the last one on another item, and the last search."""
    for j in range(AT_ONCE):
        explained.after_intent[0, j] = explained.after_intent[1, j] = explained.after_query[j] = np.float32(0)
    explained.intent[0] = _find_intent(sources, n, own, explained, _NONE, 0)
    if explained.intent[0] >= 0:
        _find_intent(sources, n, own, explained, explained.intent[0], 1)
    recent = sources.recent
    for age in range(min(own.held[0], AFTER_QUERY)):
        at = recent.stops[n] - 1 - age
        if type_of(recent.contexts[at]) == SEARCH:
            _find_after_query(sources, n, recent.item_keys[at], explained)
            return


@uncounted
def _find_after_query(sources: CandidateSources, n: int, key: np.uint64, explained: ExplainedItems) -> None:
    """Fills in what followed a search; where it is the first one of its kind, the mean of what followed its words."""
    followers, shares = sources.table.sources.followers, explained.after_query
    row = find_row(sources.source_index, source_key(key, SEARCH))
    if row >= 0:
        _find_beside(followers, row, explained.rows, shares)
        return
    known = 0
    for at in range(known_words(sources, n)):
        row = find_row(sources.source_index, word_key(sources.recent.words[n, at]))
        if row >= 0:
            known += 1
            _find_beside(followers, row, explained.rows, explained.after_word)
            for j in range(AT_ONCE):
                shares[j] += explained.after_word[j]
    for j in range(AT_ONCE):
        shares[j] /= np.float32(max(known, 1))


@uncounted
def _find_intent(
    sources: CandidateSources, n: int, own: OwnItems, explained: ExplainedItems, without: int, place: int
) -> int:
    """Fills in what followed the last cart or purchase, without those of an own item; returns the rank of its item."""
    recent, on_items = sources.recent, 0
    for age in range(own.held[0]):
        at, rank = recent.stops[n] - 1 - age, own.actions[age]
        kind = type_of(recent.contexts[at])
        if kind == SEARCH or rank == without:
            continue
        if kind in (_CART, PURCHASE):
            _find_after(sources, recent.item_keys[at], kind, explained.rows, explained.after_intent[place])
            return int(rank)
        on_items += 1
        if on_items >= _INTENT_WITHIN:
            break
    return _NONE


@uncounted
def _find_after(
    sources: CandidateSources, key: np.uint64, kind: int, wanted: NDArray[np.int32], shares: Floats
) -> None:
    row = find_row(sources.source_index, source_key(key, kind))
    if row >= 0:
        _find_beside(sources.table.sources.followers, row, wanted, shares)


@uncounted
def fill_terms(explained: ExplainedItems, rank: int, j: int, terms: Floats) -> int:
    """Fills in the terms (T,) of what leaving an own item out does to the network's log-probability of an item; returns
    which weights they have."""
    cosine, of_query = explained.products[rank, j], explained.products[rank, _QUERY]
    terms[0], terms[1] = np.float32(1), cosine
    terms[2] = np.float32(explained.ranks[j] == rank)
    terms[3], terms[4] = of_query, explained.query_products[j]
    terms[5], terms[6] = cosine * of_query, explained.log_probabilities[j]
    return int(_AGE_OF_RANK[rank])


@uncounted
def network_drop(explained: ExplainedItems, rank: int, j: int, weights: Floats) -> np.float32:
    """Estimates how much lower the network's log-probability of an item is without an own one."""
    terms, total = explained.terms, np.float32(0)
    age = fill_terms(explained, rank, j, terms)
    for term in range(len(terms)):
        total += weights[age, term] * terms[term]
    return total


class OwnTerms(NamedTuple):
    """What is fitted to: the terms of N users' own items with their explained ones."""

    own: NDArray[np.int64]  # (N, O) numbers of own items
    counts: NDArray[np.int64]  # (N,) how many there are
    terms: Floats  # (N, k, O, T)
    ages: NDArray[np.int64]  # (O,) which weights the terms have, by rank


def own_terms(sources: CandidateSources, items: NDArray[np.int64]) -> OwnTerms:
    """Returns the terms for the explained items (N, k), by number, of N answers."""
    n, most = len(items), MOST_LEFT_OUT
    found = OwnTerms(
        np.zeros((n, most), np.int64),
        np.zeros(n, np.int64),
        np.zeros((n, AT_ONCE, most, TERMS), np.float32),
        _AGE_OF_RANK[:most],
    )
    _fill_own_terms(sources, items, found)
    return found


@compiled
def _fill_own_terms(sources: CandidateSources, items: NDArray[np.int64], found: OwnTerms) -> None:
    own, explained = new_own_items(), new_explained(sources.live.vectors.shape[1])
    for n in range(len(items)):
        distinct = list_own(sources, n, own)
        if enter_items(sources, items[n], 0, explained) == 0:
            continue
        look_up(sources, n, own, distinct, explained)
        found.counts[n] = min(distinct, MOST_LEFT_OUT)
        for rank in range(found.counts[n]):
            found.own[n, rank] = own.numbers[rank]
            for j in range(AT_ONCE):
                fill_terms(explained, rank, j, found.terms[n, j, rank])


@uncounted
def enter_items(sources: CandidateSources, items: NDArray[np.int64], first: int, explained: ExplainedItems) -> int:
    """Enters the items to explain from the first one on; returns how many there are. The last fills the rest."""
    there = 0
    for j in range(AT_ONCE):
        number = items[first + j] if first + j < len(items) else -1
        row = sources.live.rows[number] if number >= 0 else NOBODY
        if row != NOBODY and there == j:
            explained.rows[j] = row
            there += 1
        elif j > 0:
            explained.rows[j] = explained.rows[j - 1]
    return there
