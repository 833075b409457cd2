"""The exact best k: torch.topk and log_softmax over all items are the oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.kernels.int8_matmul import can_multiply
from model.search.catalogue import Catalogue
from model.search.coarse_scores import CoarseScores, Float32Scores, Shortlists, TorchInt8Scores, VnniInt8Scores
from tests.skips import NO_INSTRUCTION
from tests.unit.builders.rankings import check

SIZES = [0, 1, 2, 63, 64, 65, 127, 128, 129, 640, 1279, 1280, 1281, 1345, 3000]
BY_INSTRUCTION = pytest.param(
    VnniInt8Scores,
    id="8 bits by instruction",
    marks=pytest.mark.skipif(not can_multiply(4), reason=NO_INSTRUCTION),
)
EIGHT_BITS = [pytest.param(TorchInt8Scores, id="8 bits by library"), BY_INSTRUCTION]
KINDS = [*EIGHT_BITS, pytest.param(lambda vectors: Float32Scores(vectors.T), id="float32")]
KS = [1, 2, 19, 20, 21, 64, 100]


def random_case(items: int, queries: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(items)
    vectors = torch.randn(items, 8, generator=generator)
    return vectors.to(device), torch.randn(queries, 8, generator=generator).to(device)


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize("items", SIZES)
def test_finds_the_best_of_all(items: int, k: int, device: torch.device) -> None:
    vectors, queries = random_case(items, 5, device)
    catalogue = Catalogue(vectors)
    catalogue.shortlists = None
    check(catalogue.rank(queries, k), vectors, queries, k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1, 4, 16])
@pytest.mark.parametrize("clusters", [0, 50, 5])
def test_a_shortlist_finds_the_same_items(scale: int, clusters: int, kind: Callable[[Tensor], CoarseScores]) -> None:
    generator = torch.Generator().manual_seed(scale)
    vectors = torch.randn(5000, 128, generator=generator)
    if clusters:  # items so close to each other that many must be scored again; of 5 clusters, too many
        vectors = vectors[torch.randint(0, clusters, (5000,), generator=generator)] + 0.003 * vectors
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    queries = torch.nn.functional.normalize(torch.randn(300, 128, generator=generator), dim=1) * scale
    catalogue = Catalogue(vectors)
    catalogue.shortlists = Shortlists(vectors, kind(vectors))
    check(catalogue.rank(queries, 20), vectors, queries, 20, tolerance=0.01)


@pytest.mark.parametrize("kind", EIGHT_BITS)
@pytest.mark.parametrize("items", [320, 447, 2047, 2048, 2049, 2100, 2368, 4096])
def test_a_shortlist_leaves_no_item_out_whatever_their_number(
    items: int, kind: Callable[[Tensor], CoarseScores]
) -> None:
    vectors = torch.randn(items, 64, generator=torch.Generator().manual_seed(items))
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    catalogue = Catalogue(vectors)
    catalogue.shortlists = Shortlists(vectors, kind(vectors))
    queries = 8 * vectors  # each item is somebody's best
    assert catalogue.shortlists.can_rank(queries, 20)
    check(catalogue.rank(queries, 20), vectors, queries, 20, tolerance=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_gives_up_where_too_many_items_are_possible(kind: Callable[[Tensor], CoarseScores]) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(1, 16), dim=1).expand(2000, 16)
    catalogue = Catalogue(vectors)
    catalogue.shortlists = Shortlists(vectors, kind(vectors))
    assert catalogue.shortlists.rank(vectors[:3], 20)[2].all()
    check(catalogue.rank(vectors[:3], 20), vectors, vectors[:3], 20)


def test_a_processor_whose_8_bit_products_overflow_goes_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = torch.randn(3000, 10), torch.randn(9, 10)  # no instruction multiplies vectors of this width
    product = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda *args, **options: product(*args, **options).clamp(max=2**15 - 1))
    assert not TorchInt8Scores(vectors).is_exact()
    catalogue = Catalogue(vectors)
    assert catalogue.shortlists is None or catalogue.shortlists.kind == "Float32"
    check(catalogue.rank(queries, 20), vectors, queries, 20, tolerance=0.01)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 512, 1025])
def test_any_number_of_queries_is_answered_in_order(count: int, device: torch.device) -> None:
    vectors, queries = random_case(200, count, device)
    check(Catalogue(vectors).rank(queries, 2), vectors, queries, 2)


def test_a_later_ranking_leaves_an_earlier_one_alone(device: torch.device) -> None:
    vectors, queries = random_case(300, 10, device)
    catalogue = Catalogue(vectors)
    first = catalogue.rank(queries[:5], 20)
    catalogue.rank(queries[5:], 20)
    check(first, vectors, queries[:5], 20)


@given(st.integers(1, 400), st.integers(1, 30), st.integers(0, 1000))
def test_ties_cost_nobody_a_place(items: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-1, 2, (items, 2), generator=generator).float()
    queries = torch.randint(-2, 3, (3, 2), generator=generator).float()
    check(Catalogue(vectors).rank(queries, k), vectors, queries, k)


def test_padding_is_never_better_than_a_bad_item() -> None:
    vectors = torch.full((65, 1), -100.0)  # the padded items of the second block would score 0
    ranked = Catalogue(vectors).rank(torch.ones(1, 1), 65)
    assert sorted(ranked.items[0].tolist()) == list(range(65))
    assert ranked.log_probabilities.exp().sum().item() == pytest.approx(1, abs=1e-4)
