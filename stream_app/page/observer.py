"""Watches workers, and the broker, for all viewers at once: often while somebody looks, seldom otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from stream_app.contract.questions.answers import WorkerAnswer
from stream_app.page.scrape import read_metrics
from stream_app.page.tallies import Tallies
from stream_app.page.worker_client import NoAnswer, Trouble, WorkerClient, starting

_EVERY_S: Final = 1.0  # seconds between two looks
_BROKER_EVERY_S: Final = 3.0
_EVERY_UNSEEN_S: Final = 5.0  # where nobody has the page open: for the hit rates over time

Probe = Callable[[], Awaitable[Trouble | None]]  # looks whether the broker answers


@dataclass(frozen=True, slots=True)
class LastingTrouble:
    """A trouble, and since when it lasts, in seconds since the epoch."""

    trouble: Trouble
    since: float


class Observer:
    """What the last look at all workers said."""

    def __init__(
        self, workers: Sequence[WorkerClient], clock: Callable[[], float], broker: Probe | None = None
    ) -> None:
        self.workers = workers
        self.tallies = Tallies()
        self.about: dict[str, WorkerAnswer] = {}  # by the API's address, of those that answer
        self._clock = clock
        self._broker = broker
        self._troubles: dict[str, LastingTrouble] = {}
        self._viewers = 0
        self._somebody_looks = asyncio.Event()

    @property
    def troubles(self) -> list[LastingTrouble]:
        """What does not work now, the oldest trouble first."""
        return sorted(self._troubles.values(), key=lambda lasting: lasting.since)

    def enter(self) -> None:
        """Notes a viewer."""
        self._viewers += 1
        self._somebody_looks.set()

    def leave(self) -> None:
        """Notes that a viewer has gone."""
        self._viewers -= 1
        if self._viewers == 0:
            self._somebody_looks.clear()

    async def run(self) -> None:
        """Looks again and again, until it is cancelled."""
        await asyncio.gather(self._watch_workers(), *([self._watch_broker(self._broker)] if self._broker else []))

    async def _watch_broker(self, probe: Probe) -> None:
        while True:
            self._note("broker", await probe())
            await asyncio.sleep(_BROKER_EVERY_S)

    async def _watch_workers(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_S)
            if not self._viewers:
                await self._unseen()

    async def _unseen(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_UNSEEN_S - _EVERY_S):
                await self._somebody_looks.wait()

    async def look(self) -> None:
        """Looks at all workers once."""
        await asyncio.gather(*(self._look_at(worker) for worker in self.workers))

    async def _look_at(self, worker: WorkerClient) -> None:
        url = worker.url
        try:
            self.about[url] = about = await worker.about()
            self.tallies.add(url, read_metrics(await worker.metrics(about.metrics), self._clock()))
        except NoAnswer as error:
            self.about.pop(url, None)
            self.tallies.lose(url)
            self._note(url, error.trouble)
        except ValueError as error:
            self.tallies.lose(url)
            self._note(url, Trouble(f"{about.metrics}: {error}", "Is another program on this port?"))
        else:
            self._note(url, None if about.ready else starting(url))

    def _note(self, key: str, trouble: Trouble | None) -> None:
        if trouble is None:
            self._troubles.pop(key, None)
            return
        last = self._troubles.get(key)
        self._troubles[key] = LastingTrouble(trouble, last.since if last is not None else self._clock())
