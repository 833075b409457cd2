"""What goes with an item, against a plain loop over all items."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.events import item_key
from model.data.vocabulary import Vocabulary
from model.fusion.fusion import FusionRanking
from model.fusion.live_items import NO_NUMBER
from model.fusion.related_items import RelatedItems, items_beside, number_of, related_items
from model.kernels.compiled import Floats
from tests.unit.builders.candidates import CATALOGUE, random_log, ranking_of, shoppers

NOTHING = np.zeros(0, np.int64)


def unit(vectors: Floats) -> Floats:
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return vectors


def related(ranking: FusionRanking, number: int) -> RelatedItems:
    vectors = unit(ranking.live.arrays.vectors)
    similar = np.argsort(-(vectors[: ranking.live.arrays.known] @ vectors[number]))[:21]
    return related_items(vectors, number, similar, *items_beside(ranking.live, number))


@pytest.mark.parametrize("known", [300, 250], ids=["all known", "some came later"])
def test_items_go_with_another_by_what_was_beside_it_and_by_their_vectors(known: int) -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE[:known])
    ranking = ranking_of(log, vocabulary, seed=2)
    live, rows = ranking.live, ranking.live.table.arrays.items
    for number in range(0, live.count, 9):
        found = related(ranking, number)
        row, wanted = int(live.arrays.rows[number]), {}
        worth = 2.0 ** (float(rows.bases[row, 0]) - float(live.table.arrays.clocks[0]))
        total = worth * float(rows.followers.totals[row] + rows.predecessors.totals[row])
        for other in range(live.count):
            index = int(live.arrays.rows[other])
            beside = sum(
                float(of.weights[row][of.items[row] == index].sum()) for of in (rows.followers, rows.predecessors)
            )
            cosine = float(live.arrays.vectors[number] @ live.arrays.vectors[other])
            weight = 2.0 ** (float(rows.levels[index, 0]) - float(live.table.arrays.clocks[0]))
            # What came later is found by statistics alone, and only if it weighs a tenth of an action.
            if other != number and (other < known or (beside and weight >= 0.1)):
                wanted[other] = (worth * beside + max(cosine, 0)) / (total + 1)
        best = sorted(wanted.values(), reverse=True)[:20]
        np.testing.assert_allclose(found.first(20).scores, best, rtol=1e-4)
        assert found.scores.tolist() == pytest.approx([wanted[other] for other in found.numbers.tolist()], rel=1e-4)
        assert len(set(found.numbers.tolist()) | {number}) == len(found.numbers) + 1
        assert found.scores.min() > 0
        assert found.scores.max() <= 1


def test_what_users_do_decides_where_they_did_much_and_vectors_do_where_they_did_nothing() -> None:
    log, vocabulary = shoppers([["item 0", "item 1"]] * 30 + [["item 2"]] * 30), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=3)
    vectors = unit(ranking.live.arrays.vectors)
    vectors[[9, 8]] = vectors[[0, 2]]  # like them in the network's vectors
    assert related(ranking, 0).numbers[:2].tolist() == [1, 9]
    assert related(ranking, 2).numbers[0] == 8
    assert related(ranking, 2).scores[0] == pytest.approx(1, abs=1e-5)


def test_what_hardly_anybody_touched_is_nobodys_related_item() -> None:
    regulars = [[*(f"item {2 + (user + n) % 50}" for n in range(200)), "item 0"] for user in range(30)]
    crowd = [["item 1", "item 0", "pushed"]] * 300
    vocabulary = Vocabulary(CATALOGUE)
    for last, found in (([], False), (["pushed"], True)):
        ranking = ranking_of(shoppers([*([*items, *last] for items in regulars), *crowd]), vocabulary, seed=4)
        assert (len(CATALOGUE) in related(ranking, 0).numbers) == found


def test_items_are_found_by_their_keys_and_one_without_a_vector_goes_with_nothing() -> None:
    ranking = ranking_of(shoppers([["item 0", "item 1"]]), Vocabulary(CATALOGUE), seed=5)
    assert number_of(ranking.live, item_key("item 7")) == 7
    assert number_of(ranking.live, item_key("nobody's")) == NO_NUMBER
    vectors = np.zeros_like(ranking.live.arrays.vectors)
    assert related_items(vectors, 3, np.arange(5), {}, 0).numbers.tolist() == []
    assert related_items(vectors, 3, NOTHING, {4: 1.0, 3: 5.0}, 6).numbers.tolist() == [4]
