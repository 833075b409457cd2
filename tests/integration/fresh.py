"""Commands as processes that begin with nothing, as a user's do: where the time of their imports counts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class FreshProcess:
    """`python -m module command...`, in a session of its own; named as `multiprocessing` names what it does."""

    def __init__(
        self,
        module: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        within: Sequence[str] = (),
    ) -> None:
        """What it says is appended to the log. `within`: what comes before the command, see `image`."""
        line = [*within, sys.executable, "-m", module, *command]
        with log.open("ab") as said:
            self._process = subprocess.Popen(line, env=environment, stdout=said, stderr=said, start_new_session=True)
        self.pid = self._process.pid
        self.terminate, self.kill = self._process.terminate, self._process.kill

    @property
    def exitcode(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def join(self, timeout: float | None = None) -> None:
        """Waits for the end; returns when the time has run out, too."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return
