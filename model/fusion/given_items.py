"""Scores items that somebody else has chosen for a user, on the scale of the user's recommendations.

An item that is a candidate anyway has the score that it is served with. Of any other one the same features are counted,
by way of a second collection in which such items take the place of the network's best, so that the user's own actions
and the statistics say of them what there is to say; they do not change what the others are worth.

Shapes: N answers, G items given for an answer, C candidates of an answer, M collections of items that are none, K items
of each, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.recent import RECENT_LENGTH, RecentActions
from model.fusion.candidate_features import NetworkBest
from model.fusion.candidates import MAX_CANDIDATES
from model.fusion.fusion import FusionRanking
from model.fusion.live_items import NO_NUMBER, LiveItems
from model.kernels.compiled import Floats
from model.search.shortlist import rank_highest
from model.statistics.rows import NOBODY

UNKNOWN: Final = np.float32(np.nan)  # the log-probability of an item of which nothing is known
_AT_ONCE: Final = MAX_CANDIDATES - RECENT_LENGTH - 1  # given items of a collection: the user's own need room, too


class _Collection(NamedTuple):
    """Items of an answer that are not among its candidates."""

    answer: int
    indices: NDArray[np.int64]  # (K,) in the answer's given items
    numbers: NDArray[np.int64]  # (K,)


def given_log_probabilities(
    ranking: FusionRanking, recent: RecentActions, best: NetworkBest, item_keys: Sequence[NDArray[np.uint64]]
) -> list[Floats]:
    """Returns the log-probabilities (G,) of the items given for each of N answers, by their distinct keys (G,).

    Each is of the next action on an item, as if the item were one more candidate; UNKNOWN where neither the vocabulary
    nor the statistics have it.
    """
    given = [_known_rows(ranking.live, keys) for keys in item_keys]
    found = [np.full(len(rows), UNKNOWN) for rows in given]
    if not best.items.shape[1]:
        return found
    served = ranking.collect(recent, best)
    scores, totals, others = ranking.score(served), list[np.float32](), list[_Collection]()
    for n, rows in enumerate(given):
        own = slice(served.starts[n], served.starts[n + 1])
        log_probabilities, total = _served_log_probabilities(scores[own], ranking.weights.none_logit[0])
        totals.append(total)
        index = dict(zip(served.items[own].tolist(), log_probabilities, strict=True))
        for at, row in enumerate(rows.tolist()):
            found[n][at] = index.get(row, UNKNOWN)
        left = np.flatnonzero((rows != NOBODY) & np.isnan(found[n]))
        for indices in np.split(left, range(_AT_ONCE, len(left), _AT_ONCE)) if len(left) else ():
            others.append(_Collection(n, indices, ranking.live.arrays.numbers[rows[indices]].astype(np.int64)))
    if others:
        for one, log_scores in zip(others, _other_scores(ranking, recent, best, others), strict=True):
            found[one.answer][one.indices] = np.minimum(log_scores - totals[one.answer], 0)
    return found


def _known_rows(live: LiveItems, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Returns the rows of items; NOBODY where they cannot be recommended."""
    rows = live.rows_of(keys)
    numbers = np.where(rows == NOBODY, NO_NUMBER, live.arrays.numbers[rows])
    return np.where(numbers == NO_NUMBER, np.int32(NOBODY), rows)


def _served_log_probabilities(scores: Floats, none_logit: np.float32) -> tuple[Floats, np.float32]:
    """Returns the log-probabilities (C,) of an answer's candidates as they are served, and what they lack to scores."""
    if not len(scores):
        return scores, none_logit
    order, ranked = np.empty(len(scores), np.int64), np.empty(len(scores), np.float32)
    rank_highest(scores, none_logit, order, ranked)
    log_probabilities = np.empty_like(ranked)
    log_probabilities[order] = ranked
    return log_probabilities, scores[order[0]] - ranked[0]


def _other_scores(
    ranking: FusionRanking, recent: RecentActions, best: NetworkBest, others: Sequence[_Collection]
) -> list[Floats]:
    """Returns the combiner's scores of items that are not among the candidates of their answers."""
    answers, live = np.array([one.answer for one in others]), ranking.live.arrays
    collected = ranking.collect(recent.select(answers), _in_place_of_best(live.vectors, best.select(answers), others))
    scores = ranking.score(collected)
    # The network's first item comes before them, unless memory had no room for a row of it.
    firsts = collected.starts[:-1] + (live.rows[best.items[answers, 0]] != NOBODY)
    return [scores[first : first + len(one.numbers)] for first, one in zip(firsts, others, strict=True)]


def _in_place_of_best(vectors: Floats, best: NetworkBest, others: Sequence[_Collection]) -> NetworkBest:
    """Returns the network's best item of M answers, and other items (K,) instead of the ones after it.

    The best one says how sure the network is; shorter collections are filled up with it.
    """
    longest = 1 + max(len(one.numbers) for one in others)
    items = np.repeat(best.items[:, :1], longest, axis=1)
    log_probabilities = np.repeat(best.log_probabilities[:, :1], longest, axis=1)
    for m, one in enumerate(others):
        items[m, 1 : 1 + len(one.numbers)] = one.numbers
        log_probabilities[m, 1 : 1 + len(one.numbers)] = _network_scores(vectors, best, m, one.numbers)
    return NetworkBest(items, log_probabilities, best.queries)


def network_log_probabilities(vectors: Floats, best: NetworkBest, given: Sequence[NDArray[np.int64]]) -> list[Floats]:
    """Returns the network's log-probabilities (G,) of the items given for each of N answers, by their numbers (G,).

    Those of its best items are as they are; UNKNOWN of a number below zero.
    """
    if not best.items.shape[1]:
        return [np.full(len(numbers), UNKNOWN) for numbers in given]
    found = []
    for n, numbers in enumerate(given):
        log_probabilities = np.minimum(_network_scores(vectors, best, n, np.maximum(numbers, 0)), 0)
        for number, log_probability in zip(best.items[n], best.log_probabilities[n], strict=True):
            log_probabilities[numbers == number] = log_probability
        log_probabilities[numbers < 0] = UNKNOWN
        found.append(log_probabilities)
    return found


def _network_scores(vectors: Floats, best: NetworkBest, n: int, numbers: NDArray[np.int64]) -> Floats:
    """Returns the network's log-probabilities (K,) of items for answer n, from their products and its best item's."""
    # Sums, as NumPy's products start threads of their own, which wait for one another and for those of the events.
    products = np.einsum("kd,d->k", vectors[np.append(numbers, best.items[n, 0])], best.queries[n])
    scores: Floats = products[:-1] - products[-1] + best.log_probabilities[n, 0]
    return scores
