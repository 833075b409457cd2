"""Whether the consumer group still counts on this process: only then may it write.

A process that the group has given up, because it stood still, because its heartbeats did not get through, or because it
took too long to give partitions away, has lost its partitions, and what it has still to write is older than what their
new owners have written. Heartbeats tell: the group keeps a member for a session timeout after each one that it has
taken, so a lease runs from the moment when such a heartbeat was *sent* (an answer may have waited in this process).
A write of a process that is stopped between the check and the write still gets through: only transactions keep that
out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from stream_app.errors import DataPathError

_SHARE: Final = 0.75  # of the session timeout, to write in before the group gives the process up
_LOOK_S: Final = 0.02  # between two looks for a heartbeat


class Lease:
    """A lease on the partitions, which heartbeats renew. The thread of Faust's consumer may renew it."""

    def __init__(self, session_timeout: float, clock: Callable[[], float]) -> None:
        """`session_timeout` and `clock` (monotonic, not stopped with the process) in seconds."""
        self._seconds = _SHARE * session_timeout
        self._clock = clock
        self._renewed = clock()
        self._lost = False

    def begin(self) -> None:
        """Begins anew: the group has just assigned partitions to this process."""
        self._renewed = self._clock()
        self._lost = False

    def renew(self, sent: float) -> None:
        """Notes that the group took a heartbeat sent at this time; after the loss it would be another membership's."""
        self._renewed = max(self._renewed, sent)

    def lose(self) -> None:
        """Notes that the group does not know this process any more."""
        self._lost = True

    async def held(self) -> None:
        """Returns when the lease is valid: at once, or with the next heartbeat that gets through.

        Raises `DataPathError` when the group has given this process up.
        """
        while not self._lost and self._clock() - self._renewed > self._seconds:  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(_LOOK_S)
        if self._lost:
            raise DataPathError(
                "the group has given this process up: it stood still, or no heartbeat got through, for longer than "
                "NEXTACT_SESSION_TIMEOUT. Its partitions may be another worker's; the next start goes on at the "
                "committed offsets"
            )
