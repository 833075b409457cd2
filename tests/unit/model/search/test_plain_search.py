"""The plain search: torch.topk and log_softmax over all items are the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.search.catalogue import RankedItems
from model.search.plain_search import PlainSearch
from tests.unit.builders.rankings import check

SIZES = [1, 2, 63, 64, 65, 127, 128, 129, 640, 1279, 1280, 1281, 1345, 3000]
KS = [1, 2, 19, 20, 21, 64, 100]


def drawn(items: int, queries: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(items)
    vectors = torch.randn(items, 8, generator=generator)
    return vectors.to(device), torch.randn(queries, 8, generator=generator).to(device)


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize("items", SIZES)
def test_finds_the_best_of_all(items: int, k: int, device: torch.device) -> None:
    vectors, queries = drawn(items, 5, device)
    check(RankedItems(*PlainSearch(vectors).rank(queries, min(k, items))), vectors, queries, k)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 600])
def test_any_number_of_queries_is_answered_in_order(count: int, device: torch.device) -> None:
    vectors, queries = drawn(200, count, device)
    check(RankedItems(*PlainSearch(vectors).rank(queries, 2)), vectors, queries, 2)


def test_padding_is_never_better_than_a_bad_item() -> None:
    vectors = torch.full((65, 1), -100.0)  # the padding of the second block would score 0
    items, log_probabilities = PlainSearch(vectors).rank(torch.ones(1, 1), 65)
    assert sorted(items[0].tolist()) == list(range(65))
    assert log_probabilities.exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_the_vectors_are_there_as_columns_without_the_padding() -> None:
    vectors, _ = drawn(65, 1, torch.device("cpu"))
    assert torch.equal(PlainSearch(vectors).transposed, vectors.T)


def test_another_thread_has_buffers_of_its_own() -> None:
    vectors, queries = drawn(100, 3, torch.device("cpu"))
    search = PlainSearch(vectors)
    search.rank(queries, 5)
    other = search.for_another_thread()
    other.rank(queries, 5)
    assert other.transposed.data_ptr() == search.transposed.data_ptr()
    assert other._scores.data_ptr() != search._scores.data_ptr()


def test_buffers_grow_with_the_queries_and_can_be_freed() -> None:
    vectors, queries = drawn(100, 9, torch.device("cpu"))
    search = PlainSearch(vectors)
    for count in (2, 9, 5):
        check(RankedItems(*search.rank(queries[:count], 5)), vectors, queries[:count], 5)
    assert len(search._scores) == 9
    search.free_buffers()
    assert search._scores.numel() == 0
    check(RankedItems(*search.rank(queries, 5)), vectors, queries, 5)
