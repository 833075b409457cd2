"""Hot reload: follows promotions, loads and warms a version aside, swaps it in between two batches.

A version that must not be served is refused with a log line and a counter, and the old one goes on serving.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

import torch

from model.errors import VersionRefused
from model.serving.canary import Canary
from model.serving.engine import Fold
from model.serving.serving import Serving, serve_files
from model.versions.manifest import VersionFiles
from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion, elect
from stream_app.versions.timeouts import read_with_timeout
from stream_app.worker.metrics import WorkerMetrics

logger: Final = logging.getLogger(__name__)

PAUSES_S: Final = (1.0, 5.0, 25.0)  # between the tries of a place that cannot be read now


class PromotionSource(Protocol):
    """Where promotions come from: `stream_app.versions.promotions.Promotions`."""

    async def start(self) -> list[bytes | None]:
        """Those there are."""

    def follow(self) -> AsyncIterator[list[bytes | None]]:
        """Those to come."""

    async def stop(self) -> None:
        """No more of them."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A version that can serve at once."""

    promotion: Promotion
    serving: Serving
    created: float  # seconds since the epoch


class Reload:
    """Keeps the fold serving the champion."""

    def __init__(
        self,
        *,
        settings: Settings,
        promotions: PromotionSource,
        fold: Fold,
        device: torch.device,
        device_thread: ThreadPoolExecutor,
        loading_thread: ThreadPoolExecutor,
        metrics: WorkerMetrics,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._settings = settings
        self._promotions = promotions
        self._fold = fold
        self._device = device
        self._device_thread = device_thread
        self._loading_thread = loading_thread
        self._metrics = metrics
        self._pauses_s = pauses_s
        self._wanted: Promotion | None = None  # the one that serves, or that is to
        self._served: _Ready | None = None
        self._previous: _Ready | None = None  # kept, so that a rollback needs no loading
        self._on_trial = False

    @property
    def trial(self) -> tuple[str, str] | None:
        """The names of the version on trial and of the one before, which some users have; None: there is no trial."""
        if not self._on_trial or self._served is None or self._previous is None:
            return None
        return self._served.serving.name, self._previous.serving.name

    async def start(self) -> None:
        """Loads the present champion, if there is one and it can be read; else the rules answer."""
        self._elect(await self._promotions.start())
        if self._wanted is None:
            logger.info("no model yet: the rules answer until the trainer's first promotion")
        else:
            await self._try(self._wanted)

    async def follow(self) -> None:
        """Takes promotions as they come, until cancelled; a newer one ends the tries of an older one."""
        async with asyncio.TaskGroup() as tasks:
            if self._wanted is not None:
                tasks.create_task(self._take(self._wanted))
            async for values in self._promotions.follow():
                before = self._wanted
                self._elect(values)
                if self._wanted is not None and self._wanted is not before:
                    tasks.create_task(self._take(self._wanted))

    async def stop(self) -> None:
        """Disconnects."""
        await self._promotions.stop()

    def _elect(self, values: Sequence[bytes | None]) -> None:
        election = elect(values, self._wanted)
        self._wanted = election.champion
        for name, refusal in election.refused:
            self._refuse(name, refusal)

    async def _take(self, promotion: Promotion) -> None:
        """Tries a version until it serves or is refused, or another is wanted."""
        for pause in self._pauses_s:
            if await self._try(promotion):
                break
            await asyncio.sleep(pause)
        else:
            await self._try(promotion, last=True)
        await self._end_trial(promotion)

    async def _end_trial(self, promotion: Promotion) -> None:
        """All users get the version after a while, if it still serves then."""
        if self._on_trial and self._served is not None and self._served.promotion is promotion:
            await asyncio.sleep(self._settings.canary_seconds)
            if self._served.promotion is promotion:
                self._on_trial = False
                await self._serve(self._served, None)
                logger.info("the trial of version %s has ended, all users have it", promotion.version)

    async def _try(self, promotion: Promotion, *, last: bool = False) -> bool:
        """Whether nothing is left to do: False when the place cannot be read now, and may be later."""
        if self._superseded(promotion):
            return True
        try:
            ready = self._kept(promotion) or await self._load(promotion)
        except VersionRefused as refusal:
            return self._failed(promotion, refusal, last=last)
        if self._superseded(promotion):
            return True
        await self._swap(ready)
        return True

    def _failed(self, promotion: Promotion, refusal: VersionRefused, *, last: bool) -> bool:
        if self._superseded(promotion):
            return True
        if refusal.reason == "unreadable" and not last:
            logger.warning("version %s is tried again: %s: %s", promotion.version, refusal.reason, refusal)
            return False
        self._wanted = self._served.promotion if self._served else None
        self._refuse(promotion.version, refusal)
        return True

    def _superseded(self, promotion: Promotion) -> bool:
        if promotion is self._wanted:
            return False
        logger.info("version %s was superseded before it served", promotion.version)
        return True

    def _kept(self, promotion: Promotion) -> _Ready | None:
        for ready in (self._served, self._previous):
            if ready is not None and ready.promotion.version_ref == promotion.version_ref:
                return replace(ready, promotion=promotion)
        return None

    async def _load(self, promotion: Promotion) -> _Ready:
        files = await read_with_timeout(self._settings.registry_timeout, promotion.path, promotion.manifest_sha256)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._loading_thread, self._make_ready, promotion, files)

    def _make_ready(self, promotion: Promotion, files: VersionFiles) -> _Ready:
        version, serving = serve_files(
            files,
            hidden=self._fold.states.hidden.shape[1],
            device=self._device,
            ranked_by=self._settings.ranked_by,
            threads=self._settings.ranking_threads,
        )
        return _Ready(promotion, serving, datetime.fromisoformat(version.created).timestamp())

    async def _swap(self, ready: _Ready) -> None:
        before, self._served = self._served, ready
        if before is not None and before.serving is ready.serving:
            return
        self._previous = before
        canary = self._canary(ready, before)
        self._on_trial = canary is not None
        await self._serve(ready, canary)
        self._report(ready, before)

    def _canary(self, ready: _Ready, before: _Ready | None) -> Canary | None:
        """None without a version before, and when one is taken back: its users are to have it at once."""
        share = self._settings.canary_share
        if before is None or not share or ready.promotion.version_ref in before.promotion.predecessors:
            return None
        return Canary(before.serving, share)

    async def _serve(self, ready: _Ready, canary: Canary | None) -> None:
        """In the device thread, so between two batches."""

        def begin() -> None:
            self._fold.serve(ready.serving, canary)
            if canary is not None or ready.serving.name not in self._metrics.versions.scores():
                names = [ready.serving.name] + ([canary.before.name] if canary else [])
                self._metrics.versions.begin(names)

        await asyncio.get_running_loop().run_in_executor(self._device_thread, begin)

    def _report(self, ready: _Ready, before: _Ready | None) -> None:
        self._metrics.reloads.labels("loaded").inc()
        if before is not None:
            self._metrics.model.remove(before.serving.name)
        self._metrics.model.labels(ready.serving.name).set(1)
        self._metrics.model_created.set(ready.created)
        logger.info("serving version %s, %d items", ready.serving.name, len(ready.serving.vocabulary))

    def _refuse(self, name: str, refusal: VersionRefused) -> None:
        self._metrics.reloads.labels("refused").inc()
        serving = self._served.serving.name if self._served else "the rules"
        logger.warning("refused version %s: %s: %s; still serving: %s", name, refusal.reason, refusal, serving)
