"""Rankings by several threads: shards of a batch in order, and the same as by one."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from model.data.contexts import CONTEXT_ROWS
from model.data.events import item_key
from model.data.recent import RecentActions, catalogue_items
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import FOLLOWED
from model.fusion.fusion import Fusion, FusionRanking
from model.search.catalogue import Catalogue
from model.serving.served_ranking import NetworkAlone, NetworkAndLog
from model.statistics.log_statistics import counter_of
from tests.unit.builders.basics import drawn_combiner
from tests.unit.builders.sequences import random_users, sequences

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = Vocabulary(list(LETTERS))
WIDTH = 16
ATTRIBUTES = np.zeros((CONTEXT_ROWS, WIDTH), np.float32)


def fused(log: Sequences, threads: int) -> NetworkAndLog:
    vectors = torch.randn(len(VOCABULARY), WIDTH, generator=torch.Generator().manual_seed(1))
    alone = NetworkAlone(Catalogue(vectors), VOCABULARY, vectors.numpy(), threads)
    return NetworkAndLog(alone, VOCABULARY, ATTRIBUTES, Fusion(counter_of(log).table, drawn_combiner(2)))


def requests(log: Sequences) -> tuple[RecentActions, torch.Tensor]:
    indices = np.arange(len(log))
    starts = log.offsets[np.searchsorted(log.offsets, indices, side="right") - 1]
    items = catalogue_items(VOCABULARY, log.item_keys, log.contexts)
    queries = torch.randn(len(log), WIDTH, generator=torch.Generator().manual_seed(3))
    return RecentActions(items, log.contexts, starts, indices + 1, log.item_keys), queries


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("answers", [0, 1, 127, 128, 200, 513])
def test_several_threads_rank_as_one_does(threads: int, answers: int) -> None:
    log = sequences(*random_users(4, users=200))
    recent, queries = requests(log)
    recent, queries = recent.select(slice(0, answers)), queries[:answers]
    one, several = fused(log, 1), fused(log, threads)

    expected = one.rank(recent, queries, 20)
    for _ in range(3):  # buffers are used again
        ranked = several.rank(recent, queries, 20)
        np.testing.assert_array_equal(ranked[0], expected[0])
        np.testing.assert_allclose(ranked[1], expected[1], atol=1e-5)


def test_a_large_batch_is_ranked_by_all_threads_and_a_small_one_by_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    log = sequences(*random_users(4, users=200))
    recent, queries = requests(log)
    ranking, asking, rank = fused(log, 2), threading.get_ident(), FusionRanking.rank_from
    by: list[bool] = []

    def watched(fusion: FusionRanking, *arguments: object) -> object:
        by.append(threading.get_ident() == asking)
        return rank(fusion, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FusionRanking, "rank_from", watched)
    for answers, expected in ((127, [True]), (128, [False, True])):
        by.clear()
        ranking.rank(recent.select(slice(0, answers)), queries[:answers], 20)
        assert sorted(by) == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_the_network_alone_ranks_by_its_scores_over_the_whole_catalogue(threads: int) -> None:
    log = sequences(*random_users(4, users=60))
    recent, queries = requests(log)
    vectors = torch.randn(len(VOCABULARY), WIDTH, generator=torch.Generator().manual_seed(1))
    items, log_probabilities = NetworkAlone(Catalogue(vectors), VOCABULARY, vectors.numpy(), threads).rank(
        recent, queries, 20
    )

    expected = torch.log_softmax(queries @ vectors.T, 1).numpy()
    order = np.argsort(-expected, 1)[:, :20]
    np.testing.assert_array_equal(items, order)
    np.testing.assert_allclose(log_probabilities, np.take_along_axis(expected, order, 1), atol=1e-2)


def test_items_that_came_later_are_ranked_by_live_statistics_and_not_without() -> None:
    log, letters = sequences(*["ab"] * 30), sequences(*["a!"] * 60)
    ranking = fused(log, 1)
    recent, queries = requests(log)
    recent, queries = recent.select(slice(0, 1)), queries[:1]
    with torch.no_grad():
        ranking.ranking.combiner.linear.weight[0, FOLLOWED] = 1000
    fusion = Fusion(counter_of(log).table, ranking.ranking.combiner)
    ranking = NetworkAndLog(ranking.network, VOCABULARY, ATTRIBUTES, fusion)
    live = counter_of(letters).table
    live.add(np.array([item_key("!")], np.uint64), ["!"])
    live.add(VOCABULARY.item_keys)  # with fewer items they would seem to have just begun

    assert ranking.names[ranking.rank(recent, queries, 20)[0][0, 0]] == "b"
    changed = ranking.follow(live)
    best = ranking.rank(recent, queries, 20)[0][0, 0]
    assert changed.tolist() == [best]
    assert (ranking.names[best], ranking.item_keys[best]) == ("!", item_key("!"))
    ranking.follow(None)
    assert ranking.names[ranking.rank(recent, queries, 20)[0][0, 0]] == "b"


@pytest.mark.parametrize("alone", [False, True], ids=["network and log", "network alone"])
def test_given_items_have_the_scores_that_they_are_served_with(alone: bool) -> None:
    log = sequences(*random_users(4, users=60))
    recent, queries = requests(log)
    recent, queries = recent.select(slice(0, 30)), queries[:30]
    fusion = fused(log, 1)
    ranking = fusion.network if alone else fusion
    items, served = ranking.rank(recent, queries, 20)
    given = [np.concatenate((ranking.item_keys[row][::-1], [np.uint64(1)], VOCABULARY.item_keys)) for row in items]
    found = np.array(ranking.score(recent, queries, given))
    np.testing.assert_array_equal(np.exp(found[:, :20]), np.exp(served[:, ::-1]))
    assert np.isnan(found[:, 20]).all()
    order = np.argsort(-found[:, 21:], 1)[:, :20]
    np.testing.assert_array_equal(order, items)
    if alone:
        expected = torch.log_softmax(queries @ torch.from_numpy(ranking.vectors).T, 1).numpy()
        np.testing.assert_allclose(found[:, 21:], expected, atol=1e-2)


@pytest.mark.parametrize("alone", [False, True], ids=["network and log", "network alone"])
def test_related_items_are_those_beside_an_item_and_those_like_it(alone: bool) -> None:
    ranking = fused(sequences(*["ab"] * 30), 1)
    ranked = ranking.network if alone else ranking
    found = ranked.related(item_key("a"), 5)
    assert found is not None
    assert len(set(found.numbers.tolist()) - {0}) == 5
    assert (np.diff(found.scores) <= 0).all()
    vectors = ranking.vectors
    similar = (np.argsort(-(vectors @ vectors[0]))[1:6]).tolist()
    assert set(found.numbers[1:].tolist()) < {1, *similar}
    assert (found.numbers[0] == 1) == (not alone)
    assert ranked.related(item_key("?"), 5) is None
