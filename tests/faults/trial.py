"""One run of one row: a stream of its own, workers, a load, the fault, and the verdict."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion, publish_promotion
from tests.faults.cluster import Cluster
from tests.faults.load import Mix, Publisher, records
from tests.faults.memory import TOLERANCE_MB, growth
from tests.faults.oracle import Topics, Verdict, compare_hidden, judge
from tests.faults.replay import replay
from tests.faults.stream import caught_up, topic_names
from tests.faults.supervisor import Supervisor
from tests.integration.topics import Record, read_all
from tests.versions import untrained_version

USUAL_S: Final = 30.0  # from the last fault to lag 0
WORST_S: Final = 180.0
_BEFORE_S: Final = 5.0  # of load before the first fault
_AFTER_S: Final = 3.0  # of load after the last one

_DEFAULT_MIX: Final = Mix()

Say = Callable[[str], None]


@dataclass
class Stage:
    """What a fault has to work on."""

    cluster: Cluster
    settings: Settings
    supervisor: Supervisor
    rng: random.Random
    short: bool
    place: Path
    items: int
    say: Say
    faults: Counter[str] = field(default_factory=Counter)
    versions: int = 0
    last_fault: float = 0.0

    def pick(self, full: Any, short: Any) -> Any:
        """A figure of the dose."""
        return short if self.short else full

    def injected(self, what: str) -> None:
        """Counts a fault and tells of it."""
        self.faults[what] += 1
        self.over()
        self.say(what)

    def over(self) -> None:
        """A fault that lasted is over: recovery is timed from the last such moment."""
        self.last_fault = time.monotonic()

    async def promote(self) -> Promotion:
        """Makes a version with other weights the champion."""
        self.versions += 1
        name = f"v{self.versions}"
        promotion = await asyncio.to_thread(
            untrained_version, self.place / "models" / name, self.items, seed=self.versions
        )
        await publish_promotion(promotion, self.settings)
        return promotion


@dataclass(frozen=True)
class Row:
    """A row of the table of faults."""

    name: str
    fault: Callable[[Stage], Awaitable[None]]
    runs: int = 1  # of the full dose, each with a seed of its own
    mix: Mix = _DEFAULT_MIX
    rate: float = 300.0  # records per second
    workers: int = 3
    tolerated: frozenset[int] = frozenset()  # exit codes that nobody asked for, but this fault explains
    limit_s: float = USUAL_S
    growth_mb: float = TOLERANCE_MB  # of a worker's memory
    one_version: bool = True  # else hidden states are of several versions, and not compared


@dataclass(frozen=True)
class Outcome:
    """What was seen after the fault."""

    verdict: Verdict
    published: int
    in_log: int
    lag_zero_s: float | None
    survivors: list[int]


async def run_trial(
    row: Row, seed: int, *, cluster: Cluster, settings: Settings, place: Path, short: bool, say: Say
) -> dict[str, Any]:
    """The report of one run: figures, and `problems`, which is empty when all held."""
    started = time.monotonic()
    await cluster.bring_back()  # a run that broke off may have left brokers down
    await ensure_topics(settings)
    stage = Stage(cluster, settings, Supervisor(settings, place), random.Random(seed), short, place, row.mix.items, say)
    await stage.promote()
    try:
        outcome = await _experiment(row, seed, stage)
    finally:
        await stage.supervisor.stop()
    report = _report(row, stage, outcome)
    await cluster.delete([*topic_names(settings), *topic_names(_reference_settings(settings))[1:4]])
    return {"row": row.name, "seed": seed, "seconds": round(time.monotonic() - started, 1), **report}


async def _experiment(row: Row, seed: int, stage: Stage) -> Outcome:
    settings, supervisor = stage.settings, stage.supervisor
    for _ in range(row.workers):
        supervisor.add()
    load = records(row.mix, seed, round(time.time() * 1000))
    publisher = Publisher(settings, load, row.rate)
    async with asyncio.TaskGroup() as tasks:
        looking_after = tasks.create_task(supervisor.run())
        await supervisor.ready()
        publishing = tasks.create_task(publisher.run())
        await asyncio.sleep(_BEFORE_S)
        stage.say("the load runs, now the fault")
        stage.over()
        await row.fault(stage)
        await asyncio.sleep(_AFTER_S)
        publisher.stop()
        await publishing
        stage.say(f"{publisher.acknowledged} records published, waiting for lag 0")
        caught = await caught_up(settings, stage.last_fault + WORST_S - time.monotonic())
        lag_zero_s = None if caught is None else time.monotonic() - stage.last_fault
        looking_after.cancel()
    await supervisor.stop()
    stage.say("reading the topics")
    events = await _read(settings, settings.events_topic)
    verdict = await _verdict(row, stage, events)
    return Outcome(verdict, publisher.acknowledged, len(events), lag_zero_s, supervisor.survivors())


async def _verdict(row: Row, stage: Stage, events: list[Record]) -> Verdict:
    settings = stage.settings
    topics = Topics(
        predictions=list(await _read(settings, settings.predictions_topic)),
        dead_letters=list(await _read(settings, settings.dead_letters_topic)),
        changelog=list(await _read(settings, settings.state_topic)),
    )
    expected = replay(events, settings.history_length)
    verdict = judge(expected, topics, epoch=settings.stream_epoch, topic=settings.events_topic)
    if row.one_version:
        stage.say("an uninterrupted run, for the hidden states")
        compare_hidden(verdict, topics.changelog, await _uninterrupted(stage))
    return verdict


async def _uninterrupted(stage: Stage) -> list[Record]:
    """The changelog of one worker that reads the same events from the first to the last."""
    settings = _reference_settings(stage.settings)
    await ensure_topics(settings)
    supervisor = Supervisor(settings, stage.place / "reference")
    supervisor.add()
    looking_after = asyncio.create_task(supervisor.run())
    try:
        if await caught_up(settings, WORST_S) is None:
            raise TimeoutError("the uninterrupted run did not reach the end of the log")
    finally:
        looking_after.cancel()
        await supervisor.stop()
    return await _read(settings, settings.state_topic)


def _reference_settings(settings: Settings) -> Settings:
    own = ("group", "predictions_topic", "dead_letters_topic", "state_topic")
    return settings.model_copy(update={name: f"{getattr(settings, name)}.reference" for name in own})


async def _read(settings: Settings, topic: str) -> list[Record]:
    return await asyncio.to_thread(read_all, settings, topic, isolation="read_committed")


def _report(row: Row, stage: Stage, outcome: Outcome) -> dict[str, Any]:
    supervisor, verdict = stage.supervisor, outcome.verdict
    grown = growth(supervisor.footprints)
    return {
        "problems": list(_problems(row, stage, outcome, grown)),
        "faults": dict(stage.faults),
        "exits": dict(Counter(str(exit_.code) for exit_ in supervisor.exits)),
        "published": outcome.published,
        **verdict.as_dict(),
        "lag_zero_s": outcome.lag_zero_s and round(outcome.lag_zero_s, 1),
        "memory_growth_mb": grown,
        "unasked_exits": supervisor.report(),
    }


def _problems(row: Row, stage: Stage, outcome: Outcome, grown: float | None) -> Any:
    verdict = outcome.verdict
    if outcome.published != outcome.in_log:
        yield f"{outcome.published} records were acknowledged, {outcome.in_log} are in the log"
    for name in ("lost", "wrong_answers", "wrong_states"):
        if count := getattr(verdict, name):
            yield f"{name}: {count}"
    if _is_exactly_once(stage.settings) and verdict.repeated:
        yield f"repeated: {verdict.repeated}"
    if outcome.lag_zero_s is None:
        yield f"lag not 0 after {WORST_S} s"
    elif outcome.lag_zero_s > row.limit_s:
        yield f"lag 0 after {outcome.lag_zero_s:.1f} s, allowed are {row.limit_s}"
    if outcome.survivors:
        yield f"processes left behind: {outcome.survivors}"
    if grown is not None and grown > row.growth_mb:
        yield f"memory grew by {grown} MiB"
    for exit_ in stage.supervisor.exits:
        if not exit_.as_asked and exit_.code not in row.tolerated:
            yield f"{exit_.worker} ended with {exit_.code} by itself: {exit_.last_words}"


def _is_exactly_once(settings: Settings) -> bool:
    return settings.delivery == "exactly-once"
