"""The trainer's process: reads the events, trains in rounds, publishes what beats the champion.

It shares nothing with the workers but the topics and the registry.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal

import click
import msgspec
import torch
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from model.data.price_bins import NO_BINS
from model.errors import NextactError, TooLittleData, VersionNotSaved, VersionRefused
from model.network.network import LARGE_WORDS, SMALL_WORDS
from model.rounds.drift import DriftMonitor
from model.rounds.training_report import card
from model.rounds.training_round import Round, RoundConfig, train_round
from model.training.fit_run import Progress
from model.training.replicas import replicas
from model.versions import version as versions
from model.versions.manifest import CARD, FORMAT, FORMAT_BEFORE, REPORT
from model.versions.registry import prune
from model.versions.version import Fact, Version
from stream_app.device import check_device, choose_device
from stream_app.errors import DataPathError
from stream_app.http_server import HttpServer
from stream_app.items.follower import ItemsFollower
from stream_app.items.metrics import ItemMetrics
from stream_app.kafka.refusals import explained
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.statistics.child import keep_counting
from stream_app.trainer.held_promotion import HeldPromotion
from stream_app.trainer.metrics import TrainerMetrics
from stream_app.trainer.recorder import EventRecorder
from stream_app.trainer.rollback_watch import RollbackWatch
from stream_app.trainer.round_failures import RoundFailures
from stream_app.trainer.round_journal import RoundJournal
from stream_app.versions.own_registry import read_for_training, version_path
from stream_app.versions.promoter import promoter
from stream_app.versions.promotions import Promotion, VersionRef, current_champion, promoted_after, publish_promotion
from stream_app.versions.timeouts import with_timeout

logger: Final = logging.getLogger(__name__)

Outcome = Literal["promoted", "held", "rejected", "skipped", "failed"]
_POLL_S: Final = 1.0
_EARLIEST: Final = 5  # drift brings a round forward to a fifth of the usual time at most
_LEAST_COMPARED: Final = 500  # events: fewer say little about drift
_LOGGED: Final = ("targets", "recall@20", "mrr@20", "rules_recall@20", "champion_recall@20", "seconds_per_event")


class RoundInterruption(Exception):
    """Ends a round because the process is to stop."""


class Trainer:
    """Reads the events and runs rounds on them."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float], progress: Callable[[str], None]) -> None:
        """`clock` gives seconds since the epoch. `progress` is given a line about each step of long work."""
        self._settings, self._clock, self._progress = settings, clock, progress
        self._device = choose_device(settings.device, fallback=settings.device_fallback)
        # A thread of its own, because PyTorch's number of threads belongs to the thread that sets it.
        self._training_thread = ThreadPoolExecutor(1, "training", torch.set_num_threads, (settings.threads,))
        registry = CollectorRegistry()
        self._metrics = TrainerMetrics(registry)
        self._failures = RoundFailures(self._metrics)
        self._items = ItemsFollower(settings, "trainer", ItemMetrics(registry), clock)
        self._recorder = EventRecorder(settings, self._metrics, clock, self._items.catalogue)
        self._journal = RoundJournal(settings)
        self._http = HttpServer(registry, lambda: None)
        self._stopping = False
        self._following = False  # else it runs one round, and whoever asked for it gets its version at once
        self._held: HeldPromotion | None = None
        self._facts: dict[str, str | float] = {}  # of the last round, for its line in the log

    async def run_once(self) -> Outcome:
        """Reads all events that were published and runs one round."""
        await ensure_topics(self._settings, "trainer")
        try:
            await self._recorder.open()
            await self._items.start()
            await self._recorder.start()
            await self._recorder.read_to_end()
            await self._recorder.keep_up()
            return await self._round(self._recorder.history.newest)
        finally:
            await self._items.stop()
            await self._recorder.stop()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs a round every `train_every` seconds, when there are enough new events, until `stop` is set."""
        await ensure_topics(self._settings, "trainer")
        self._following = True
        try:
            await self._recorder.open()
            await self._http.start(self._settings.http_host, self._settings.http_port)
            await self._items.start()
            await self._rounds_until(stop)
            self._recorder.record()
        finally:
            await self._items.stop()
            await self._recorder.stop()
            await self._http.stop()

    async def _rounds_until(self, stop: asyncio.Event) -> None:
        watch = RollbackWatch(self._settings, self._metrics, self._clock)
        beside = (watch.run(), self._items.follow(), keep_counting(self._settings))
        working = [asyncio.create_task(work) for work in (self._rounds(), *beside)]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({*working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            for task in (*working, stopping):
                task.cancel()
        for task in working:
            with suppress(asyncio.CancelledError, RoundInterruption):
                await task

    async def _rounds(self) -> None:
        await self._recorder.start()
        # The loop's clock is never set: a round begins in time even when the machine's clock jumps.
        now = asyncio.get_running_loop().time
        begun, learned = -math.inf, await self._resume_round()
        while True:
            await self._recorder.read(timeout=_POLL_S)
            await self._promote_held()
            fresh, waited = self._recorder.events - learned, now() - begun
            if fresh < self._settings.train_min_events or not self._is_due(waited):
                continue
            await self._recorder.read_to_end()
            await self._recorder.keep_up()
            begun, learned = now(), self._recorder.events
            await self._round_while_reading(self._recorder.history.newest)

    async def _resume_round(self) -> int:
        """Finishes the round that an earlier process began, on the same events; returns how many these were.

        Called before the history's upkeep, which merges files: the journal names them by number.
        """
        until = self._journal.interrupted()
        if until is None:
            return 0
        logger.info("the interrupted round goes on, with the events up to file %d of the history", until)
        learned = sum(file.rows for file in self._recorder.history.files_until(until))
        await self._round_while_reading(until)
        return learned

    def _is_due(self, waited: float) -> bool:
        """Returns whether a round is due so many seconds after the last one began; drift brings it forward."""
        drift, every = self._drift(), self._settings.train_every
        if waited >= every:
            return True
        if not drift or waited < every / _EARLIEST:
            return False
        logger.info("the next round starts early: %s", drift)
        return True

    def _drift(self) -> str:
        """Says how the stream has moved since the last round; empty where it has not moved far."""
        drift, limit = self._recorder.drift, self._settings.drift_limit
        if drift is None:
            return ""
        unseen = drift.unseen_share()
        self._metrics.unseen.set(unseen)
        reasons = [f"{unseen:.0%} of the events are on new items"] if unseen > limit else []
        for name, index in drift.psi().items():
            self._metrics.psi.labels(name).set(index)
            if index > limit:
                reasons.append(f"{name} have moved (stability index {index:.2f})")
        return ", ".join(reasons) if limit and drift.live_events >= _LEAST_COMPARED else ""

    async def _round_while_reading(self, until: int) -> None:
        """Keeps reading events during a round, so that retention cannot overtake the reader."""
        round_ = asyncio.create_task(self._round(until))
        while not round_.done():
            await self._recorder.read(timeout=_POLL_S)
            await self._promote_held()
        await round_

    async def _round(self, until: int) -> Outcome:
        """Runs a round on the files of the history up to this number; an interrupted one stays in the journal."""
        start = time.perf_counter()
        self._journal.begin(until)
        outcome = await self._attempt(until)
        self._journal.end()
        seconds = time.perf_counter() - start
        self._metrics.rounds.labels(outcome).inc()
        self._metrics.round_seconds.set(seconds)
        facts = {"outcome": outcome, "seconds": round(seconds, 1), "events": self._recorder.events, **self._facts}
        logger.info("round: %s", json.dumps(facts))
        return outcome

    async def _attempt(self, until: int) -> Outcome:
        self._facts = {}
        try:
            return await self._train_and_judge(until)
        except TooLittleData as error:
            logger.info("round skipped: %s", error)
            return "skipped"
        except (DataPathError, RoundInterruption):
            raise
        except Exception as error:  # whatever a device, a compiler or a store raises
            if replicas() > 1 and not isinstance(error, NextactError):
                raise  # the other processes wait for this one in the middle of a step: torchrun ends them all
            self._failures.note(error)
            check_device(self._device)
            return "failed"

    async def _train_and_judge(self, until: int) -> Outcome:
        promotion = await current_champion(self._settings, "trainer")
        incumbent = await self._load(promotion) if promotion else None
        logger.info("round begins from %s", f"version {incumbent.name}" if incumbent else "nothing")
        result = await self._train(incumbent, until)
        self._show(result)
        version = await self._save(result, result.report.window.events)
        self._facts = {"version": version.version, "verdict": result.verdict.reason} | {
            name: round(value, 6) for name, value in result.metrics().items() if name in _LOGGED
        }
        if not result.verdict.promoted:
            await self._prune(promotion)
            return "rejected"
        winner = HeldPromotion(version, result.metrics(), promotion)
        wait = winner.waits(self._settings, self._clock()) if self._following and incumbent else 0.0
        if wait:
            self._held = winner  # in place of one that won before it
            logger.info("version %s waits for %.0f s: the champion is on trial", version.version, wait)
            await self._prune(promotion)
            return "held"
        return await self._promote(winner)

    async def _promote(self, winner: HeldPromotion) -> Outcome:
        """Promotes a version, unless another one has been since it was compared with the champion."""
        if await current_champion(self._settings, "trainer") != winner.champion:
            logger.info("dropped: another version was promoted during the round, the next one begins from it")
            return "rejected"
        now = datetime.fromtimestamp(self._clock(), UTC)
        by = promoter(self._settings, "trainer")
        promotion = promoted_after(winner.champion, winner.version, winner.metrics, now, by)
        await publish_promotion(promotion, self._settings, "trainer")
        logger.info("published version %s", winner.version.version)
        await self._prune(promotion)
        return "promoted"

    async def _promote_held(self) -> None:
        """Promotes the version that waits, once the champion is no longer on trial; a champion that did worse meanwhile
        was taken back, and with it goes what began from it."""
        held = self._held
        if held is None or held.waits(self._settings, self._clock()):
            return
        self._held = None
        try:
            self._metrics.rounds.labels(await self._promote(held)).inc()
        except (KafkaError, NextactError) as error:
            self._failures.note(error)

    async def _train(self, incumbent: Version | None, until: int) -> Round:
        """Runs the round itself, in the training thread; from here on drift is measured against its window."""
        settings = self._settings
        config = RoundConfig(
            hidden=settings.hidden,
            backbone=settings.backbone,
            holdout=settings.train_holdout,
            word_rows=SMALL_WORDS if settings.write_format == "previous" else LARGE_WORDS,
            item_days=settings.item_days,
            seed=settings.seed,
            live=settings.write_format == "current",
        )
        train = partial(
            train_round,
            device=self._device,
            # Processor time says what a prediction costs even where the machine is busy with other things.
            clock=time.thread_time if self._device.type == "cpu" else time.perf_counter,
            progress=self._report,
            checkpoints=self._journal.checkpoints,
        )
        bins = NO_BINS if incumbent is None else incumbent.bins
        with ExitStack() as files:
            window = await asyncio.to_thread(self._recorder.window, files, until, bins)
            self._recorder.drift = await asyncio.to_thread(DriftMonitor, window.log)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._training_thread, train, window, incumbent, config)

    def _show(self, result: Round) -> None:
        self._metrics.recall.labels("model").set(result.challenger.served.recall[20])
        self._metrics.recall.labels("rules").set(result.challenger.rules.recall[20])
        if (published := result.metrics().get("published_recall@20")) is not None:
            self._metrics.recall.labels("published").set(published)
        logger.info("%s (rules %.4f)", result.verdict.sentence, result.challenger.rules.recall[20])
        self._metrics.verdicts.labels(result.verdict.reason).inc()

    async def _load(self, promotion: Promotion) -> Version | None:
        """Returns the champion; None when it is damaged or of another format. Raises `VersionRefused` while its path
        cannot be read: what is trained without it could not be compared with it."""
        try:
            return await read_for_training(self._settings, promotion.version, promotion.manifest_sha256)
        except VersionRefused as refusal:
            if refusal.reason == "unreadable":
                raise
            logger.warning(
                "the champion %s cannot be used, training starts from scratch: %s", promotion.version, refusal
            )
            return None

    async def _save(self, result: Round, events: int) -> VersionRef:
        """Writes the challenger and the verdict on it into the registry, promoted or not."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        name = now.strftime("%Y%m%dT%H%M%S.%fZ")
        path = version_path(self._settings, name)
        facts: dict[str, Fact] = {
            # An event from the future must not make those seem learned that come until then.
            "trained_until": min(result.trained_until, round(1000 * self._clock())),
            "verdict": result.verdict.sentence,
            "verdict_reason": result.verdict.reason,
            "events": events,
        }
        contents = result.contents(name, now.isoformat(), facts)
        save = partial(
            versions.save,
            path,
            contents,
            for_people={
                CARD: card(name, result.report, result.verdict.sentence, contents.metrics).encode(),
                REPORT: msgspec.json.encode(result.report),
            },
            number=FORMAT if self._settings.write_format == "current" else FORMAT_BEFORE,
        )
        try:
            sha256 = await with_timeout(self._settings.registry_timeout, save)
        except TimeoutError as error:
            raise VersionNotSaved(f"{path} was not written in time (NEXTACT_REGISTRY_TIMEOUT)") from error
        return VersionRef(version=name, manifest_sha256=sha256)

    async def _prune(self, promotion: Promotion | None) -> None:
        """Deletes old versions, but none that serves or that a rollback may return to."""
        keep = {version.version for version in (promotion, *promotion.predecessors)} if promotion else set()
        keep |= {self._held.version.version} if self._held else set()
        settings = self._settings
        work = partial(prune, settings.registry_address, keep, settings.registry_keep)
        try:
            deleted = await with_timeout(settings.registry_timeout, work)
        except (VersionRefused, TimeoutError) as error:
            logger.warning("old versions stay in the registry: %r", error)
        else:
            if deleted:
                logger.info("deleted %d old versions, %s the newest of them", len(deleted), deleted[-1])

    def _report(self, stage: str, progress: Progress) -> None:
        if self._stopping:
            raise RoundInterruption("the trainer is to stop")
        share = progress.step / max(progress.steps, 1)
        self._progress(f"{stage}: {share:4.0%}, loss {sum(progress.losses.values()):.3f}")


async def run_trainer(settings: Settings, stop: asyncio.Event) -> None:
    """Runs a trainer until `stop` is set. Raises `UsageError` for what Kafka refuses."""
    try:
        await Trainer(settings, clock=time.time, progress=terminal_progress).run(stop)
    except KafkaError as error:
        raise await explained(settings, error, "Read") from error


async def train_once(settings: Settings) -> Outcome:
    """Reads all events that were published and runs one round. Raises `UsageError` for what Kafka refuses."""
    try:
        return await Trainer(settings, clock=time.time, progress=terminal_progress).run_once()
    except KafkaError as error:
        raise await explained(settings, error, "Read") from error


def terminal_progress(line: str) -> None:
    """Rewrites one line of a terminal; does nothing without one."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{line}", nl=False, err=True)
