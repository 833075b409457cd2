"""Several processes that train one network: each holds a replica of it, and learns from its share of every batch.

The processes are those of PyTorch's process group; without one, this process is all there is. The first one leads: it
has the log, tells the others what is to be fitted and hands out the parts of the log. The others do the same steps.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.data.event_log import EventLog
from model.data.sequences import Sequences


def replicas() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 leads."""
    return dist.get_rank() if dist.is_initialized() else 0


def broadcast(what: Any = None) -> Any:
    """What the leader gives; the others give nothing, and wait for it."""
    box = [what]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def shard_rows(rows: int) -> Tensor:
    """Which of so many rows are this process's; maybe none."""
    return torch.arange(rank(), rows, replicas())


def wrap_ddp(module: nn.Module) -> nn.Module:
    """A module whose gradients become the means over all processes of those that each has."""
    if replicas() == 1:
        return module
    # Not every weight has to do with every share: words only with searches.
    return DistributedDataParallel(module, find_unused_parameters=True)


def end_group() -> None:
    """Ends the process group. Replicas of the network are in cycles: what is left of them keeps threads of the group
    alive, and a thread that is there when the process ends aborts it (PyTorch 2.15)."""
    gc.collect()
    dist.destroy_process_group()


def all_reduce_sum(losses: Tensor) -> Tensor:
    """The sum over all processes."""
    if replicas() > 1:
        dist.all_reduce(losses)
    return losses


@dataclass(frozen=True, slots=True)
class BroadcastLog:
    """As much of a log as a fit looks at; the leader has it, and each part goes to all when they ask for it."""

    size: int
    part_count: int
    source: EventLog | None = None  # of the leader
    _only: list[Sequences] = field(default_factory=list)  # the part, if there is just one

    def __len__(self) -> int:
        return self.size

    def part(self, number: int) -> Sequences:
        """As `Log.part`; all processes must ask for the same parts in the same order."""
        if self._only:
            return self._only[0]
        part: Sequences = broadcast(self.source.part(number) if self.source is not None else None)
        if self.part_count == 1:
            self._only.append(part)
        return part
