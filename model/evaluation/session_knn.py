"""V-SkNN: recommends the items of the training sessions that are most like the current one (Ludewig and Jannach, 2018).

The current session is a vector over items, the weights falling linearly from its latest item to its first. Candidates
are the most recent training sessions that share an item with it; the nearest of them, by a cosine in which rare items
weigh more, are the neighbours. A neighbour gives its similarity, times the weight of the latest item that it shares,
to each of its items.
Shapes: S training sessions, I items, E entries (an item in a session), N targets, M items of the current session,
K items of a list.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts
from model.data.events import SEARCH
from model.data.sequences import Sequences
from model.evaluation.baselines import ItemIndex, latest_items
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, RankedTargets
from model.kernels.compiled import compiled

NEIGHBOURS: Final = 500
CANDIDATES: Final = 1000
SESSION_ITEMS: Final = 20  # M: the user's latest distinct items stand for the current session

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


class _SessionIndex(NamedTuple):
    """The training sessions in the order of time, and by item."""

    items: Codes  # (E,) codes of items, session by session
    session_starts: Codes  # (S + 1,) where the items of each session begin
    sessions: Codes  # (E,) sessions, item by item, rising
    item_starts: Codes  # (I + 1,) where the sessions of each item begin
    idf: Floats  # (I,)
    neighbours: int
    candidates: int


class _Scratch(NamedTuple):
    """Arrays that serve one target after the other; all but the last two are zero in between."""

    weights: Floats  # (I,) of the items in the current session
    similarity: Floats  # (S,) with the current session
    scores: Floats  # (I,)
    candidates: Codes  # sessions that share an item with the current one
    scored_items: Codes  # (I,)


class SessionKnn:
    """Ranks items by the nearest training sessions."""

    def __init__(
        self, known: Sequences, items: ItemIndex, *, neighbours: int = NEIGHBOURS, candidates: int = CANDIDATES
    ) -> None:
        self._items = items
        sessions, codes = _contents(known, items)
        count = int(sessions[-1]) + 1 if len(sessions) else 0
        by_item = np.argsort(codes, kind="stable")  # sessions stay in the order of time
        item_starts = np.searchsorted(codes[by_item], np.arange(len(items) + 1))
        self._index = _SessionIndex(
            items=codes,
            session_starts=np.searchsorted(sessions, np.arange(count + 1)),
            sessions=sessions[by_item],
            item_starts=item_starts,
            idf=np.log((count + 1) / np.maximum(1, np.diff(item_starts))),
            neighbours=neighbours,
            candidates=candidates,
        )

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by score; an item that is in no neighbour is not ranked."""
        current = self._items.codes_of(latest_items(holdout, SESSION_ITEMS))
        ranks = np.full(len(holdout), MISSED)
        top = np.full((len(holdout), LIST_SIZE), -1)
        _rank(current, self._items.codes_of(holdout.item_keys), self._index, ranks, top)
        return RankedTargets(ranks, self._items.item_keys_of(top))


def _contents(known: Sequences, items: ItemIndex) -> tuple[Codes, Codes]:
    """Returns sessions, 0..S-1 in the order in which they began, and codes of their distinct items; (E,) each."""
    begins = unpack_contexts(known.contexts).boundaries.astype(np.bool_)
    begins[known.offsets[:-1]] = True
    numbers = np.empty(begins.sum(), np.int64)
    numbers[np.argsort(known.times[begins], kind="stable")] = np.arange(len(numbers))
    of_action = numbers[np.cumsum(begins) - 1][known.types != SEARCH]
    keys = np.unique(of_action * max(1, len(items)) + items.codes)
    sessions, codes = np.divmod(keys, max(1, len(items)))
    return np.unique(sessions, return_inverse=True)[1], codes  # numbered again, as some sessions had searches only


@compiled
def _rank(current: Codes, targets: Codes, index: _SessionIndex, ranks: Codes, top: Codes) -> None:
    """Fills `ranks` (N,) and `top` (N, K) for current sessions (N, M), latest item first, and targets (N,).

    Items are codes; -1: there are fewer, or the target is not in the training data.
    """
    items, sessions = len(index.idf), len(index.session_starts)
    scratch = _Scratch(
        np.zeros(items),
        np.zeros(sessions),
        np.zeros(items),
        np.empty(current.shape[1] * index.candidates, np.int64),
        np.empty(items, np.int64),
    )
    for n in range(len(current)):
        known = current[n][current[n] >= 0]
        for i in range(len(known)):
            scratch.weights[known[i]] = 1.0 - i / len(known)
        candidates = scratch.candidates[: _gather(known, index, scratch)]
        nearest = _nearest(candidates, index, scratch.similarity)
        scored = scratch.scored_items[: _score(nearest, index, scratch)]
        ranks[n] = _rank_of(targets[n], scratch.scores, scored, ranks[n])
        best = np.argsort(-scratch.scores[scored], kind="mergesort")[: top.shape[1]]
        top[n, : len(best)] = scored[best]
        scratch.weights[known], scratch.similarity[candidates], scratch.scores[scored] = 0.0, 0.0, 0.0


@compiled
def _gather(known: Codes, index: _SessionIndex, scratch: _Scratch) -> int:
    """Adds up the products of the current session and its candidates; returns how many candidates there are."""
    count = 0
    for item in known:
        begin, end = index.item_starts[item], index.item_starts[item + 1]
        for session in index.sessions[max(begin, end - index.candidates) : end]:
            if scratch.similarity[session] == 0.0:
                scratch.candidates[count] = session
                count += 1
            scratch.similarity[session] += scratch.weights[item] * index.idf[item]
    return count


@compiled
def _nearest(candidates: Codes, index: _SessionIndex, similarity: Floats) -> Codes:
    """Returns the sessions with the highest cosine among the most recent ones; of equal ones the more recent."""
    recent = np.sort(candidates)[::-1][: index.candidates]
    for session in recent:
        similarity[session] /= np.sqrt(index.session_starts[session + 1] - index.session_starts[session])
    return recent[np.argsort(-similarity[recent], kind="mergesort")[: index.neighbours]]


@compiled
def _score(nearest: Codes, index: _SessionIndex, scratch: _Scratch) -> int:
    """Adds the neighbours' shares to the scores of their items; returns how many items are scored."""
    count = 0
    for session in nearest:
        items = index.items[index.session_starts[session] : index.session_starts[session + 1]]
        latest = scratch.weights[items].max()
        for item in items:
            if scratch.scores[item] == 0.0:
                scratch.scored_items[count] = item
                count += 1
            scratch.scores[item] += scratch.similarity[session] * latest
    return count


@compiled
def _rank_of(target: int, scores: Floats, scored: Codes, missed: int) -> int:
    if target < 0 or scores[target] == 0.0:
        return missed
    rank = 0
    for item in scored:
        rank += scores[item] >= scores[target]
    return rank
