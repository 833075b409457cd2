"""Collects the items that may come next, each once per answer, with what speaks for each of them.

Candidates are the network's best items, the user's own recent ones, what followed and preceded these in other users'
sequences, and popular ones, in all and in the last item's category. Features that are counted on the way are filled in
here, the others by `fusion/candidate_features.py`. Items that the vocabulary lacks are candidates like all others, but
for those that hardly anybody has touched: these are candidates for the users alone who did.

The candidates of several answers lie one after the other, and a feature of all of them is a row: what is done to one
feature walks along it, and scoring them is one product of matrices without gaps.

Shapes: N answers, A actions of their users, T candidates of all answers, F features, R rows of the statistics. Items
are rows of the statistics, but for the network's best, which are numbers.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import opens_session, type_of
from model.data.events import CATEGORY_BUCKETS, PURCHASE, SEARCH, TYPE_CODES
from model.data.recent import AFTER_QUERY, RECENT_LENGTH, RecentActions
from model.fusion.candidate_features import (
    FEATURES,
    FOLLOWED,
    FOLLOWED_INTENT,
    FOLLOWED_LATE,
    FOLLOWED_QUERY,
    LATE_RANKS,
    LOG_PROBABILITY,
    OWN,
    OWN_BOUGHT,
    OWN_COUNT,
    OWN_LAST,
    OWN_NEXT,
    OWN_PREVIOUS,
    OWN_RECENCY,
    OWN_SESSION,
    PRECEDED,
    RECENCY_RANKS,
    CandidateSources,
    OwnItems,
    Scratch,
    describe,
)
from model.fusion.live_items import LiveArrays
from model.kernels.compiled import Floats, compiled, uncounted
from model.kernels.gathered_dot import FOUR
from model.kernels.hash_table import find_row
from model.statistics.counter import source_key, word_key
from model.statistics.rows import NOBODY, NeighbourRows

MAX_CANDIDATES: Final = 256  # of an answer

# How many neighbours of the last distinct item, of the one before it, … become candidates. Others of their neighbours
# add to the features of items that are candidates already.
_FOLLOWERS: Final = np.array((64, 24, 12, 12, 8, 8))
_PREDECESSORS: Final = np.array((24, 8, 4, 4, 4, 4))
_LATE: Final = np.array((12, 6))  # of those that followed of late
_AFTER_INTENT: Final = 12
_AFTER_QUERY: Final = 16
_AFTER_WORD: Final = 8  # of each word of a search that nobody made before
_INTENT_WITHIN: Final = 4  # last actions among which a cart or a purchase counts
_CART: Final = TYPE_CODES["cart"]
_APART: Final = 16  # more columns: rows a power of two apart would contend for the same cache sets


class Candidates(NamedTuple):
    """The candidates of N answers: those of answer n are `starts[n]` to `starts[n + 1]`."""

    items: NDArray[np.int32]  # (T,) rows of the statistics
    features: Floats  # (F, T)
    starts: NDArray[np.int64]  # (N + 1,)

    @property
    def answers(self) -> NDArray[np.int64]:
        """The answer of each candidate, (T,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


class SeenIndex(NamedTuple):
    """Which items are candidates of the answer at hand, and where; kept from call to call, by one thread alone."""

    seen: NDArray[np.int64]  # (R,) number of the last answer with the row, times MAX_CANDIDATES, plus its index there
    next_answer: NDArray[np.int64]  # (1,)


class _Draft(NamedTuple):
    """The candidates of an answer while they are collected; how many there are so far is passed beside it."""

    items: NDArray[np.int32]  # (MAX_CANDIDATES,)
    features: Floats  # (F, …)
    begin: int  # the column of its first candidate
    seen: NDArray[np.int64]  # (R,) as in `SeenIndex`
    first: int  # what `seen` holds for its first candidate
    live: LiveArrays
    levels: Floats  # (R, 2) of items
    shown: np.float32  # as in `Levels`


def new_seen_index(rows: int) -> SeenIndex:
    """Returns an index for so many rows of the statistics."""
    return SeenIndex(np.full(rows, -1, np.int64), np.zeros(1, np.int64))


def allocate_candidates(answers: int) -> Candidates:
    """Returns arrays with room for the candidates of so many answers."""
    most = answers * MAX_CANDIDATES + _APART
    return Candidates(
        np.empty(most, np.int32), np.empty((len(FEATURES), most), np.float32), np.zeros(answers + 1, np.int64)
    )


def collect_candidates(
    sources: CandidateSources, seen_index: SeenIndex, buffer: Candidates | None = None
) -> Candidates:
    """Collects the candidates of N answers, with their features.

    `buffer` has room for N answers or more, whatever it holds; by default it is new.
    """
    answers = len(sources.recent.starts)
    items, features, starts = buffer or allocate_candidates(answers)
    _collect(sources, seen_index, items, features, starts)
    end = starts[answers]
    return Candidates(items[:end], features[:, :end], starts[: answers + 1])


@compiled
def _collect(
    sources: CandidateSources,
    seen_index: SeenIndex,
    all_items: NDArray[np.int32],
    features: Floats,
    starts: NDArray[np.int64],
) -> None:
    scratch = new_scratch(sources.live.vectors.shape[1])
    for n in range(len(sources.recent.starts)):
        begin = starts[n]
        items = all_items[begin : begin + MAX_CANDIDATES]
        starts[n + 1] = begin + collect_answer(sources, n, seen_index, items, features, begin, scratch)


@uncounted
def collect_answer(
    sources: CandidateSources,
    n: int,
    seen_index: SeenIndex,
    items: NDArray[np.int32],
    features: Floats,
    begin: int,
    scratch: Scratch,
) -> int:
    """Collects the candidates of answer n: fills `items`, which has room for MAX_CANDIDATES, and the columns of
    `features` from `begin` on; returns how many there are."""
    recent, best, table = sources.recent, sources.best, sources.table
    own = scratch.own
    _clear(features, begin)
    first = seen_index.next_answer[0] * MAX_CANDIDATES
    levels, shown = table.items.levels, sources.levels.shown
    draft = _Draft(items, features, begin, seen_index.seen, first, sources.live, levels, shown)
    seen_index.next_answer[0] += 1
    count = 0
    for k in range(best.items.shape[1]):
        row = sources.live.rows[best.items[n, k]]
        if row != NOBODY:
            index, count = _enter(row, draft, count)
            features[LOG_PROBABILITY, begin + index] = best.log_probabilities[n, k]
    named = count
    distinct, actions, count = _enter_own_items(recent, sources.rows, n, draft, count, own)
    for rank in range(min(distinct, len(_FOLLOWERS))):
        column, item = min(rank, RECENCY_RANKS - 1), own[rank]
        followed = features[FOLLOWED + column, begin : begin + MAX_CANDIDATES]
        preceded = features[PRECEDED + column, begin : begin + MAX_CANDIDATES]
        count = _enter_neighbours(table.items.followers, item, _FOLLOWERS[rank], followed, draft, count)
        if rank < LATE_RANKS:
            late = features[FOLLOWED_LATE + rank, begin : begin + MAX_CANDIDATES]
            count = _enter_neighbours(table.items.recent, item, _LATE[rank], late, draft, count)
        count = _enter_neighbours(table.items.predecessors, item, _PREDECESSORS[rank], preceded, draft, count)
    count = _enter_after_sources(sources, n, draft, count)
    for at in range(len(table.popular.everywhere)):
        count = _enter_if_there(table.popular.everywhere[at], draft, count)
    if distinct:
        category = table.items.categories[own[0]]
        if category != 0:
            for at in range(table.popular.alike.shape[1]):
                count = _enter_if_there(table.popular.alike[category, at], draft, count)
    describe(sources, n, OwnItems(own[:distinct], actions, named), items[:count], features, begin, scratch)
    return int(count)


@uncounted
def _enter_after_sources(sources: CandidateSources, n: int, draft: _Draft, count: int) -> int:
    """Enters what followed the user's last cart or purchase, and their last search, if they were a moment ago."""
    recent, features = sources.recent, draft.features
    on_items, intent, search = 0, False, False
    for at in range(recent.stops[n] - 1, recent.starts[n] - 1, -1):
        if on_items >= _INTENT_WITHIN or (intent and search):
            break
        kind = type_of(recent.contexts[at])
        if kind == SEARCH and not search and on_items < AFTER_QUERY:
            count = _enter_after_query(sources, n, recent.item_keys[at], draft, count)
        elif not intent and (kind in (_CART, PURCHASE)):
            row = find_row(sources.source_index, source_key(recent.item_keys[at], kind))
            if row >= 0:
                feature = features[FOLLOWED_INTENT, draft.begin : draft.begin + MAX_CANDIDATES]
                count = _enter_neighbours(sources.table.sources.followers, row, _AFTER_INTENT, feature, draft, count)
        search, intent = search or kind == SEARCH, intent or kind in (_CART, PURCHASE)
        on_items += kind != SEARCH
    return count


@uncounted
def _enter_after_query(sources: CandidateSources, n: int, key: np.uint64, draft: _Draft, count: int) -> int:
    """Enters what followed a search; where it is the first one of its kind, the mean of what followed its words."""
    followers = sources.table.sources.followers
    feature = draft.features[FOLLOWED_QUERY, draft.begin : draft.begin + MAX_CANDIDATES]
    row = find_row(sources.source_index, source_key(key, SEARCH))
    if row >= 0:
        return int(_enter_neighbours(followers, row, _AFTER_QUERY, feature, draft, count))
    known = 0
    for at in range(known_words(sources, n)):
        row = find_row(sources.source_index, word_key(sources.recent.words[n, at]))
        if row >= 0:
            known += 1
            count = _enter_neighbours(followers, row, _AFTER_WORD, feature, draft, count)
    if known > 1:
        for index in range(count):
            feature[index] /= np.float32(known)
    return count


@uncounted
def known_words(sources: CandidateSources, n: int) -> int:
    """Returns how many words of answer n's newest search are known; they come first."""
    words, count = sources.recent.words, 0
    if len(words):
        while count < words.shape[1] and words[n, count] != 0:
            count += 1
    return int(count)


@compiled
def new_scratch(width: int) -> Scratch:
    """Returns memory for vectors of a width, D."""
    return Scratch(
        np.empty(RECENT_LENGTH, np.int32),
        np.empty(RECENT_LENGTH, np.int32),
        np.empty(MAX_CANDIDATES, np.int32),
        np.empty(CATEGORY_BUCKETS, np.float32),
        np.empty((FOUR, width), np.float32),
        np.empty((MAX_CANDIDATES, FOUR), np.float32),
    )


@uncounted
def _clear(features: Floats, begin: int) -> None:
    for column in range(len(features)):
        features[column, begin : begin + MAX_CANDIDATES] = np.float32(0)


@uncounted
def _enter(item: int, draft: _Draft, count: int) -> tuple[int, int]:
    """Enters an item, at the end unless it is there; returns its index, -1 if there is no room, and the new count."""
    index = draft.seen[item] - draft.first
    if index < 0:
        if count == len(draft.items):
            return -1, count
        index = count
        draft.seen[item] = draft.first + index
        draft.items[index] = item
        count += 1
    return index, count


@uncounted
def _is_for_all(row: int, draft: _Draft) -> bool:
    """Returns whether everybody may be recommended an item: the vocabulary has it, or enough users touched it."""
    number = draft.live.numbers[row]
    return bool(0 <= number < draft.live.known or (number >= 0 and draft.levels[row, 0] >= draft.shown))


@uncounted
def _enter_if_there(row: int, draft: _Draft, count: int) -> int:
    """Enters a row that may be nobody's, or not be recommended."""
    if row != NOBODY and _is_for_all(row, draft):
        _, count = _enter(row, draft, count)
    return count


@uncounted
def _enter_own_items(
    recent: RecentActions, rows: NDArray[np.int32], n: int, draft: _Draft, count: int, own: NDArray[np.int32]
) -> tuple[int, int, int]:
    """Enters the user's own items and fills `own` with the distinct ones, latest first.

    Returns how many are distinct, the number of actions on items, and the new count of candidates.
    """
    features = draft.features
    distinct, actions, session = 0, 0, np.float32(1)
    newer, newer_index = -1, 0  # the action after the one at hand
    oldest = max(recent.starts[n], recent.stops[n] - len(own))
    for at in range(recent.stops[n] - 1, oldest - 1, -1):
        item, context = rows[at], recent.contexts[at]
        kind = type_of(context)
        if item >= 0 and kind != SEARCH and draft.live.numbers[item] >= 0:
            actions += 1
            index, count = _enter(item, draft, count)
            column = draft.begin + index
            if features[OWN, column] == 0:
                features[OWN, column] = 1
                features[OWN_RECENCY, column] = np.float32(1) / np.float32(1 + distinct)
                features[OWN_LAST, column] = np.float32(distinct == 0)
                features[OWN_BOUGHT, column] = np.float32(kind == PURCHASE)
                features[OWN_SESSION, column] = session
                own[distinct] = item
                distinct += 1
            features[OWN_COUNT, column] += 1
            if item == own[0] and newer >= 0:
                features[OWN_NEXT, draft.begin + newer_index] = 1
            if newer == own[0]:
                features[OWN_PREVIOUS, column] = 1
            newer, newer_index = item, index
        if opens_session(context):
            session = np.float32(0)
    return distinct, actions, count


@uncounted
def _enter_neighbours(
    neighbours: NeighbourRows, row: int, entering: int, feature: Floats, draft: _Draft, count: int
) -> int:
    """Adds the shares of a row's neighbours to their feature; the first `entering` new ones become candidates."""
    most = min(len(draft.items), count + entering)
    scale = np.float32(1) / max(neighbours.totals[row], np.float32(1e-30))
    for at in range(neighbours.items.shape[1]):
        neighbour = neighbours.items[row, at]
        if neighbour == NOBODY:
            break
        index = draft.seen[neighbour] - draft.first
        if index < 0:
            if count == most or not _is_for_all(neighbour, draft):
                continue
            index = count
            draft.seen[neighbour] = draft.first + index
            draft.items[index] = neighbour
            count += 1
        feature[index] += neighbours.weights[row, at] * scale
    return count
