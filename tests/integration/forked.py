"""Commands as real processes that need not import PyTorch and Faust anew: they are forked from one that has.

That saves three of the four seconds of processor time of a start. From `import` on all is as in `python -m`.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

# The last one is what `torch.optim` imports when it is used.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["__main__", __name__, "stream_app.worker.worker", "stream_app.trainer.trainer", "torch._dynamo"]
)


def prepare() -> None:
    """Begins to import, so that the first start need not wait for all of it."""
    forkserver.ensure_running()


def start(
    module: str, command: Sequence[str], environment: Mapping[str, str], *, stdout: Path, stderr: Path
) -> ForkServerProcess:
    """Starts `python -m module command...` in a session of its own; what it says is appended to files."""
    arguments = module, command, dict(environment), stdout, stderr
    process = _FORKS.Process(target=_run, args=arguments, name=" ".join(command))
    process.start()
    return process


def _run(module: str, command: Sequence[str], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    os.setsid()
    for stream, file in ((sys.stdout, stdout), (sys.stderr, stderr)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *command]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
