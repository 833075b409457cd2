"""The table of faults: each row is a function that injects, and how often the full dose runs it."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Final

from tests.faults.trial import Row, Stage


async def calm(stage: Stage) -> None:
    """No fault: what the suite says then, it says of itself."""
    await asyncio.sleep(stage.pick(60, 10))


async def kills(stage: Stage) -> None:
    """`kill -9` of one worker, every 3 s on average."""
    end = time.monotonic() + stage.pick(60, 15)
    while time.monotonic() < end:
        await asyncio.sleep(min(stage.rng.expovariate(1 / 3), 10))
        kill_one(stage)


def kill_one(stage: Stage) -> None:
    """`kill -9` of a worker that runs, whether it is ready or not."""
    if running := stage.supervisor.running:
        slot = stage.rng.choice(running)
        stage.supervisor.send(slot, signal.SIGKILL)
        stage.injected(f"kill -9 {slot.name}")


ROWS: Final = (
    Row("calm", calm, in_short=False),
    Row("kill", kills, runs=5, in_short=True),
)
