"""One run of one row: a stream of its own, workers, a load, the fault, and the verdict."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stream_app.kafka.publisher import started_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion, publish_promotion
from tests.faults.cluster import Cluster
from tests.faults.event_log import Cut, EventLog, LogRecord
from tests.faults.load import EVENT, EXPECT, Mix, Publisher, records
from tests.faults.memory import TOLERANCE_MB, growth
from tests.faults.oracle import Topics, Verdict, compare_hidden, judge
from tests.faults.publishers import MakePublisher
from tests.faults.questions import Asker, judge_questions
from tests.faults.replay import Place, replay
from tests.faults.stream import caught_up, ends_of, lag, topic_names
from tests.faults.supervisor import Supervisor
from tests.faults.waiting import until
from tests.integration.topics import Record, read_all
from tests.versions import untrained_version

USUAL_S: Final = 30.0  # from the last fault to lag 0
WORST_S: Final = 180.0
_BEFORE_S: Final = 5.0  # of load before the first fault
_AFTER_S: Final = 3.0  # of load after the last one

_SETTLED_S: Final = 120.0  # until workers that were disturbed are close behind the load
_DEFAULT_MIX: Final = Mix()
_OUTPUTS: Final = {"predictions": "predictions_topic", "dead_letters": "dead_letters_topic"}  # fields of `Topics`
_DELETED: Final = re.compile(r"partition (\d+) of \S+: offsets (\d+) to (\d+) were deleted before they were answered")

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
    users: int  # of the load, of each kind
    say: Say
    publisher: Publisher
    log: EventLog = field(default_factory=EventLog)
    faults: Counter[str] = field(default_factory=Counter)
    versions: int = 0
    last_fault: float = 0.0
    asker: Asker | None = None

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

    async def settled(self) -> None:
        """Returns when all workers answer, and are less than a second of load behind."""
        await self.supervisor.ready()

        async def close_behind() -> bool:
            behind = await lag(self.settings)
            return behind is not None and behind < self.publisher.rate

        await until(close_behind, _SETTLED_S, "workers close behind the load", every=0.5)

    async def caught_up(self) -> None:
        """Returns when all that was published is answered and committed."""
        if await caught_up(self.settings, _SETTLED_S) is None:
            raise TimeoutError(f"lag not 0 after {_SETTLED_S} s")

    async def archive(self) -> None:
        """Keeps all events that the log has now: the next fault takes some of them away."""
        self.log.add(await _read(self.settings, self.settings.events_topic))

    async def note_cut(self, kept: Mapping[int, int]) -> None:
        """Notes where partitions of the log end now, which had more records when they were archived."""
        outputs = {
            name: await ends_of(self.settings, getattr(self.settings, topic)) for name, topic in _OUTPUTS.items()
        }
        self.log.cuts.append(Cut(kept, outputs))

    def told_missing(self) -> set[Place]:
        """The places that workers said, in their logs, were deleted before they were answered."""
        texts = [slot.log.read_text(errors="replace") for slot in self.supervisor.slots if slot.log.exists()]
        found = [map(int, match.groups()) for text in texts for match in _DELETED.finditer(text)]
        return {(partition, offset) for partition, first, last in found for offset in range(first, last + 1)}

    async def promote(self, registry: Path | None = None) -> Promotion:
        """Makes a version with other weights the champion; `registry`: the folder to which it is written."""
        self.versions += 1
        name = f"v{self.versions}"
        folder = (registry or Path(self.settings.registry)) / name
        promotion = await asyncio.to_thread(untrained_version, folder, self.items, seed=self.versions)
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
    publisher: MakePublisher = Publisher
    settings: Mapping[str, Any] = field(default_factory=dict)  # other than the suite's
    topics: Mapping[str, tuple[int, Mapping[str, str]]] = field(
        default_factory=dict
    )  # setting: replicas, configuration
    finish: Callable[[Stage], Awaitable[None]] | None = None  # what is done when all is answered
    judge: Callable[..., Verdict] = judge
    signals: bool = False  # whether workers tell them
    asks: bool = False  # whether questions are asked over HTTP meanwhile
    repeats: bool = False  # whether answers may come twice although the delivery is exactly-once


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
    settings = settings.model_copy(update=dict(row.settings))
    if row.signals:
        settings = settings.model_copy(update={"signals_topic": settings.events_topic.replace("events", "signals")})
    await cluster.bring_back()  # a run that broke off may have left brokers down
    for name, (replicas, config) in row.topics.items():
        await cluster.make_topic(getattr(settings, name), settings.partitions, replicas, config)
    await ensure_topics(settings)
    stage = Stage(
        cluster=cluster,
        settings=settings,
        supervisor=Supervisor(settings, place),
        rng=random.Random(seed),
        short=short,
        place=place,
        items=row.mix.items,
        users=row.mix.users,
        say=say,
        publisher=row.publisher(settings, records(row.mix, seed, round(time.time() * 1000)), row.rate),
    )
    await stage.promote()
    if row.asks:
        stage.asker = Asker(stage.supervisor, random.Random(seed), stage.users)
    try:
        outcome = await _experiment(row, stage)
    finally:
        await stage.supervisor.stop()
    report = _report(row, stage, outcome)
    own = set(topic_names(settings))
    await cluster.delete([*own, *(set(topic_names(_reference_settings(stage))) - own)])
    return {"row": row.name, "seed": seed, "seconds": round(time.monotonic() - started, 1), **report}


async def _experiment(row: Row, stage: Stage) -> Outcome:
    settings, supervisor, publisher = stage.settings, stage.supervisor, stage.publisher
    for _ in range(row.workers):
        supervisor.add()
    async with asyncio.TaskGroup() as tasks:
        looking_after = tasks.create_task(supervisor.run())
        await supervisor.ready()
        publishing = tasks.create_task(publisher.run())
        asking = tasks.create_task(stage.asker.run()) if stage.asker is not None else None
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
        if row.finish is not None:
            await row.finish(stage)
        if stage.asker is not None and asking is not None:
            asking.cancel()
            await stage.asker.all_are_known()
        looking_after.cancel()
    await supervisor.stop()
    stage.say("reading the topics")
    await stage.archive()
    verdict = await _verdict(row, stage)
    return Outcome(verdict, publisher.acknowledged, stage.log.committed, lag_zero_s, supervisor.survivors())


async def _verdict(row: Row, stage: Stage) -> Verdict:
    settings = stage.settings
    topics = Topics(
        predictions=list(await _read(settings, settings.predictions_topic)),
        dead_letters=list(await _read(settings, settings.dead_letters_topic)),
        changelog=list(await _read(settings, settings.state_topic)),
        cuts=stage.log.cuts,
        signals=list(await _read(settings, settings.signals_topic)) if settings.signals_topic else (),
    )
    missed = stage.log.deleted_places() - topics.answered()
    events = [record for record in stage.log.records() if (record.partition, record.offset) not in missed]
    expected = replay(events, settings.history_length, stage.publisher.labels)
    verdict = row.judge(expected, topics, epoch=settings.stream_epoch, topic=settings.events_topic)
    verdict.missed = len(missed)
    if stage.asker is not None:
        judge_questions(verdict, stage.asker.asked, expected, topics, stage.log.records())
    for place in sorted(missed - stage.told_missing()):
        verdict.complain("lost", f"nothing for {place}, which was deleted, and no worker said so")
    if row.one_version:
        stage.say("an uninterrupted run, for the hidden states")
        compare_hidden(verdict, topics.changelog, await _uninterrupted(stage, events))
    return verdict


async def _uninterrupted(stage: Stage, events: Sequence[LogRecord]) -> list[Record]:
    """The changelog of one worker that reads the same events from the first to the last."""
    settings = _reference_settings(stage)
    await ensure_topics(settings)
    if not stage.log.is_whole:
        await _write_again(settings, events)
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


async def _write_again(settings: Settings, events: Sequence[LogRecord]) -> None:
    """Publishes all events of a log that has lost some, each to its partition, with its time."""
    producer = await started_producer(settings, "publisher")
    try:
        sent = [
            await producer.send(
                settings.events_topic, one.value, one.key, partition=one.partition, timestamp_ms=one.timestamp
            )
            for one in events
            if dict(one.headers).get(EXPECT) == EVENT.encode()
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def _reference_settings(stage: Stage) -> Settings:
    settings = stage.settings
    own = ["group", "predictions_topic", "dead_letters_topic", "state_topic"]
    own += [] if stage.log.is_whole else ["events_topic"]
    names = {name: f"{getattr(settings, name)}.reference" for name in own}
    return settings.model_copy(update=names | {"signals_topic": ""})


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
        **({"publisher": dict(stage.publisher.oddities)} if stage.publisher.oddities else {}),
        **verdict.as_dict(),
        "lag_zero_s": outcome.lag_zero_s and round(outcome.lag_zero_s, 1),
        "memory_growth_mb": grown,
        "unasked_exits": supervisor.report(),
    }


def _problems(row: Row, stage: Stage, outcome: Outcome, grown: float | None) -> Any:
    verdict = outcome.verdict
    if outcome.published != outcome.in_log:
        yield f"{outcome.published} records were acknowledged, {outcome.in_log} are in the log"
    for name in ("lost", "wrong_answers", "wrong_states", "wrong_questions"):
        if count := getattr(verdict, name):
            yield f"{name}: {count}"
    if _is_exactly_once(stage.settings) and verdict.repeated and not row.repeats:
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
