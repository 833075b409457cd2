"""Several processes that train one network: each holds a replica of it, and learns from its share of every batch.

The processes are those of PyTorch's process group; without a group this process is the only one. The first one leads:
it has the log, broadcasts what is to be fitted and hands out the parts of the log. The others do the same steps.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.data.event_log import EventLog
from model.data.sequences import Sequences


def replicas() -> int:
    """Returns how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Returns the rank of this process; 0 leads."""
    return dist.get_rank() if dist.is_initialized() else 0


def broadcast(value: Any = None) -> Any:
    """Returns the leader's value in all processes; the others give none, and wait for it."""
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def shard_rows(rows: int) -> Tensor:
    """Returns the indices of this process's share of so many rows; it may be empty."""
    return torch.arange(rank(), rows, replicas())


def begin_group(backend: str, **where: Any) -> None:
    """Begins the process group; `where` and `backend` as for PyTorch's `init_process_group`.

    First it imports functions that take the group as a default argument when they are defined, as an optimizer would at
    last: so the group's threads would outlive its end, and one that lets go of a tensor while the interpreter ends
    aborts the process.
    """
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group(backend, **where)


def end_group() -> None:
    """Ends the process group."""
    dist.destroy_process_group()


def all_reduce_sum(numbers: Tensor) -> Tensor:
    """Returns the sum over all processes."""
    if replicas() > 1:
        dist.all_reduce(numbers)
    return numbers


def all_reduce_gradients(weights: Sequence[Tensor]) -> None:
    """Adds up the gradients of all processes, in one piece. A weight must have one in all of them or in none."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if replicas() > 1:
        sums = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, total in zip(gradients, torch.split(sums, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))


@dataclass(frozen=True, slots=True)
class BroadcastLog:
    """What a fit reads of a log that only the leader has: each part is broadcast when all ask for it."""

    size: int
    part_count: int
    source: EventLog | None = None  # the leader's log
    _only: list[Sequences] = field(default_factory=list)  # the part of a log that has just one

    def __len__(self) -> int:
        return self.size

    def part(self, number: int) -> Sequences:
        """See `PartedLog.part`; all processes must ask for the same parts in the same order."""
        if self._only:
            return self._only[0]
        part: Sequences = broadcast(self.source.part(number) if self.source is not None else None)
        if self.part_count == 1:
            self._only.append(part)
        return part
