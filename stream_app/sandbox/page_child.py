"""The page as a process beside others on this machine, where its extra is installed."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from stream_app.sandbox.processes import ChildProcess
from stream_app.settings import PREFIX

_START_S: Final = 30.0  # seconds that the start may take
_TOLD: Final = re.compile(r"the page is at (http://\S+)\n")
INSTALL: Final = 'for a page in the browser install its extra: pip install "nextact[page]"'


class PageChild:
    """Shows a worker until it is stopped. What becomes of the page is nothing to those whom it shows."""

    def __init__(self, folder: Path, *, worker: str, brokers: str, simulated: bool) -> None:
        """`worker`: the address of its API."""
        self.headline = folder / "headline.json"  # what is written there (`contract.demo.headline`) is shown
        self._log = folder / "page.log"
        self._command = [sys.executable, "-P", "-m", "stream_app", "page", "--worker", worker, "--brokers", brokers]
        self._command += ["--headline", str(self.headline), *(["--simulated"] if simulated else [])]
        self._simulated = simulated
        self._child: ChildProcess | None = None

    async def start(self) -> str:
        """Starts it, and returns a line for people: where it is, or why there is none."""
        if find_spec("nicegui") is None:
            return INSTALL
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        try:
            self._child = ChildProcess.start(self._command, name="page", log_path=self._log, env=others)
            address = await self._address(self._child)
        except (OSError, TimeoutError) as error:
            return f"there is no page in the browser: {str(error) or f'it did not start within {_START_S:g} s'}"
        return f"see it in the browser: {address}" + ("   (a simulated shop)" if self._simulated else "")

    async def _address(self, child: ChildProcess) -> str:
        async with asyncio.timeout(_START_S):
            while not (told := _TOLD.search(log := self._log.read_text())):
                if (code := child.poll()) is not None:
                    raise OSError(f"it ended with {code}: {(log.splitlines() or ['it said nothing'])[-1]}")
                await asyncio.sleep(0.05)
        return told[1]

    def stop(self, timeout: float) -> None:
        """Ends it, if it was started."""
        if self._child is not None:
            self._child.stop(timeout)
