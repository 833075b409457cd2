"""The trainer process: follows the events, trains in rounds, publishes what beats the champion.

It shares nothing with the workers but the topics and the registry.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal

import click
import torch
from prometheus_client import CollectorRegistry

from model import checkpoint
from model.checkpoint import Version
from model.errors import NextactError, TooLittleData, VersionNotSaved, VersionRefused
from model.rounds import Round, RoundConfig, train_round
from model.train import Progress
from stream_app.bounded import read_within, within
from stream_app.device import choose_device
from stream_app.errors import DataPathError
from stream_app.health import HttpServer
from stream_app.metrics import TrainerMetrics
from stream_app.promotions import Placed, Promotion, champion, publish, succeed
from stream_app.recorded_events import RecordedEvents
from stream_app.settings import Settings
from stream_app.topics import ensure_topics

logger: Final = logging.getLogger(__name__)

Outcome = Literal["promoted", "rejected", "skipped", "failed"]
_POLL_S: Final = 1.0


class Stopped(Exception):
    """A round was ended because the process is to stop."""


class Trainer:
    """Follows the log and runs rounds on it."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float], progress: Callable[[str], None]) -> None:
        """`clock`: seconds since the epoch. `progress` is given a line about long work, again and again."""
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._device = choose_device(settings.device, fallback=settings.device_fallback)
        # A thread of its own, as PyTorch's number of threads belongs to the thread that sets it.
        self._training_thread = ThreadPoolExecutor(1, "training", torch.set_num_threads, (settings.threads,))
        registry = CollectorRegistry()
        self._metrics = TrainerMetrics(registry)
        self._log = RecordedEvents(settings, self._metrics, clock)
        self._http = HttpServer(registry, lambda: None)
        self._stopping = False

    async def run_once(self) -> Outcome:
        """Reads all events there are and runs one round."""
        await ensure_topics(self._settings)
        try:
            await self._log.open()
            await self._log.start()
            await self._log.read_to_end()
            await self._log.keep_up()
            return await self._round()
        finally:
            await self._log.stop()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs a round every `train_every` seconds, when there are enough new events, until `stop` is set."""
        await ensure_topics(self._settings)
        try:
            await self._log.open()
            await self._http.start(self._settings.http_host, self._settings.http_port)
            await self._rounds_until(stop)
            self._log.record()
        finally:
            await self._log.stop()
            await self._http.stop()

    async def _rounds_until(self, stop: asyncio.Event) -> None:
        rounds, stopping = asyncio.create_task(self._rounds()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({rounds, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            stopping.cancel()
            rounds.cancel()
        with suppress(asyncio.CancelledError, Stopped):
            await rounds

    async def _rounds(self) -> None:
        await self._log.start()
        due, taken = self._clock(), 0
        while True:
            await self._log.read(timeout=_POLL_S)
            fresh = self._log.events - taken
            if self._clock() < due or fresh < self._settings.train_min_events:
                continue
            await self._log.read_to_end()
            await self._log.keep_up()
            taken = self._log.events
            due = self._clock() + self._settings.train_every
            await self._round_while_reading()

    async def _round_while_reading(self) -> None:
        """The log keeps being read during a round, so that retention cannot overtake it."""
        round_ = asyncio.create_task(self._round())
        while not round_.done():
            await self._log.read(timeout=_POLL_S)
        await round_

    async def _round(self) -> Outcome:
        start = time.perf_counter()
        outcome = await self._attempt()
        self._metrics.rounds.labels(outcome).inc()
        self._metrics.round_seconds.set(time.perf_counter() - start)
        logger.info("round %s in %.1f s", outcome, time.perf_counter() - start)
        return outcome

    async def _attempt(self) -> Outcome:
        try:
            return await self._train_and_judge()
        except TooLittleData as error:
            logger.info("round skipped: %s", error)
            return "skipped"
        except DataPathError:
            raise
        except NextactError as error:
            logger.error("round failed, the champion stays: %s", error)
            return "failed"

    async def _train_and_judge(self) -> Outcome:
        promotion = await champion(self._settings)
        incumbent = await self._load(promotion) if promotion else None
        logger.info("round begins from %s", f"version {incumbent.name}" if incumbent else "nothing")
        actions = await asyncio.to_thread(self._log.actions)
        settings = self._settings
        config = RoundConfig(
            hidden=settings.hidden, backbone=settings.backbone, holdout=settings.train_holdout, seed=settings.seed
        )
        train = partial(train_round, device=self._device, progress=self._report)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._training_thread, train, actions, incumbent, config)
        self._metrics.recall.labels("model").set(result.challenger.served.recall[20])
        self._metrics.recall.labels("rules").set(result.challenger.rules.recall[20])
        logger.info("%s (rules %.4f)", result.verdict, result.challenger.rules.recall[20])
        if not result.promoted:
            return "rejected"
        if await champion(settings) != promotion:
            logger.info("dropped: another version was promoted during the round, the next one begins from it")
            return "rejected"
        await self._publish(result, promotion, len(actions))
        return "promoted"

    async def _load(self, promotion: Promotion) -> Version | None:
        """The champion; None when it is damaged or of another format. Raises `VersionRefused` while its place
        cannot be read: what is trained without it could not be compared with it."""
        try:
            files = await read_within(self._settings.registry_timeout, promotion.path, promotion.manifest_sha256)
            return await asyncio.to_thread(checkpoint.parse, files)
        except VersionRefused as refusal:
            if refusal.reason == "unreadable":
                raise
            logger.warning("the champion %s cannot be used, training starts anew: %s", promotion.version, refusal)
            return None

    async def _publish(self, result: Round, before: Promotion | None, events: int) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        name = now.strftime("%Y%m%dT%H%M%S.%fZ")
        path = f"{self._settings.registry_address}/{name}"
        save = partial(
            checkpoint.save,
            path,
            name=name,
            created=now.isoformat(),
            network=result.model.network,
            vocabulary=result.model.vocabulary,
            fusion=result.model.fusion,
            calibration=result.model.calibration,
            metrics=result.metrics(),
            facts={"trained_until": result.trained_until, "verdict": result.verdict, "events": events},
        )
        try:
            sha256 = await within(self._settings.registry_timeout, save)
        except TimeoutError as error:
            raise VersionNotSaved(f"{path} was not written in time (NEXTACT_REGISTRY_TIMEOUT)") from error
        version = Placed(version=name, path=path, manifest_sha256=sha256)
        await publish(succeed(before, version, result.metrics(), now), self._settings)
        logger.info("published version %s, %d items", name, len(result.model.vocabulary))

    def _report(self, stage: str, progress: Progress) -> None:
        if self._stopping:
            raise Stopped("the round was ended")
        share = progress.step / max(progress.steps, 1)
        self._progress(f"{stage}: {share:4.0%}, loss {sum(progress.losses.values()):.3f}")


async def run_trainer(settings: Settings, stop: asyncio.Event) -> None:
    """Runs a trainer until `stop` is set."""
    await Trainer(settings, clock=time.time, progress=terminal_progress).run(stop)


async def train_once(settings: Settings) -> Outcome:
    """Reads all events there are and runs one round."""
    return await Trainer(settings, clock=time.time, progress=terminal_progress).run_once()


def terminal_progress(line: str) -> None:
    """Rewrites one line of a terminal; silent without one."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{line}", nl=False, err=True)
