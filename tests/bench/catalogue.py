"""The best items of a batch of queries, out of 10,000, 100,000 and 1,000,000: time per query, and memory.

Beside `Catalogue.rank`, which is exact and gives probabilities too: a float32 product with all items and the top-k of
it. Items are unit vectors by chance; queries are blends of a few of them, as those of users are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.fusion.candidate_features import NETWORK_BEST
from model.search.catalogue import Catalogue
from model.serving.answers import RANKED
from tests.bench.compare import Ratio, clock_of, in_turn, seconds, show

SIZES: Final = (10_000, 100_000, 1_000_000)
WIDTH: Final = 128
SCALE: Final = 16.0  # of queries
BATCH: Final = {"cpu": 256, "cuda": 1024}
_BLENDED: Final = 3  # items of a query


def catalogue(options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns a table for each size."""
    device = torch.device(options.device)
    return {f"{size:,} items": _of_size(size, device, options) for size in options.sizes or SIZES}


@torch.inference_mode()
def _of_size(size: int, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    generator = torch.Generator(device).manual_seed(1)
    vectors = F.normalize(torch.randn(size, WIDTH, generator=generator, device=device), dim=1)
    batch = options.batch or BATCH[device.type]
    blended = torch.randint(size, (batch, _BLENDED), generator=generator, device=device)
    queries = F.normalize(vectors[blended].sum(1), dim=1) * SCALE
    ours = Catalogue(vectors)
    transposed = vectors.T.contiguous()
    runs = {
        f"{name}, the best {k}": _timed(run, queries, k, clock_of(device))
        for k in (RANKED, NETWORK_BEST)
        for name, run in (("float32 product and top-k", _plain(transposed)), ("Catalogue.rank", ours.rank))
    }
    repeats = options.repeats or max(3, 2_000_000 // size)
    wanted = [Ratio(f"Catalogue.rank, the best {k}", f"float32 product and top-k, the best {k}") for k in (20, 64)]
    way = ours.shortlists.kind if ours.shortlists else "none"
    print(f"\n{size:,} items, {batch} queries at once, shortlists by coarse scores: {way}")
    found = show(in_turn(runs, min(repeats, 30), said=False), "us per query", wanted)
    memory = _bytes(ours) / size
    print(f"{memory:12,.0f} bytes per item, room for the scores of a batch included; a vector has {4 * WIDTH}")
    return found | {"batch": batch, "bytes_per_item": round(memory), "shortlists": way}


def _timed(
    run: Callable[[Tensor, int], object], queries: Tensor, k: int, clock: Callable[[], float]
) -> Callable[[], float]:
    return lambda: 1e6 * seconds(lambda: run(queries, k), clock) / len(queries)


def _plain(transposed: Tensor) -> Callable[[Tensor, int], object]:
    return lambda queries, k: (queries @ transposed).topk(k)


def _bytes(held: object) -> int:
    """Of all tensors and arrays that an object holds; one that two of its parts share counts twice."""
    if isinstance(held, Tensor | np.ndarray):
        return held.nbytes
    return sum(map(_bytes, vars(held).values())) if hasattr(held, "__dict__") else 0
