"""V-SkNN: recommends the items of the training sessions that are most like the present one (Ludewig and Jannach, 2018).

The present session is that of the user's latest action, up to there. Candidates are the most recent training sessions
that share an item with it. A candidate's similarity is the sum of the weights of the items that it shares, which fall
from the session's latest item to its first; the most similar candidates are the neighbours. A neighbour gives each of
its items its similarity, times a weight of the latest item that it shares, times more for a rare item.
Shapes: S training sessions, I items, E entries (an item in a session), A actions on items, N targets,
K items of a list.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts
from model.data.events import SEARCH
from model.data.sequences import Sequences
from model.evaluation.baselines import ItemIndex
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, RankedTargets
from model.kernels.compiled import compiled

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

_LEAST_RARITY: Final = 1e-9  # of an item in every session: a candidate's similarity is never 0


@dataclass(frozen=True, slots=True)
class SessionKnnConfig:
    """The settings; the defaults are those of session-rec's example for yoochoose (`conf/example_next.yml`)."""

    neighbours: int = 500  # k
    candidates: int = 5000  # sample_size
    position_power: float = 2.0  # weighting, (place / length) ** power: 1 is "div", 2 is "quadratic"
    shared_power: float = 1.0  # weighting_score, (1 / steps back) ** power: 1 is "div", 2 is "quadratic"
    idf_weighting: float = 5.0  # an item's score is multiplied by 1 + this times its inverse document frequency
    cosine: bool = False  # similarity is a cosine in which rare items weigh more; session-rec has no such thing
    whole_user: bool = False  # takes all that the user did for the present session


class _SessionIndex(NamedTuple):
    """The training sessions by the time of their last action, and by item."""

    items: Codes  # (E,) codes of items, session by session
    session_starts: Codes  # (S + 1,) where the items of each session begin
    sessions: Codes  # (E,) sessions, item by item, rising
    item_starts: Codes  # (I + 1,) where the sessions of each item begin
    rarities: Floats  # (I,) of an item in the similarity; 1 but for a cosine
    lengths: Floats  # (S,) that a similarity is divided by; 1 but for a cosine
    factors: Floats  # (I,) of an item's score, by its rarity
    neighbours: int
    candidates: int
    position_power: float
    shared_power: float


class _PresentSessions(NamedTuple):
    """What each target's session is up to then."""

    codes: Codes  # (A,) items of all actions on items, in order; -1: not in training
    starts: Codes  # (N,) where the session of each target begins among the actions
    stops: Codes  # (N,) and where it ends


class _Scratch(NamedTuple):
    """Arrays that serve one target after the other; all but the last three are zero in between."""

    weights: Floats  # (I,) of the items in the present session, for its similarity to others
    shared: Floats  # (I,) of the items in the present session, for what a neighbour gives
    similarity: Floats  # (S,) with the present session
    scores: Floats  # (I,)
    candidates: Codes  # (S,) sessions that share an item with the present one
    own: Codes  # (I,) items of the present session
    scored_items: Codes  # (I,)


