"""What an item's features are without one of the user's own items: against what ranking collects for such a past."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.recent import RecentActions
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import ANSWER_FEATURES, FEATURES, NetworkBest
from model.fusion.fusion import FusionRanking
from model.kernels.compiled import Floats
from tests.unit.builders.candidates import CATALOGUE, asked_after, random_log, ranking_of, with_a_new_search
from tests.unit.builders.left_out import NO_WEIGHTS, left_out_of, questions

NOT_BRIDGED = ("own_next", "own_previous", "own_session")  # see the module's docstring


def collected(ranking: FusionRanking, recent: RecentActions, best: NetworkBest, item: int) -> Floats:
    """The features (F,) of an item that the network names, so that all of its neighbours count."""
    logits = best.queries @ ranking.live.arrays.vectors.T
    total = np.log(np.exp(logits[0, : ranking.live.arrays.known]).sum())
    items = np.append(best.items[0][best.items[0] != item], item)[None]
    found = ranking.collect(recent, NetworkBest(items, (np.take_along_axis(logits, items, 1) - total), best.queries))
    column = np.flatnonzero(found.items == ranking.live.arrays.rows[item])[0]
    return np.asarray(found.features[:, column])


def without(recent: RecentActions, key: int) -> RecentActions:
    kept = np.arange(recent.starts[0], recent.stops[0])[-32:]
    kept = kept[recent.item_keys[kept] != key]
    ends = np.zeros(1, np.int64), np.array([len(kept)])
    return RecentActions(recent.items[kept], recent.contexts[kept], *ends, recent.item_keys[kept])


@pytest.mark.parametrize("new_search", [False, True])
def test_features_without_an_own_item_are_those_of_a_past_without_it(new_search: bool) -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE)
    ranking, compared, differing = ranking_of(log, vocabulary, seed=2), 0, np.zeros(len(FEATURES), np.bool_)
    of_item = [row for row, name in enumerate(FEATURES) if row not in ANSWER_FEATURES and name not in NOT_BRIDGED]
    of_item.remove(FEATURES.index("followed_query"))  # the search that counts stays the one
    for recent, best in questions(log, vocabulary, 61, seed=2):
        recent = with_a_new_search(recent) if new_search else recent
        sources = ranking.sources(recent, best)
        own_first = ranking.live.arrays.numbers[sources.rows[recent.starts[0] : recent.stops[0]]]
        items = [int(best.items[0, 3]), int(max(own_first[-1], own_first[0], 0)), 7]
        features, own = left_out_of(sources, 0, items)
        for j, item in enumerate(items):
            expected = collected(ranking, recent, best, item)
            np.testing.assert_allclose(features[:, j, 0], expected, rtol=1e-3, atol=1e-4)
            for place, number in enumerate(own):
                past = without(recent, int(ranking.live.item_keys[number]))
                left = collected(ranking, past, best, item)
                got = features[:, j, 1 + place]
                np.testing.assert_allclose(got[of_item], left[of_item], rtol=1e-3, atol=1e-4)
                differing |= np.abs(left - expected) > 1e-3
                compared += 1
    assert compared > 300
    same = {FEATURES[row] for row in of_item if not differing[row]}
    assert same == {"log_probability", "popularity", "trend", "later"}  # what belongs to the item and the network


def test_the_last_columns_are_without_search_and_without_popularity() -> None:
    log, vocabulary = random_log(3), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=4)
    searched = 0
    for recent, best in questions(log, vocabulary, 17, seed=4):
        sources = ranking.sources(recent, best)
        searches = ranking.collect(recent, best)
        query = FEATURES.index("followed_query")
        after = searches.items[searches.features[query] > 0][:1]
        features, _ = left_out_of(sources, 0, [int(n) for n in ranking.live.arrays.numbers[after]] or [3])
        changed = {
            place: {FEATURES[row] for row in np.flatnonzero(features[:, 0, place] != features[:, 0, 0])}
            for place in (-2, -1)
        }
        assert changed[-1] <= {"popularity", "trend"}
        assert changed[-2] == ({"followed_query"} if len(after) else set())
        searched += len(after)
    assert searched > 5


@pytest.mark.parametrize("rank", [0, 2])
def test_the_networks_part_goes_down_by_the_weighted_terms(rank: int) -> None:
    log, vocabulary = random_log(5), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=6)
    index = int(np.flatnonzero(np.diff(log.offsets) > 20)[0])
    recent, best = asked_after(log, vocabulary, [int(log.offsets[index + 1]) - 1], seed=6)
    sources = ranking.sources(recent, best)
    weights = NO_WEIGHTS.copy()
    weights[rank, 1] = 0.5  # of the cosine
    features, own = left_out_of(sources, 0, [7, 8, 9], weights)
    vectors, row = ranking.live.arrays.vectors, features[0, 0]
    cosine = float(vectors[7] @ vectors[own[rank]])
    drops = 4 * (row[0] - row[1 : 1 + len(own)])
    assert drops[rank] == pytest.approx(0.5 * cosine, abs=1e-4)
    assert np.abs(np.delete(drops, rank)).max() < 1e-5
