"""The two kernels of the search on a GPU, each by itself: tensor operations are the oracle."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from model.search.gpu_tiles import BLOCK, BLOCKS, LANES, MEMBERS, SCORED, rows_of_a_tile
from tests.skips import not_installed
from tests.unit.builders.rankings import unit_vectors

pytest.importorskip("triton", reason=not_installed("triton"))


@pytest.mark.parametrize("width", [16, 128, 256])
def test_group_maxima_and_sums_are_those_of_all_items_but_padding(width: int, kernel_device: torch.device) -> None:
    from model.search import gpu_kernels

    rows, tile, items = rows_of_a_tile(width), BLOCK * BLOCKS, BLOCK * BLOCKS + 300
    vectors = unit_vectors(2 * tile, width, kernel_device).half()
    queries = 8 * unit_vectors(2 * rows, width, kernel_device).half()
    bounds = torch.full((2 * rows,), 8.0, device=kernel_device)
    maxima = torch.empty(2 * rows, 2 * tile // MEMBERS, device=kernel_device)
    sums = torch.empty(2 * rows, 2, device=kernel_device)
    gpu_kernels.group_maxima[(2, 2)](queries, vectors, bounds, maxima, sums, items, width=width)
    scores = queries.float() @ vectors.float().T
    scores[:, items:] = float("-inf")
    wanted = scores.view(2 * rows, -1, MEMBERS, LANES).amax(2).flatten(1)
    torch.testing.assert_close(maxima, wanted, atol=1e-3, rtol=1e-3)
    weights = (scores - 8).exp().view(2 * rows, 2, tile).sum(2)
    torch.testing.assert_close(sums, weights, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("width", [1, 16, 17, 100, 128, 200, 256])
def test_member_scores_are_those_of_the_chosen_groups(width: int, kernel_device: torch.device) -> None:
    from model.search import gpu_kernels

    items = 2 * BLOCK + 5
    vectors, queries = unit_vectors(items, width, kernel_device), unit_vectors(3, width, kernel_device)
    chosen = torch.tensor([[0, 17, 5], [16, 23, 8], [1, 2, 3]], device=kernel_device)
    scores = torch.empty(2, 3, 3 * MEMBERS, device=kernel_device)
    programs = -(-3 * MEMBERS // SCORED)
    gpu_kernels.member_scores[(3, programs)](queries, vectors, chosen, scores, items, 3, width=width)
    member = torch.arange(MEMBERS, device=kernel_device)
    item = (chosen // LANES * BLOCK + chosen % LANES).unsqueeze(2) + LANES * member
    known = (item < items).flatten(1)
    assert not known.all()
    for found, rounded in zip(scores, (torch.Tensor.float, torch.Tensor.half), strict=True):
        products = rounded(queries).float() @ rounded(vectors).float().T
        wanted = products.gather(1, item.flatten(1).clamp(max=items - 1)).masked_fill(~known, float("-inf"))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_kernels_compile_for_gpus_that_are_not_here() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.unit.compile_for_gpus"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    memory = json.loads(done.stdout)
    assert len(memory) == 6
    assert max(memory.values()) <= 160 * 1024  # of a multiprocessor of an A100; an H100 has more
