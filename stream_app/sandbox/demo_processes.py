"""The processes of the demo: a worker and a trainer, which are missed when they end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from stream_app.errors import ChildFailed
from stream_app.sandbox.processes import ChildProcess
from stream_app.settings import PREFIX, Settings


def child_command(command: str) -> list[str]:
    """Returns the command line of a worker or trainer, which works in any folder.

    `-P` keeps the working folder off Python's path, where a `model.py` of the user's would hide our package.
    """
    return [sys.executable, "-P", "-m", "stream_app", command]


def start_child(command: str, settings: Settings, folder: Path, port: int) -> ChildProcess:
    """Starts a worker or trainer with these settings; its metrics are on a port of this machine."""
    own = settings.model_copy(update={"http_host": "127.0.0.1", "http_port": port})
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = others | own.variables()
    log_path = folder / f"{command}.log"
    return ChildProcess.start(child_command(command), name=command, log_path=log_path, env=environment)


async def watch_children(children: Sequence[ChildProcess]) -> None:
    """Raises `ChildFailed` as soon as one of the processes has ended; more of them may join meanwhile."""
    while True:
        for child in children:
            if child.poll() is not None:
                tail = "\n".join(child.log_path.read_text().splitlines()[-20:])
                raise ChildFailed(f"the {child.name} ended with {child.poll()}; its last lines:\n{tail}")
        await asyncio.sleep(0.5)


async def unless_failed(work: Coroutine[Any, Any, None], beside: list[asyncio.Task[None]]) -> None:
    """Runs the work; if a task beside it ends first, it has failed, and so has the work."""
    main = asyncio.create_task(work)
    done, _ = await asyncio.wait({main, *beside}, return_when=asyncio.FIRST_COMPLETED)
    if main not in done:
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)
    for task in done:
        task.result()
