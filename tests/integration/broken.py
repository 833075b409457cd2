"""`nextact` with a defect: `python -m tests.integration.broken worker`. NEXTACT_TEST_DEFECT says which:

- hang-device, hang-loop: the thread that computes or the event loop hangs for ever at the n-th batch
- dead-device: the device takes what it is given and fails at the first step
- die-manifest, die-promotion: a trainer is killed when it is about to write a version's manifest, or to promote it
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from typing import Any

import torch
from fsspec.implementations.local import LocalFileSystem

from stream_app.cli.main import main
from stream_app.trainer import trainer
from stream_app.worker import worker
from stream_app.worker.agent import EventsAgent

_NTH = 3


def hang(owner: Any, name: str) -> None:
    """Has the n-th call of a method never return."""
    calls, original = itertools.count(1), getattr(owner, name)

    def hanging(*arguments: Any) -> Any:
        if next(calls) >= _NTH:
            threading.Event().wait()
        return original(*arguments)

    setattr(owner, name, hanging)


def choose_dead_device(*_: Any, **__: Any) -> torch.device:
    """Tensors on PyTorch's `meta` device can be made, but nothing can be read from them."""
    return torch.device("meta")


def die(*_: Any, **__: Any) -> None:
    """The process is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    match os.environ["NEXTACT_TEST_DEFECT"]:
        case "hang-device":
            hang(EventsAgent, EventsAgent._in_one_go.__name__)  # mypy finds it when it goes
        case "hang-loop":
            hang(EventsAgent, EventsAgent._deliver.__name__)
        case "dead-device":
            setattr(worker, "choose_device", choose_dead_device)  # noqa: B010 - mypy knows that it is imported there
        case "die-manifest":
            setattr(LocalFileSystem, "mv", die)  # noqa: B010 - the step that makes a version whole
        case "die-promotion":
            setattr(trainer, "publish_promotion", die)  # noqa: B010 - as above
    main()
