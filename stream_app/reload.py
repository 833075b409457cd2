"""Hot reload: follows promotions, loads and warms a version aside, swaps it in between two batches.

A version that must not be served is refused with a log line and a counter, and the old one goes on serving.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

import msgspec
import torch

from model.checkpoint import load
from model.errors import VersionRefused
from model.fold import Fold
from model.serving import Serving, serve
from stream_app.metrics import WorkerMetrics
from stream_app.promotions import Promotion, Promotions, decode_promotion
from stream_app.settings import Settings

logger: Final = logging.getLogger(__name__)


class Reload:
    """Keeps the fold serving the champion."""

    def __init__(
        self,
        *,
        settings: Settings,
        fold: Fold,
        device: torch.device,
        device_thread: ThreadPoolExecutor,
        loading_thread: ThreadPoolExecutor,
        metrics: WorkerMetrics,
    ) -> None:
        self._loading_thread = loading_thread
        self._fold = fold
        self._device = device
        self._device_thread = device_thread
        self._metrics = metrics
        self._promotions = Promotions(settings)

    async def start(self) -> None:
        """Loads the present champion, if there is one; else the rules answer until the first promotion."""
        record = await self._promotions.start()
        if record is None:
            logger.info("no model yet: the rules answer until the trainer's first promotion")
        else:
            await self._take(record)

    async def follow(self) -> None:
        """Takes promotions as they come, until cancelled."""
        async for record in self._promotions.follow():
            await self._take(record)

    async def stop(self) -> None:
        """Disconnects."""
        await self._promotions.stop()

    async def _take(self, record: bytes) -> None:
        try:
            promotion = decode_promotion(record)
        except msgspec.DecodeError as error:
            self._refuse("?", f"the promotion cannot be read: {error}")
            return
        loop = asyncio.get_running_loop()
        serving = self._fold.serving
        if serving is not None and serving.name == promotion.version:
            return
        try:
            fresh, created = await loop.run_in_executor(self._loading_thread, self._load, promotion)
        except VersionRefused as refusal:
            self._refuse(promotion.version, f"{refusal.reason}: {refusal}")
            return
        except (RuntimeError, ValueError) as error:  # no room on the device, or facts that are none
            self._refuse(promotion.version, f"it cannot be served here: {error}")
            return
        await loop.run_in_executor(self._device_thread, self._swap, fresh)
        self._report(fresh, created, serving)

    def _load(self, promotion: Promotion) -> tuple[Serving, float]:
        """The version, warm on the device, and when it was made (seconds since the epoch)."""
        version = load(promotion.path, promotion.manifest_sha256)
        if version.network.config.hidden != self._fold.states.hidden.shape[1]:
            raise VersionRefused(
                "shape",
                f"hidden states of {version.network.config.hidden} units; this worker keeps "
                f"{self._fold.states.hidden.shape[1]} (NEXTACT_HIDDEN)",
            )
        created = datetime.fromisoformat(version.created).timestamp()
        return serve(version, self._device), created

    def _swap(self, serving: Serving) -> None:
        """Runs in the device thread, so between two batches."""
        self._fold.serving = serving

    def _report(self, fresh: Serving, created: float, before: Serving | None) -> None:
        self._metrics.reloads.labels("loaded").inc()
        if before is not None:
            self._metrics.model.remove(before.name)
        self._metrics.model.labels(fresh.name).set(1)
        self._metrics.model_created.set(created)
        logger.info("serving version %s, %d items", fresh.name, len(fresh.vocabulary))

    def _refuse(self, name: str, why: str) -> None:
        self._metrics.reloads.labels("refused").inc()
        serving = self._fold.serving
        logger.warning(
            "refused version %s: %s; %s goes on serving", name, why, serving.name if serving else "the rules"
        )
