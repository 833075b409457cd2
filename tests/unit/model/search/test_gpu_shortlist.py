"""The search of a GPU: torch.topk and log_softmax over all items are the oracle. Without a GPU, interpreted."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from model.search.catalogue import Catalogue, RankedItems
from model.search.gpu_shortlist import GpuShortlists
from tests.skips import NO_GPU, not_installed
from tests.unit.builders.rankings import check

pytest.importorskip("triton", reason=not_installed("triton"))


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu) if torch.cuda.is_available() else "cpu"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """One device per machine: where there is a GPU, kernels are compiled for it, and none can be interpreted."""
    return torch.device(request.param)


def unit_vectors(count: int, width: int, device: torch.device, *, clusters: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    vectors = torch.randn(count, width, generator=generator)
    if clusters:
        vectors = vectors[torch.randint(0, clusters, (count,), generator=generator)] + 0.003 * vectors
    return normalize(vectors, dim=1).to(device)


def ranked_by(vectors: Tensor, queries: Tensor, k: int) -> tuple[RankedItems, Tensor]:
    items, log_probabilities, overflowed = GpuShortlists(vectors).rank(queries, k)
    return RankedItems(items, log_probabilities), overflowed


@pytest.mark.parametrize(
    ("items", "queries", "width", "k"),
    [(1, 1, 1, 1), (100, 129, 16, 1), (2047, 3, 128, 20), (2048, 2, 100, 64), (2049, 2, 130, 20), (9000, 3, 8, 20)],
)
def test_finds_the_best_of_all(items: int, queries: int, width: int, k: int, device: torch.device) -> None:
    vectors = unit_vectors(items, width, device)
    asked = unit_vectors(queries, width, device) * 16
    ranked, overflowed = ranked_by(vectors, asked, k)
    if width > 8:  # in few dimensions many items are near each other
        assert not overflowed.any()
    kept = ~overflowed
    check(RankedItems(ranked.items[kept], ranked.log_probabilities[kept]), vectors, asked[kept], k, tolerance=0.01)


@pytest.mark.parametrize("clusters", [200, 5])
def test_gives_up_where_it_cannot_be_sure_and_is_right_elsewhere(clusters: int, device: torch.device) -> None:
    vectors = unit_vectors(6000, 32, device, clusters=clusters)
    queries = unit_vectors(6, 32, device) * 16
    ranked, overflowed = ranked_by(vectors, queries, 20)
    kept = ~overflowed
    assert overflowed.any() or clusters > 5
    if kept.any():
        check(
            RankedItems(ranked.items[kept], ranked.log_probabilities[kept]), vectors, queries[kept], 20, tolerance=0.01
        )
    catalogue = Catalogue(vectors)
    catalogue.shortlists = GpuShortlists(vectors)
    check(catalogue.rank(queries, 20), vectors, queries, 20, tolerance=0.01)


def test_every_item_may_be_asked_for(device: torch.device) -> None:
    vectors = unit_vectors(70, 16, device)
    ranked, overflowed = ranked_by(vectors, -16 * vectors[:2], 70)  # bad items, worse than padding would be
    assert not overflowed.any()
    check(ranked, vectors, -16 * vectors[:2], 70)
    assert ranked.log_probabilities.exp().sum(1).cpu() == pytest.approx([1, 1], abs=1e-4)


def test_leaves_to_the_plain_way_what_halves_and_exponentials_cannot_hold(device: torch.device) -> None:
    vectors = unit_vectors(100, 16, device)
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
    assert isinstance(Catalogue(unit_vectors(100, 16, torch.device("cuda"))).shortlists, GpuShortlists)


def test_kernels_compile_for_gpus_that_are_not_here() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.unit.compile_for_gpus"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    memory = json.loads(done.stdout)
    assert len(memory) == 6
    assert max(memory.values()) <= 160 * 1024  # of a multiprocessor of an A100; an H100 has more
