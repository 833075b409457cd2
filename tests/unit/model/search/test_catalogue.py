"""The exact best k, and which search finds them: torch.topk and log_softmax over all items are the oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.search.catalogue import Catalogue
from model.search.coarse_scores import Float32Scores, Shortlists, TorchInt8Scores
from tests.unit.builders.rankings import check, unit_vectors


def drawn(items: int, queries: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(items)
    vectors = torch.randn(items, 8, generator=generator)
    return vectors.to(device), torch.randn(queries, 8, generator=generator).to(device)


@pytest.mark.parametrize("items", [0, 1, 65, 320, 3000])
@pytest.mark.parametrize("k", [1, 20, 100])
def test_finds_the_best_of_all_whatever_is_the_fastest(items: int, k: int, device: torch.device) -> None:
    vectors, queries = unit_vectors(items, 16, device), 8 * unit_vectors(5, 16, device)
    check(Catalogue(vectors).rank(queries, k), vectors, queries, k, tolerance=0.01)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 512, 1025])
def test_any_number_of_queries_is_answered_in_order(count: int, device: torch.device) -> None:
    vectors, queries = drawn(200, count, device)
    check(Catalogue(vectors).rank(queries, 2), vectors, queries, 2)


def test_a_later_ranking_leaves_an_earlier_one_alone(device: torch.device) -> None:
    vectors, queries = drawn(300, 10, device)
    catalogue = Catalogue(vectors)
    first = catalogue.rank(queries[:5], 20)
    catalogue.rank(queries[5:], 20)
    check(first, vectors, queries[:5], 20)


@given(st.integers(1, 400), st.integers(1, 30), st.integers(0, 1000))
def test_ties_leave_no_rank_empty(items: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-1, 2, (items, 2), generator=generator).float()
    queries = torch.randint(-2, 3, (3, 2), generator=generator).float()
    check(Catalogue(vectors).rank(queries, k), vectors, queries, k)


def test_the_plain_search_answers_queries_with_too_many_candidates() -> None:
    vectors = unit_vectors(6000, 16, clusters=5)
    queries = 8 * unit_vectors(20, 16)
    catalogue = Catalogue(vectors)
    catalogue.shortlists = Shortlists(vectors, TorchInt8Scores(vectors))
    assert catalogue.shortlists.rank(queries, 20)[2].any()
    check(catalogue.rank(queries, 20), vectors, queries, 20, tolerance=0.01)


def clock_of(*seconds: float) -> Callable[[], float]:
    """A clock by which five runs of each search take so long: the plain one, by float32 scores, by int8 scores."""
    readings = iter([reading for run in seconds for reading in (0, run) * 5])
    return lambda: next(readings)


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [((1, 2, 3), None), ((3, 1, 2), "Float32Scores"), ((3, 2, 1), "Int8Scores"), ((2, 2, 2), None)],
)
def test_the_search_that_takes_the_least_time_is_chosen(seconds: tuple[float, ...], kind: str | None) -> None:
    catalogue = Catalogue(unit_vectors(640, 16), clock_of(*seconds))
    assert (catalogue.shortlists.kind if catalogue.shortlists else None) in (kind, f"Torch{kind}", f"Vnni{kind}")


def test_a_search_that_takes_much_longer_is_timed_once() -> None:
    readings = iter([0, 1] * 5 + [0, 4] + [0, 4])  # five runs of the plain search, then one of each other
    assert Catalogue(unit_vectors(640, 16), lambda: next(readings)).shortlists is None
    assert list(readings) == []


def test_a_search_that_is_not_exact_here_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = torch.randn(3000, 10), torch.randn(9, 10)  # no instruction multiplies vectors of this width
    product = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda *args, **options: product(*args, **options).clamp(max=2**15 - 1))
    catalogue = Catalogue(vectors, clock_of(3, 3, 1))
    assert catalogue.shortlists is None
    check(catalogue.rank(queries, 20), vectors, queries, 20, tolerance=0.01)


def test_another_thread_finds_the_same_with_buffers_of_its_own() -> None:
    vectors = unit_vectors(640, 16)
    catalogue = Catalogue(vectors)
    catalogue.shortlists = Shortlists(vectors, Float32Scores(vectors.T))
    other = catalogue.for_another_thread()
    assert other._plain is not catalogue._plain
    assert isinstance(other.shortlists, Shortlists)
    assert other.shortlists._buffer.data_ptr() != catalogue.shortlists._buffer.data_ptr()
    check(other.rank(4 * vectors[:9], 20), vectors, 4 * vectors[:9], 20, tolerance=0.01)
