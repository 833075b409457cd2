"""All that a worker needs to tell signals, as one: who follows answers, the timers, and the audiences."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import faust

from model.profile.audiences import Audiences
from stream_app.settings import Settings
from stream_app.signals.audiences import AudiencesFollower
from stream_app.signals.due import DueResponse
from stream_app.signals.timers import Timers, Users
from stream_app.signals.writer import SignalWriter

logger: Final = logging.getLogger(__name__)


class Teller:
    """Tells signals."""

    def __init__(
        self, settings: Settings, *, users: Users, take: Callable[[DueResponse], None], fail: Callable[..., Any]
    ) -> None:
        """As for `Timers`."""
        self.writer = SignalWriter(settings, time.time)
        self._audiences = AudiencesFollower(settings, "worker", self._use)
        self.timers = Timers(users=users, due_in=self._audiences.known.due_in, take=take, fail=fail, clock=time.time)

    async def start(self) -> None:
        """Reads the audiences there are. Raises `UsageError` when no broker answers."""
        await self._audiences.start()

    async def run(self, app: faust.App) -> None:
        """Tells signals until it is cancelled."""
        await asyncio.gather(self._audiences.follow(), self.timers.run(app))

    async def stop(self) -> None:
        """Disconnects."""
        await self._audiences.stop()

    def _use(self, audiences: Audiences) -> None:
        """Judges by these audiences from the next batch on, and looks at everybody who belongs to others by now."""
        self.writer.audiences = audiences
        self.timers.find_again()


def tells_signals(settings: Settings) -> bool:
    """Returns whether a worker is to tell signals, and can; says so where it cannot."""
    if not settings.signals_topic:
        return False
    if settings.write_format == "previous":
        logger.warning("no signals are told: records of the previous format cannot say what is still to be told")
        return False
    return True
