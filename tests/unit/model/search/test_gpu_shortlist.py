"""The search of a GPU: torch.topk and log_softmax over all items are the oracle. Without a GPU, it is interpreted."""

from __future__ import annotations

import pytest
import torch

from model.search.catalogue import Catalogue
from model.search.gpu_shortlist import GpuShortlists
from tests.skips import NO_GPU, not_installed
from tests.unit.builders.rankings import check, check_sure, unit_vectors

pytest.importorskip("triton", reason=not_installed("triton"))


@pytest.mark.parametrize(
    ("items", "queries", "width", "k"),
    [(1, 1, 1, 1), (100, 129, 16, 1), (2047, 3, 128, 20), (2048, 2, 100, 64), (2049, 2, 130, 20), (9000, 3, 8, 20)],
)
def test_finds_the_best_of_all(items: int, queries: int, width: int, k: int, kernel_device: torch.device) -> None:
    vectors = unit_vectors(items, width, kernel_device)
    asked = unit_vectors(queries, width, kernel_device) * 16
    overflowed = check_sure(GpuShortlists(vectors).rank(asked, k), vectors, asked, k, tolerance=0.01)
    if width > 8:  # in few dimensions many items are near each other
        assert not overflowed.any()


@pytest.mark.parametrize("clusters", [200, 5])
def test_is_right_where_it_does_not_overflow_and_the_plain_search_answers_the_rest(
    clusters: int, kernel_device: torch.device
) -> None:
    vectors = unit_vectors(6000, 32, kernel_device, clusters=clusters)
    queries = unit_vectors(6, 32, kernel_device) * 16
    overflowed = check_sure(GpuShortlists(vectors).rank(queries, 20), vectors, queries, 20, tolerance=0.01)
    assert overflowed.any() or clusters > 5
    catalogue = Catalogue(vectors)
    catalogue.shortlists = GpuShortlists(vectors)
    check(catalogue.rank(queries, 20), vectors, queries, 20, tolerance=0.01)


def test_every_item_may_be_asked_for(kernel_device: torch.device) -> None:
    vectors = unit_vectors(70, 16, kernel_device)
    queries = -16 * vectors[:2]  # all items are bad, worse than padding would be
    items, log_probabilities, overflowed = GpuShortlists(vectors).rank(queries, 70)
    assert not check_sure((items, log_probabilities, overflowed), vectors, queries, 70).any()
    assert log_probabilities.exp().sum(1).cpu() == pytest.approx([1, 1], abs=1e-4)


def test_cannot_rank_what_halves_and_exponentials_cannot_hold(kernel_device: torch.device) -> None:
    vectors = unit_vectors(100, 16, kernel_device)
    shortlists = GpuShortlists(vectors)
    assert shortlists.can_rank(16 * vectors, 20)
    assert not shortlists.can_rank(50 * vectors, 20)
    assert not GpuShortlists(1e-4 * vectors).can_rank(1e5 * vectors, 20)
    assert not shortlists.can_rank(vectors, 101)
    assert not shortlists.can_rank(vectors[:0], 20)


@pytest.mark.gpu
def test_a_catalogue_on_a_gpu_searches_so() -> None:
    if not torch.cuda.is_available():
        pytest.skip(NO_GPU)
    assert isinstance(Catalogue(unit_vectors(100, 16, "cuda")).shortlists, GpuShortlists)
