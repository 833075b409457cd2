"""The second of two processes that train together: `python -m tests.unit.follower FILE`, where the two meet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch

from model.training.fit_network import join_as_replica
from model.training.replicas import begin_group, end_group


@contextmanager
def one_of_two(meeting: Path, rank: int) -> Iterator[None]:
    """In a process group of two."""
    patience = timedelta(seconds=60)  # where one of them fails, the other does not wait for ever
    begin_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=patience)
    try:
        yield
    finally:
        end_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with one_of_two(Path(sys.argv[1]), 1):
        join_as_replica(torch.device("cpu"))