class SessionKnn:
    """Ranks items by the nearest training sessions."""

    def __init__(self, known: Sequences, items: ItemIndex, config: SessionKnnConfig | None = None) -> None:
        self._items, self._config = items, config or SessionKnnConfig()
        self._index = _index_of(*_contents(known, items), items, self._config)

    def with_config(self, config: SessionKnnConfig) -> SessionKnn:
        """Returns a ranker with other settings, over the same sessions."""
        other = copy(self)
        other._config, other._index = config, self._index._replace(**_settings(self._index, config))
        return other

    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by score; an item that is in no neighbour is not ranked."""
        ranks = np.full(len(holdout), MISSED)
        top = np.full((len(holdout), LIST_SIZE), -1)
        present = _present_sessions(holdout, self._items, self._config.whole_user)
        _rank(present, self._items.codes_of(holdout.item_keys), self._index, ranks, top)
        return RankedTargets(ranks, self._items.item_keys_of(top))


def _index_of(sessions: Codes, codes: Codes, items: ItemIndex, config: SessionKnnConfig) -> _SessionIndex:
    count = int(sessions[-1]) + 1 if len(sessions) else 0
    by_item = np.argsort(codes, kind="stable")  # sessions stay in the order of time
    index = _SessionIndex(
        items=codes,
        session_starts=np.searchsorted(sessions, np.arange(count + 1)),
        sessions=sessions[by_item],
        item_starts=np.searchsorted(codes[by_item], np.arange(len(items) + 1)),
        rarities=np.ones(len(items)),
        lengths=np.ones(count),
        factors=np.ones(len(items)),
        **_numbers(config),
    )
    return index._replace(**_settings(index, config))


def _settings(index: _SessionIndex, config: SessionKnnConfig) -> dict[str, Any]:
    """Returns the fields of an index that hang on the settings."""
    counts, sizes = np.diff(index.item_starts), np.diff(index.session_starts)
    idf = np.log(max(1, len(sizes)) / np.maximum(1, counts))
    return _numbers(config) | {
        "rarities": np.maximum(idf, _LEAST_RARITY) if config.cosine else np.ones(len(counts)),
        "lengths": np.sqrt(sizes) if config.cosine else np.ones(len(sizes)),
        "factors": 1.0 + config.idf_weighting * idf,
    }


def _numbers(config: SessionKnnConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("neighbours", "candidates", "position_power", "shared_power")}


def _begins(sequences: Sequences) -> NDArray[np.bool_]:
    """Returns of each action whether a session begins with it."""
    begins = unpack_contexts(sequences.contexts).boundaries.astype(np.bool_)
    begins[sequences.offsets[:-1]] = True
    return begins


def _present_sessions(holdout: Holdout, items: ItemIndex, whole_user: bool) -> _PresentSessions:
    """Finds the session of the action before each target: whether the target begins another is not known then."""
    sequences, starts = holdout.sequences, holdout.starts
    if not whole_user:
        begins = np.where(_begins(sequences), np.arange(len(sequences)), 0)
        starts = np.maximum.accumulate(begins)[holdout.positions - 1]
    on_item = sequences.types != SEARCH
    ranks = np.concatenate(([0], np.cumsum(on_item)))  # of each action among those on items
    return _PresentSessions(items.codes_of(sequences.item_keys[on_item]), ranks[starts], ranks[holdout.positions])


def _contents(known: Sequences, items: ItemIndex) -> tuple[Codes, Codes]:
    """Returns sessions, 0..S-1 in the order in which they ended, and codes of their distinct items; (E,) each."""
    begins = _begins(known)
    ends = known.times[np.append(begins[1:], True)[: len(known)]]
    numbers = np.empty(len(ends), np.int64)
    numbers[np.argsort(ends, kind="stable")] = np.arange(len(numbers))
    of_action = numbers[np.cumsum(begins) - 1][known.types != SEARCH]
    keys = np.unique(of_action * max(1, len(items)) + items.codes)
    sessions, codes = np.divmod(keys, max(1, len(items)))
    return np.unique(sessions, return_inverse=True)[1], codes  # numbered again, as some sessions had searches only


@compiled
def _rank(present: _PresentSessions, targets: Codes, index: _SessionIndex, ranks: Codes, top: Codes) -> None:
    """Fills `ranks` (N,) and `top` (N, K) for targets (N,), as codes; -1: the target is not in the training data."""
    items, sessions = len(index.factors), len(index.session_starts)
    scratch = _Scratch(
        np.zeros(items),
        np.zeros(items),
        np.zeros(sessions),
        np.zeros(items),
        np.empty(sessions, np.int64),
        np.empty(items, np.int64),
        np.empty(items, np.int64),
    )
    for n in range(len(targets)):
        session = present.codes[present.starts[n] : present.stops[n]]
        own = scratch.own[: _weigh(session, index, scratch)]
        candidates = scratch.candidates[: _gather(own, index, scratch)]
        nearest = _nearest(candidates, index, scratch.similarity)
        scored = scratch.scored_items[: _score(nearest, index, scratch)]
        ranks[n] = _rank_of(targets[n], scratch.scores, scored, ranks[n])
        best = np.argsort(-scratch.scores[scored], kind="mergesort")[: top.shape[1]]
        top[n, : len(best)] = scored[best]
        scratch.weights[own], scratch.shared[own] = 0.0, 0.0
        scratch.similarity[candidates], scratch.scores[scored] = 0.0, 0.0


@compiled
def _weigh(session: Codes, index: _SessionIndex, scratch: _Scratch) -> int:
    """Weighs the known items of a session by where it has them last; returns how many there are."""
    count = 0
    for back in range(len(session)):
        item = session[len(session) - 1 - back]
        if item >= 0 and scratch.shared[item] == 0.0:
            scratch.own[count] = item
            count += 1
            nearness = ((len(session) - back) / len(session)) ** index.position_power
            scratch.weights[item] = nearness * index.rarities[item]
            scratch.shared[item] = (1.0 / (back + 1)) ** index.shared_power
    return count


@compiled
def _gather(own: Codes, index: _SessionIndex, scratch: _Scratch) -> int:
    """Adds up the weights that candidates share with the present session; returns how many candidates there are."""
    count = 0
    for item in own:
        begin, end = index.item_starts[item], index.item_starts[item + 1]
        for session in index.sessions[max(begin, end - index.candidates) : end]:
            if scratch.similarity[session] == 0.0:
                scratch.candidates[count] = session
                count += 1
            scratch.similarity[session] += scratch.weights[item]
    return count


@compiled
def _nearest(candidates: Codes, index: _SessionIndex, similarity: Floats) -> Codes:
    """Returns the most similar sessions among the most recent ones; of equal ones the more recent."""
    recent = np.sort(candidates)[::-1][: index.candidates]
    similarity[recent] /= index.lengths[recent]
    return recent[np.argsort(-similarity[recent], kind="mergesort")[: index.neighbours]]


@compiled
def _score(nearest: Codes, index: _SessionIndex, scratch: _Scratch) -> int:
    """Adds the neighbours' shares to the scores of their items; returns how many items are scored."""
    count = 0
    for session in nearest:
        items = index.items[index.session_starts[session] : index.session_starts[session + 1]]
        given = scratch.similarity[session] * scratch.shared[items].max()
        for item in items:
            if scratch.scores[item] == 0.0:
                scratch.scored_items[count] = item
                count += 1
            scratch.scores[item] += given * index.factors[item]
    return count


@compiled
def _rank_of(target: int, scores: Floats, scored: Codes, missed: int) -> int:
    if target < 0 or scores[target] == 0.0:
        return missed
    rank = 0
    for item in scored:
        rank += scores[item] >= scores[target]
    return rank
