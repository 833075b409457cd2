"""Several processes started by `torchrun`: the first is the trainer, the others are its replicas in every fit.

The command line is `torchrun --nproc-per-node 2 --no-python nextact trainer`. Without `--no-python` torchrun would put
the working folder on Python's path, where a `model.py` would hide our package.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

import torch
import torch.distributed as dist

from model.training.fit_network import join_as_replica, release_replicas
from model.training.replicas import begin_group, end_group, rank, replicas
from stream_app.device import choose_device
from stream_app.settings import Settings

T = TypeVar("T")
logger: Final = logging.getLogger(__name__)
_TIMEOUT: Final = timedelta(days=365)  # rounds may be far apart; torchrun ends all processes when one has failed


def launched() -> bool:
    """Returns whether `torchrun` started this process."""
    return dist.is_torchelastic_launched()


def lead_or_follow(settings: Settings, lead: Callable[[], T | None]) -> T | None:
    """Calls `lead` in the first process, and returns its result; the others are replicas until it has returned.

    `lead` returns None when a signal has ended it: torchrun sends the signal to all processes.
    """
    begin_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_TIMEOUT)
    if rank() == 0:
        result = lead()
        if result is not None:
            release_replicas()
            end_group()
        return result
    logger.info("process %d of %d trains along", rank() + 1, replicas())
    torch.set_num_threads(settings.threads)
    device = choose_device(settings.device, fallback=settings.device_fallback)
    join_as_replica(torch.device("cuda", dist.get_node_local_rank()) if device == torch.device("cuda") else device)
    end_group()
    return None
