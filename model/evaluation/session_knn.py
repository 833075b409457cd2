"""V-SkNN: items of the training sessions that are most like the present one (Ludewig and Jannach, 2018).

The present session is a vector over items, the weights falling linearly from its latest item to its first. Candidates
are the most recent training sessions that share an item with it; the nearest of them, by a cosine in which rare items
weigh more, are the neighbours. A neighbour gives its similarity, times the weight of the latest item that it shares,
to each of its items.
Shapes: S training sessions, I items, E entries (an item in a session), N targets, M items of the present session.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts
from model.data.events import SEARCH
from model.data.sequences import Sequences
from model.evaluation.baselines import Items, latest_items
from model.evaluation.ranking import LISTED, MISSED, Holdout, RankedTargets
from model.kernels.compiled import compiled

NEIGHBOURS: Final = 500
CANDIDATES: Final = 1000
PRESENT: Final = 20  # M: the user's latest distinct items stand for the present session

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


class SessionKnn:
    """The training sessions in the order of time, and by item."""

    def __init__(
        self, known: Sequences, items: Items, *, neighbours: int = NEIGHBOURS, candidates: int = CANDIDATES
    ) -> None:
        self._items = items
        self._sizes = (neighbours, candidates)
        sessions, codes = _contents(known, items)
        count = int(sessions[-1]) + 1 if len(sessions) else 0
        by_item = np.argsort(codes, kind="stable")  # sessions stay in the order of time
        starts_of_items = np.searchsorted(codes[by_item], np.arange(len(items) + 1))
        idf = np.log((count + 1) / np.maximum(1, np.diff(starts_of_items)))
        self._index = (
            (codes, np.searchsorted(sessions, np.arange(count + 1))),
            (sessions[by_item], starts_of_items),
            idf,
        )

    def rank(self, holdout: Holdout) -> RankedTargets:
        """By score; an item in no neighbour is not ranked."""
        present = self._items.codes_of(latest_items(holdout, PRESENT))
        ranks = np.full(len(holdout), MISSED)
        top = np.full((len(holdout), LISTED), -1)
        _rank(present, self._items.codes_of(holdout.item_keys), *self._index, *self._sizes, ranks, top)
        return RankedTargets(ranks, self._items.item_keys_of(top))


def _contents(known: Sequences, items: Items) -> tuple[Codes, Codes]:
    """Sessions, 0..S-1 in the order in which they began, and codes of their distinct items; (E,) each."""
    begins = unpack_contexts(known.contexts).boundaries.astype(np.bool_)
    begins[known.offsets[:-1]] = True
    place_in_time = np.empty(begins.sum(), np.int64)
    place_in_time[np.argsort(known.times[begins], kind="stable")] = np.arange(len(place_in_time))
    of_action = place_in_time[np.cumsum(begins) - 1][known.types != SEARCH]
    keys = np.unique(of_action * max(1, len(items)) + items.codes)
    sessions, codes = np.divmod(keys, max(1, len(items)))
    return np.unique(sessions, return_inverse=True)[1], codes  # counted anew, as some had searches only


@compiled
def _rank(
    present: Codes,
    targets: Codes,
    sessions: tuple[Codes, Codes],
    postings: tuple[Codes, Codes],
    idf: Floats,
    neighbours: int,
    candidates: int,
    ranks: Codes,
    top: Codes,
) -> None:
    """Fills `ranks` (N,) and `top` (N, K) for present sessions (N, M), latest item first, and targets (N,); -1: none.

    `sessions`: codes (E,) session by session and where each begins, (S + 1,). `postings`: sessions (E,) item by item,
    rising, and where those of each item begin, (I + 1,).
    """
    similarity, scores, weights = np.zeros(len(sessions[1])), np.zeros(len(idf)), np.zeros(len(idf))
    seen, touched = np.empty(present.shape[1] * candidates, np.int64), np.empty(len(idf), np.int64)
    for n in range(len(present)):
        known = present[n][present[n] >= 0]
        for i in range(len(known)):
            weights[known[i]] = 1.0 - i / len(known)
        count = _gather(known, weights, postings, idf, candidates, similarity, seen)
        nearest = _nearest(seen[:count], similarity, sessions[1], neighbours, candidates)
        found = _score(nearest, similarity, sessions, weights, scores, touched)
        ranks[n] = _rank_of(targets[n], scores, touched[:found], ranks[n])
        best = np.argsort(-scores[touched[:found]], kind="mergesort")[: top.shape[1]]
        top[n, : len(best)] = touched[best]
        weights[known], similarity[seen[:count]], scores[touched[:found]] = 0.0, 0.0, 0.0


@compiled
def _gather(
    known: Codes,
    weights: Floats,
    postings: tuple[Codes, Codes],
    idf: Floats,
    candidates: int,
    similarity: Floats,
    seen: Codes,
) -> int:
    """Adds up the products of the present session and those that share an item; returns how many are `seen`."""
    count = 0
    for item in known:
        begin, end = postings[1][item], postings[1][item + 1]
        for session in postings[0][max(begin, end - candidates) : end]:
            if similarity[session] == 0.0:
                seen[count] = session
                count += 1
            similarity[session] += weights[item] * idf[item]
    return count


@compiled
def _nearest(seen: Codes, similarity: Floats, starts: Codes, neighbours: int, candidates: int) -> Codes:
    """The sessions with the highest cosine among the most recent ones; of equal ones the more recent."""
    recent = np.sort(seen)[::-1][:candidates]
    for session in recent:
        similarity[session] /= np.sqrt(starts[session + 1] - starts[session])
    return recent[np.argsort(-similarity[recent], kind="mergesort")[:neighbours]]


@compiled
def _score(
    nearest: Codes,
    similarity: Floats,
    sessions: tuple[Codes, Codes],
    weights: Floats,
    scores: Floats,
    touched: Codes,
) -> int:
    """Adds the neighbours' shares to the scores of their items; returns how many are `touched`."""
    found = 0
    for session in nearest:
        items = sessions[0][sessions[1][session] : sessions[1][session + 1]]
        latest = weights[items].max()
        for item in items:
            if scores[item] == 0.0:
                touched[found] = item
                found += 1
            scores[item] += similarity[session] * latest
    return found


@compiled
def _rank_of(target: int, scores: Floats, touched: Codes, missed: int) -> int:
    if target < 0 or scores[target] == 0.0:
        return missed
    rank = 0
    for item in touched:
        rank += scores[item] >= scores[target]
    return rank
