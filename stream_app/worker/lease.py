"""Whether this process has run without a break.

A process that was stopped for longer than its session timeout has lost its partitions, and what it has still to write
is older than what their new owners have written. It cannot know that from the group, which it has not heard since; it
can from its own clock. A write of a process that is stopped between the check and the write still gets through: only
transactions keep that out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from stream_app.errors import DataPathError

_SHARE: Final = 0.75  # of the session timeout: the last heartbeat may have been a fifth of it before the break
_RENEWALS: Final = 10  # per lease


class Lease:
    """A lease on the partitions, which the event loop renews as long as it runs."""

    def __init__(self, session_timeout: float, clock: Callable[[], float]) -> None:
        """`session_timeout` and `clock` (monotonic, not stopped with the process) in seconds."""
        self._seconds = _SHARE * session_timeout
        self._clock = clock
        self._renewed = clock()

    async def keep(self) -> None:
        """Renews until it is cancelled; a lease that ran out is never renewed."""
        while True:
            self.check()
            self._renewed = self._clock()
            await asyncio.sleep(self._seconds / _RENEWALS)

    def check(self) -> None:
        """Raises `DataPathError` when the process stood still for too long."""
        passed = self._clock() - self._renewed
        if passed > self._seconds:
            raise DataPathError(
                f"this process stood still for {passed:.1f} s: its session with the group (NEXTACT_SESSION_TIMEOUT) "
                "may have ended and its partitions may be another worker's; the next start goes on at the committed "
                "offsets"
            )
