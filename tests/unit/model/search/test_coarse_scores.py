"""Coarse scores and the searches by them: exact products, torch.topk and log_softmax are the oracle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from model.kernels.int8_matmul import can_multiply
from model.search.coarse_scores import CoarseScores, Float32Scores, Shortlists, TorchInt8Scores, VnniInt8Scores
from model.search.shortlist import SearchResult
from tests.skips import NO_INSTRUCTION
from tests.unit.builders.rankings import check_sure, unit_vectors

INT8 = [
    pytest.param(TorchInt8Scores, id="int8 by torch"),
    pytest.param(
        VnniInt8Scores,
        id="int8 by instruction",
        marks=pytest.mark.skipif(not can_multiply(4), reason=NO_INSTRUCTION),
    ),
]
KINDS = [*INT8, pytest.param(lambda vectors: Float32Scores(vectors.T), id="float32")]

Kind = Callable[[Tensor], CoarseScores]


@pytest.mark.parametrize("kind", KINDS)
def test_coarse_logits_lie_within_their_bounds_of_exact_ones(kind: Kind) -> None:
    vectors = 3 * torch.randn(500, 64, generator=torch.Generator().manual_seed(1))
    queries = torch.randn(40, 64, generator=torch.Generator().manual_seed(2))
    scores = kind(vectors)
    coarse = scores.prepare(queries)
    buffer = torch.empty(40, scores.columns, dtype=scores.buffer_type)
    scores.score(coarse.queries, buffer)
    logits = buffer[:, :500].double() * torch.from_numpy(scores.scales).double() * coarse.scales.unsqueeze(1)
    errors = (logits - queries.double() @ vectors.double().T).abs().amax(1)
    assert (errors <= coarse.error_bounds).all()


def test_a_vector_of_zeros_is_rounded_to_zeros() -> None:
    coarse = TorchInt8Scores(torch.ones(3, 4)).prepare(torch.zeros(2, 4))
    assert not coarse.queries.any()
    assert torch.isfinite(coarse.error_bounds).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1, 4, 16])
@pytest.mark.parametrize("clusters", [0, 50, 5])  # of 5 clusters, too many items must be scored exactly
def test_a_shortlist_finds_the_best_of_all(scale: int, clusters: int, kind: Kind) -> None:
    vectors = unit_vectors(5000, 128, clusters=clusters)
    queries = scale * unit_vectors(300, 128)
    overflowed = check_sure(Shortlists(vectors, kind(vectors)).rank(queries, 20), vectors, queries, 20, 0.01)
    assert clusters == 5 or not overflowed.all()


@pytest.mark.parametrize("kind", INT8)
@pytest.mark.parametrize("items", [320, 447, 2047, 2048, 2049, 2100, 2368, 4096])
def test_a_shortlist_leaves_no_item_out_whatever_their_number(items: int, kind: Kind) -> None:
    vectors = unit_vectors(items, 64)
    queries = 8 * vectors  # each item is somebody's best
    shortlists = Shortlists(vectors, kind(vectors))
    assert shortlists.can_rank(queries, 20)
    overflowed = check_sure(shortlists.rank(queries, 20), vectors, queries, 20, 0.01)
    assert not overflowed.all()


@pytest.mark.parametrize("kind", KINDS)
def test_overflows_where_too_many_items_are_possible(kind: Kind) -> None:
    vectors = normalize(torch.randn(1, 16), dim=1).expand(2000, 16)
    assert Shortlists(vectors, kind(vectors)).rank(vectors[:3], 20)[2].all()


def test_cannot_rank_more_than_there_are_groups_or_logits_without_an_exponential() -> None:
    vectors = unit_vectors(320, 16)
    shortlists = Shortlists(vectors, Float32Scores(vectors.T))
    assert shortlists.can_rank(vectors, 20)
    assert not shortlists.can_rank(vectors, 21)
    assert not shortlists.can_rank(vectors, 0)
    assert not shortlists.can_rank(81 * vectors, 20)
    vectors[3, 2] = float("nan")
    assert not shortlists.can_rank(vectors, 20)
    assert shortlists.can_rank(vectors[:0], 20)


@pytest.mark.skipif(not can_multiply(4), reason=NO_INSTRUCTION)
@pytest.mark.parametrize("count", [0, 1, 64, 150])
def test_the_search_in_one_call_finds_what_its_steps_find(count: int) -> None:
    vectors, queries = unit_vectors(700, 64), 8 * unit_vectors(count, 64)
    scores = VnniInt8Scores(vectors)
    buffer = torch.empty(64, scores.columns, dtype=scores.buffer_type)
    found = []
    for search in (scores.search, super(VnniInt8Scores, scores).search):
        result = SearchResult(np.zeros((count, 20), np.int64), np.zeros((count, 20), np.float32), np.zeros(count, bool))
        search(queries, vectors.numpy(), result, buffer)
        found.append(result)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_thread_has_a_buffer_of_its_own() -> None:
    vectors = unit_vectors(320, 16)
    shortlists = Shortlists(vectors, Float32Scores(vectors.T))
    other = shortlists.for_another_thread()
    assert other.scores is shortlists.scores
    assert other._buffer.data_ptr() != shortlists._buffer.data_ptr()


def test_a_processor_whose_int8_products_overflow_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    product = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda *args, **options: product(*args, **options).clamp(max=2**15 - 1))
    assert not TorchInt8Scores(torch.randn(300, 10)).is_exact()


def test_a_pytorch_without_the_int8_product_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_int_mm")
    assert not TorchInt8Scores(torch.randn(300, 10)).is_exact()
