"""Scores of given items: as they are served, or as a plain loop finds by looking everything up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts
from model.data.events import item_key
from model.data.recent import RECENT_LENGTH, RecentActions
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import FEATURES, NetworkBest
from model.fusion.candidates import MAX_CANDIDATES
from model.fusion.fusion import FusionRanking
from model.fusion.given_items import given_log_probabilities
from model.kernels.compiled import Floats
from model.statistics.rows import NeighbourRows
from tests.unit.builders.basics import drawn_combiner
from tests.unit.builders.candidates import CATALOGUE, asked_after, random_log, ranking_of, shoppers

SEARCH, PURCHASE, CART = 1, 2, 4
MASK = 2**64 - 1


def keys_of(names: list[str]) -> NDArray[np.uint64]:
    return np.array([item_key(name) for name in names], np.uint64)


@pytest.mark.parametrize("known", [300, 250], ids=["all known", "some came later"])
def test_a_candidate_has_the_score_that_is_served(known: int) -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE[:known])
    ranking = ranking_of(log, vocabulary, seed=2, combiner=drawn_combiner(3))
    recent, best = asked_after(log, vocabulary, range(0, len(log), 7), seed=2)
    items, served = ranking.rank(recent, best, 20)
    given = [ranking.live.item_keys[row][::-1] for row in items]
    found = given_log_probabilities(ranking, recent, best, given)
    np.testing.assert_array_equal(np.exp(np.array(found)), np.exp(served[:, ::-1]))
    # However many others are asked about beside it.
    more = [np.concatenate((keys_of(CATALOGUE), keys)) for keys in given]
    again = given_log_probabilities(ranking, recent, best, more)
    np.testing.assert_array_equal(np.array(again)[:, -20:], served[:, ::-1])


@pytest.mark.parametrize("known", [300, 250], ids=["all known", "some came later"])
def test_another_item_has_the_score_of_its_features_looked_up(known: int) -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE[:known])
    ranking = ranking_of(log, vocabulary, seed=2, combiner=drawn_combiner(3))
    recent, best = asked_after(log, vocabulary, range(0, len(log), 23), seed=2, best=5)
    found = given_log_probabilities(ranking, recent, best, [keys_of(CATALOGUE)] * len(recent.starts))
    candidates, others, informed = ranking.collect(recent, best), 0, 0
    rows = ranking.live.rows_of(keys_of(CATALOGUE))
    for n, scores in enumerate(found):
        own = slice(candidates.starts[n], candidates.starts[n + 1])
        total = log_total(ranking, candidates.features[:, own])
        for index in np.flatnonzero((rows >= 0) & ~np.isin(rows, candidates.items[own])).tolist():
            features = looked_up(ranking, recent, best, n, int(rows[index]))
            others += 1
            informed += any(value for name, value in features.items() if name.startswith(("followed", "preceded")))
            assert scores[index] == pytest.approx(min(score(ranking, features) - total, 0), rel=2e-3, abs=2e-3)
    assert others > 1000
    assert informed > 20  # what followed other items says something of them, too


def test_many_items_are_scored_as_few_are() -> None:
    names = [f"item {n}" for n in range(1200)]
    log = shoppers([[names[(7 * user + n * n) % 1200] for n in range(60)] for user in range(100)])
    vocabulary = Vocabulary(names)
    ranking = ranking_of(log, vocabulary, seed=6, combiner=drawn_combiner(7))
    recent, best = asked_after(log, vocabulary, [59, 119, 240], seed=6, best=64)
    keys = keys_of(names)
    whole = given_log_probabilities(ranking, recent, best, [keys, keys[::-1], keys[:0]])
    assert np.isfinite(np.concatenate(whole)).all()
    assert not len(whole[2])
    assert (np.concatenate(whole) <= 0).all()
    assert len(ranking.collect(recent, best).items) < 3 * MAX_CANDIDATES + 1 < len(names)
    for size in (1, 5, 100, 222, 223, 224):
        some = np.random.default_rng(size).permutation(1200)[:size]
        few = given_log_probabilities(ranking, recent, best, [keys[some], keys[::-1][some], keys[:1]])
        for part, all_of_it in zip(few, whole[:2], strict=False):
            np.testing.assert_allclose(part, all_of_it[some], atol=1e-4)
        alone = given_log_probabilities(ranking, recent.select(slice(1, 2)), best.select(slice(1, 2)), [keys[some]])
        np.testing.assert_allclose(alone[0], whole[1][::-1][some], atol=1e-4)


def test_what_nobody_knows_is_told_from_the_rest() -> None:
    log, vocabulary = random_log(8), Vocabulary(CATALOGUE[:100])
    ranking = ranking_of(log, vocabulary, seed=9, combiner=drawn_combiner(1))
    recent, best = asked_after(log, vocabulary, [0, 5], seed=9)
    given = keys_of(["nobody's", "item 3", "item 299", "no one's"])
    seen = np.isin(given, log.item_keys) | np.isin(given, vocabulary.item_keys)
    for scores in given_log_probabilities(ranking, recent, best, [given, given]):
        np.testing.assert_array_equal(np.isfinite(scores), seen)
    nothing = np.zeros(0, np.uint64)
    assert [len(scores) for scores in given_log_probabilities(ranking, recent, best, [nothing, nothing])] == [0, 0]


def test_users_without_actions_get_what_network_and_popularity_say() -> None:
    log, vocabulary = random_log(7), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=8, combiner=drawn_combiner(2))
    recent, best = asked_after(log, vocabulary, [0], seed=8)
    nobody = recent._replace(starts=np.zeros(1, np.int64), stops=np.zeros(1, np.int64))
    assert np.isfinite(given_log_probabilities(ranking, nobody, best, [keys_of(CATALOGUE)])[0]).all()
    unasked = best._replace(items=best.items[:, :0], log_probabilities=best.log_probabilities[:, :0])
    assert np.isnan(given_log_probabilities(ranking, nobody, unasked, [keys_of(CATALOGUE)])[0]).all()


def log_total(ranking: FusionRanking, features: Floats) -> float:
    with torch.no_grad():
        scores = ranking.combiner(torch.from_numpy(np.ascontiguousarray(features)))
        return float(torch.cat((scores, ranking.combiner.none_logit)).logsumexp(0))


def score(ranking: FusionRanking, features: dict[str, float]) -> float:
    with torch.no_grad():
        column = torch.tensor([[features[name]] for name in FEATURES], dtype=torch.float32)
        return float(ranking.combiner(column)[0])


def looked_up(ranking: FusionRanking, recent: RecentActions, best: NetworkBest, n: int, item: int) -> dict[str, float]:
    """The features of an item, by its row, which is not one of the user's own: everything is looked up for it alone."""
    live, table = ranking.live.arrays, ranking.live.table
    rows, numbers, vectors, fields = table.arrays.items, live.numbers, live.vectors, unpack_contexts(recent.contexts)
    window = range(max(int(recent.starts[n]), int(recent.stops[n]) - RECENT_LENGTH), int(recent.stops[n]))
    own_rows = {at: int(ranking.live.rows_of(recent.item_keys[at : at + 1])[0]) for at in window}
    acted = [own_rows[at] for at in window if fields.types[at] != SEARCH]
    own = list(dict.fromkeys(reversed(acted)))
    features = dict.fromkeys(FEATURES, 0.0)

    def share(of: NeighbourRows, index: int) -> float:
        return float(of.weights[index][of.items[index] == item].sum() / max(of.totals[index], 1e-30))

    for rank, other in enumerate(own[:6]):
        name = ("last", "second", "earlier")[min(rank, 2)]
        features[f"followed_{name}"] += share(rows.followers, other)
        features[f"preceded_{name}"] += share(rows.predecessors, other)
        if rank < 2:
            features[f"followed_late_{name}"] += share(rows.recent, other)
    for name, key in sources(recent, fields.types.tolist(), window):
        index = int(table.source_index.find(np.array([key], np.uint64))[0])
        features[name] += share(table.arrays.sources.followers, index) if index >= 0 else 0.0
    for name in features:
        if name.startswith(("followed", "preceded")):
            features[name] = math.log1p(1000 * features[name]) / 3
    vector, category, brand = vectors[numbers[item]], rows.categories[item], rows.brands[item]
    latest = [vectors[numbers[other]] for other in own[:6]]
    blend = sum((each / (1 + rank) for rank, each in enumerate(latest)), np.zeros_like(vector))
    logits = vectors[: live.known] @ best.queries[n]
    normaliser = math.log(np.exp(logits).sum())
    clock = table.arrays.clocks[0]
    means = np.log2(table.arrays.sums / ranking.live.count) + table.arrays.sum_bases
    popularity = max(float(rows.levels[item, 0]), clock - 1) - max(means[0], clock - 1)
    trend = max(float(rows.levels[item, 1]) - means[1], math.log2(0.2)) - popularity
    return features | {
        "log_probability": max(float(vector @ best.queries[n]) - normaliser, -20) / 4,
        "same_category": float(bool(own and category) and category == rows.categories[own[0]]),
        "category_share": float(np.mean(rows.categories[own] == category)) if own and category else 0.0,
        "same_brand": float(bool(own and brand) and brand == rows.brands[own[0]]),
        "like_latest": cosine(vector, blend) if own else 0.0,
        "like_last": cosine(vector, latest[0]) if own else 0.0,
        "like_second": cosine(vector, latest[1]) if len(latest) > 1 else 0.0,
        "popularity": popularity * math.log(2) / 4,
        "trend": trend * math.log(2) / 4,
        "later": float(numbers[item] >= live.known),
        "history": math.log1p(len(acted)) / 3.5,
        "repeats": 1 - len(own) / max(1, len(acted)),
        "certainty": float(logits.max() - normaliser) / 4,
        "gap": float(fields.gaps[window[-1]]) / 31,
        "boundary": float(fields.boundaries[window[-1]]),
    }


def cosine(vector: Floats, other: Floats) -> float:
    return float(vector @ other / np.linalg.norm(other))  # the item's own vector is taken for a unit vector


def sources(recent: RecentActions, types: list[int], window: range) -> list[tuple[str, int]]:
    """What something may have followed beside items: the last cart or purchase of the last four actions on items, and
    the last search, if fewer than three actions on items came after it."""
    found, on_items, wanted = list[tuple[str, int]](), 0, {"followed_intent", "followed_query"}
    for at in reversed(window):
        if on_items < 4:
            name = "followed_query" if types[at] == SEARCH else "followed_intent"
            counts = types[at] in (CART, PURCHASE) or (types[at] == SEARCH and on_items < 3)
            if counts and name in wanted:
                found.append((name, mixed(int(recent.item_keys[at]), types[at])))
            if types[at] in (CART, PURCHASE, SEARCH):
                wanted.discard(name)
            on_items += types[at] != SEARCH
    return found


def mixed(key: int, kind: int) -> int:
    """The key of a source, in Python's own numbers."""
    return ((key ^ ((kind + 1) * 0xE7037ED1A0B428DB & MASK)) * 0xA0761D6478BD642F & MASK) | 1
