"""Hot reload: follows promotions, loads and warms a version aside, swaps it in between two batches.

A version that must not be served is refused with a log line and a counter, and the old one goes on serving. One that
cannot be read now is tried again until it serves, is refused, or another is promoted: a registry that was away for a
while must not leave workers behind. A gauge says why the newest promotion does not serve.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

import torch

from model.errors import VersionRefused
from model.serving.canary import Canary
from model.serving.serving import Serving, serve_files
from model.serving.state_engine import StateEngine
from model.versions.manifest import VersionFiles
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.settings import Settings
from stream_app.versions.canary_reports import Phase
from stream_app.versions.own_registry import check_not_empty, read_version
from stream_app.versions.promotions import Promotion, elect
from stream_app.worker.threads import WorkerThreads
from stream_app.worker.warm_up import try_version

logger: Final = logging.getLogger(__name__)

PAUSES_S: Final = (1.0, 5.0, 25.0, 60.0)  # seconds between the tries of a version that cannot be read now; the last: on


class PromotionSource(Protocol):
    """Where promotions come from: `stream_app.versions.promotions.Promotions`."""

    async def start(self) -> list[bytes | None]:
        """Connects; returns the promotions that are there."""

    def follow(self) -> AsyncIterator[list[bytes | None]]:
        """Yields promotions as they come."""

    async def stop(self) -> None:
        """Disconnects."""


@dataclass(frozen=True, slots=True)
class _ReadyVersion:
    """A version that can serve at once."""

    promotion: Promotion
    serving: Serving
    created: float  # seconds since the epoch


class Reloader:
    """Keeps the engine serving the champion."""

    def __init__(
        self,
        *,
        settings: Settings,
        promotions: PromotionSource,
        engine: StateEngine,
        device: torch.device,
        threads: WorkerThreads,
        metrics: WorkerMetrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`sleep` waits for so many seconds."""
        self._settings = settings
        self._promotions = promotions
        self._engine = engine
        self._device = device
        self._threads = threads
        self._metrics = metrics
        self._sleep = sleep
        self._wanted: Promotion | None = None  # of the version that serves, or that is to serve
        self._served: _ReadyVersion | None = None
        self._previous: _ReadyVersion | None = None  # kept, so that a rollback needs no loading
        self._canary_runs = False
        self.phase: Phase = "canary"  # of the canary that runs

    @property
    def canary_names(self) -> tuple[str, str] | None:
        """The names of the new version and of the one before, which some users have; None: no canary runs."""
        if not self._canary_runs or self._served is None or self._previous is None:
            return None
        return self._served.serving.name, self._previous.serving.name

    async def start(self) -> None:
        """Loads the current champion, if there is one and it can be read; else the rules answer."""
        self._elect(await self._promotions.start())
        if self._wanted is None:
            logger.info("no model yet: the rules answer until the trainer's first promotion")
        else:
            await self._try(self._wanted)

    async def follow(self) -> None:
        """Follows promotions until cancelled; a newer one ends the tries of an older one."""
        async with asyncio.TaskGroup() as tasks:
            if self._wanted is not None:
                tasks.create_task(self._adopt(self._wanted))
            async for values in self._promotions.follow():
                before = self._wanted
                self._elect(values)
                if self._wanted is not None and self._wanted is not before:
                    tasks.create_task(self._adopt(self._wanted))

    async def stop(self) -> None:
        """Disconnects."""
        await self._promotions.stop()

    def _elect(self, values: Sequence[bytes | None]) -> None:
        election = elect(values, self._wanted)
        self._wanted = election.champion
        for name, refusal in election.refused:
            if refusal.reason != "older":
                self._metrics.explain_unserved(refusal.reason)
            self._refuse(name, refusal)

    async def _adopt(self, promotion: Promotion) -> None:
        """Tries a version until it serves or is refused, or another is wanted; then ends its canary in time."""
        pauses = itertools.chain(PAUSES_S, itertools.repeat(PAUSES_S[-1]))
        while not await self._try(promotion):
            await self._sleep(next(pauses))
        await self._end_canary(promotion)

    async def _end_canary(self, promotion: Promotion) -> None:
        """Gives nearly all users the version after a while, if it still serves then; a few others are held back."""
        if not self._canary_runs or self.phase != "canary":
            return
        if self._served is not None and self._served.promotion is promotion:
            await self._sleep(self._settings.canary_seconds)
            if self._served.promotion is promotion and self._previous is not None:
                canary = self._holdback(self._served, self._previous)
                self._canary_runs = canary is not None
                await self._serve(self._served, canary)
                kept = f", but for {canary.share:.1%} who are held back" if canary else ""
                logger.info("the canary of version %s has ended, all users have it%s", promotion.version, kept)

    async def _try(self, promotion: Promotion) -> bool:
        """Tries to serve a version; returns False when it cannot be read now and may be later, else True."""
        if self._superseded(promotion):
            return True
        try:
            ready = self._loaded_before(promotion) or await self._load(promotion)
        except VersionRefused as refusal:
            return self._failed(promotion, refusal)
        if self._superseded(promotion):
            return True
        await self._swap(ready)
        return True

    def _failed(self, promotion: Promotion, refusal: VersionRefused) -> bool:
        if self._superseded(promotion):
            return True
        self._metrics.explain_unserved(refusal.reason)
        if refusal.reason == "unreadable":
            self._metrics.reloads.labels("unreadable").inc()
            logger.warning(
                "version %s is tried again: %s: %s; still serving: %s",
                *(promotion.version, refusal.reason, refusal, self._serving_name),
            )
            return False
        self._wanted = self._served.promotion if self._served else None
        self._refuse(promotion.version, refusal)
        return True

    def _superseded(self, promotion: Promotion) -> bool:
        if promotion is self._wanted:
            return False
        logger.info("version %s was superseded before it served", promotion.version)
        return True

    def _loaded_before(self, promotion: Promotion) -> _ReadyVersion | None:
        for ready in (self._served, self._previous):
            if ready is not None and ready.promotion.version_ref == promotion.version_ref:
                return replace(ready, promotion=promotion)
        return None

    async def _load(self, promotion: Promotion) -> _ReadyVersion:
        try:
            files = await read_version(self._settings, promotion.version, promotion.manifest_sha256)
        except VersionRefused as refusal:
            if refusal.reason == "missing_file":
                await check_not_empty(self._settings)
            raise
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads.loading, self._make_ready, promotion, files)

    def _make_ready(self, promotion: Promotion, files: VersionFiles) -> _ReadyVersion:
        version, serving = serve_files(
            files,
            hidden=self._engine.hidden_size,
            device=self._device,
            ranked_by=self._settings.ranked_by,
            threads=self._settings.ranking_threads,
        )
        try_version(self._settings, self._device, serving)
        return _ReadyVersion(promotion, serving, datetime.fromisoformat(version.created).timestamp())

    async def _swap(self, ready: _ReadyVersion) -> None:
        self._metrics.explain_unserved(None)
        before, self._served = self._served, ready
        if before is not None and before.serving is ready.serving:
            return
        self._previous = before
        canary = self._canary(ready, before)
        self._canary_runs = canary is not None
        await self._serve(ready, canary)
        self._report(ready, before)

    def _canary(self, ready: _ReadyVersion, before: _ReadyVersion | None) -> Canary | None:
        """The canary of a new version; None where there is none before it, and in a rollback, which is for all users at
        once. The users are drawn anew for each version: nobody is always behind."""
        if before is None or ready.promotion.version_ref in before.promotion.predecessors:
            return None
        share = self._settings.canary_share
        if not share:
            return self._holdback(ready, before)
        self.phase = "canary"
        return Canary(before.serving, share, salt=f"{ready.serving.name}/")

    def _holdback(self, ready: _ReadyVersion, before: _ReadyVersion) -> Canary | None:
        """The canary of a version that is no longer on trial: few users, others than before, until the next one."""
        if not self._settings.holdback_share:
            return None
        self.phase = "holdback"
        return Canary(before.serving, self._settings.holdback_share, salt=f"{ready.serving.name}/holdback/")

    async def _serve(self, ready: _ReadyVersion, canary: Canary | None) -> None:
        """Swaps a version in, in the device thread and so between two batches."""

        def begin() -> None:
            self._engine.serve(ready.serving, canary)
            if canary is not None or ready.serving.name not in self._metrics.versions.scores():
                names = [ready.serving.name] + ([canary.before.name] if canary else [])
                self._metrics.versions.begin(names)

        await asyncio.get_running_loop().run_in_executor(self._threads.device, begin)

    def _report(self, ready: _ReadyVersion, before: _ReadyVersion | None) -> None:
        self._metrics.reloads.labels("loaded").inc()
        if before is not None:
            self._metrics.model.remove(before.serving.name)
        self._metrics.model.labels(ready.serving.name).set(1)
        self._metrics.model_created.set(ready.created)
        logger.info(
            "serving version %s, %d items, promoted %s",
            *(ready.serving.name, len(ready.serving.vocabulary), ready.promotion.circumstances),
        )

    def _refuse(self, name: str, refusal: VersionRefused) -> None:
        self._metrics.reloads.labels("refused").inc()
        logger.warning(
            "refused version %s: %s: %s; still serving: %s", name, refusal.reason, refusal, self._serving_name
        )

    @property
    def _serving_name(self) -> str:
        return self._served.serving.name if self._served else "the rules"
