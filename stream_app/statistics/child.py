"""Runs `nextact statistics` as a child of another process, and starts it again where it ends by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from stream_app.environment import PREFIX
from stream_app.settings import Settings

# `-P` keeps the working folder off Python's path, where a `model.py` of the user's would hide our package.
COMMAND: Final = (sys.executable, "-P", "-m", "stream_app", "statistics", "--with-parent")
_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 300.0
_LONG_S: Final = 60.0  # who ran so many seconds did not end at once
_GRACE_S: Final = 10.0  # seconds between SIGTERM and SIGKILL

logger: Final = logging.getLogger(__name__)


async def keep_counting(settings: Settings) -> None:
    """Has a child count events, unless the settings say otherwise, until cancelled."""
    if not (settings.statistics and settings.statistics_writer):
        await asyncio.Event().wait()
    await StatisticsChild(settings).run()


class StatisticsChild:
    """A child with the settings of its parent; it ends with its parent, however that goes, as its input ends then."""

    def __init__(
        self, settings: Settings, command: Sequence[str] = COMMAND, *, first_pause: float = _FIRST_PAUSE_S
    ) -> None:
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._environment = others | settings.variables()
        self._command, self._first_pause = command, first_pause
        self.starts = 0

    async def run(self) -> None:
        """Keeps the child running until cancelled, then ends it."""
        loop, pause = asyncio.get_running_loop(), self._first_pause
        while True:
            begun = loop.time()
            code = await self._run_once()
            pause = self._first_pause if loop.time() - begun > _LONG_S else pause
            logger.warning("`nextact statistics` ended with %d and is started again in %g s", code, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _run_once(self) -> int:
        self.starts += 1
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, env=self._environment, start_new_session=True
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
