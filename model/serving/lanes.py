"""Work for a batch in several threads: each lane takes a share of the answers and has room of its own for it.

The loops that rank run without the interpreter's lock, so shares are ranked at the same time.
Shapes: N answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import torch

T = TypeVar("T")

_LEAST: Final = 64  # answers of a share: fewer are ranked before another thread is awake


class Lanes:
    """Threads for all lanes but the first, which is the thread that asks."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._others = ThreadPoolExecutor(max(1, threads - 1), "ranking", torch.set_num_threads, (1,))

    def shares(self, n: int, lanes: Sequence[Callable[[slice], T]]) -> list[T]:
        """What the lanes make of N answers, each of a share of them, in order."""
        lanes = lanes[: max(1, n // _LEAST)]
        if len(lanes) == 1:
            return [lanes[0](slice(0, n))]
        bounds = np.linspace(0, n, len(lanes) + 1).round().astype(np.int64).tolist()
        parts = [slice(begin, end) for begin, end in pairwise(bounds)]
        later = [self._others.submit(_inferring, lane, part) for lane, part in zip(lanes[1:], parts[1:], strict=True)]
        return [lanes[0](parts[0]), *(share.result() for share in later)]


def _inferring(lane: Callable[[slice], T], part: slice) -> T:
    with torch.inference_mode():  # belongs to the thread
        return lane(part)
