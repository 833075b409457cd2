"""The trainer is killed again and again while events are published: `python -m tests.faults.trainer --kills 20`.

Every second kill comes at a random moment; the others while a file of the history gets its name, just before or just
after. Then every event of the topic, and every list that was shown, must be in the history once, and nothing else; read
with pyarrow alone. Prints what it found as JSON, `rounds gone on with` among it; exits with 1 on any difference.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from model.versions.manifest import MANIFEST
from stream_app.kafka.clients import new_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings
from tests.faults.load import EVENT, EXPECT, NOTHING, Mix, Publisher, records
from tests.faults.replay import Place, actions_in
from tests.faults.stream import stream_settings
from tests.integration.principals import allow
from tests.integration.running import Running
from tests.integration.topics import Record, read_all

_RATE: Final = 300.0  # records per second
_LONGEST_LIFE_S: Final = 8.0  # from the first read to a kill at random: two rounds
_LONGEST_S: Final = 180.0  # that a trainer may take to what it is to do
GOES_ON: Final = "the interrupted round goes on"  # in the log of a trainer
_START_MS: Final = 1_767_323_045_678

Say = Callable[[str], None]


def quick_rounds(settings: Settings) -> Settings:
    """Rounds that begin all the time, as each has what waits written first, and are over soon."""
    return settings.model_copy(
        update={"train_every": 1.0, "train_min_events": 100, "train_max_events": 1000, "hidden": 8}
    )


async def kill_again_and_again(settings: Settings, place: Path, kills: int, seed: int, say: Say) -> dict[str, Any]:
    """Kills trainers of a stream of its own; returns figures, and `problems`, which is empty when all held."""
    await ensure_topics(settings)
    rng = random.Random(seed)
    found: Counter[str] = Counter()
    async with _load(settings, seed) as publisher:
        await transaction(settings, committed=True)
        for number in range(kills):
            moment = ("before", "after")[number // 2 % 2] if number % 2 else "random"
            log, seconds = place / f"trainer-{number}.log", _LONGEST_LIFE_S * rng.random()
            await _one_life(settings, log, moment, rng.randint(1, 3), seconds)
            found[moment] += 1
            say(f"kill {number + 1}: {moment}, {publisher.acknowledged} records published")
    await transaction(settings, committed=False)
    await _last_life(settings, place / "trainer-last.log")
    events = await asyncio.to_thread(read_all, settings, settings.events_topic)
    figures = {"kills": dict(found), "rounds gone on with": gone_on(place), "records": len(events)}
    return {**figures, **differences(settings, events)}


def gone_on(place: Path) -> int:
    """How many trainers went on with the round of the one before, by their logs."""
    return sum(GOES_ON in log.read_text() for log in place.glob("trainer-*.log"))


def differences(settings: Settings, events: list[Record]) -> dict[str, Any]:
    """Between the events of the topic (by their labels) and the rows of the history; and what is left lying about."""
    wanted, shown = Counter[Place](), Counter[Place]()
    for event in events:
        if _label(event) == NOTHING and json.loads(event.value)["type"] == "shown":
            shown[event.partition, event.offset] += 1
        if _label(event) in (EVENT, None):  # a row for each action, however many
            wanted[event.partition, event.offset] = len(actions_in(json.loads(event.value)))
    keys = {(event.partition, event.offset): (event.key or b"").decode() for event in events}
    rows, lists = history_rows(Path(settings.history)), history_rows(Path(settings.history, "_shown"))
    listed = Counter((row["partition"], row["offset"]) for row in lists)
    found = Counter((row["partition"], row["offset"]) for row in rows)
    problems = {
        "lost": sum((wanted - found).values()),
        "doubled or invented": sum((found - wanted).values()),
        "of another user": sum(
            keys.get((row["partition"], row["offset"])) != row["user_id"] for row in [*rows, *lists]
        ),
        "lists lost": sum((shown - listed).values()),
        "lists doubled or invented": sum((listed - shown).values()),
        "half a version": _half_versions(Path(settings.registry)),
        "left behind": len(list(Path(settings.history).rglob("*.tmp"))),
        "checkpoints of rounds that are over": len(list((settings.data_dir / "trainer").glob("*"))),
    }
    return {
        "events": len(wanted),
        "rows": len(rows),
        "lists": len(lists),
        "files": len(list(Path(settings.history).rglob("*.parquet"))),
        "problems": {name: count for name, count in problems.items() if count},
    }


def history_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of a table of a history, by pyarrow alone."""
    columns = ["partition", "offset", "user_id"]
    files = sorted(folder.glob("day=*/*.parquet"))
    return [row for file in files for row in pq.read_table(file, columns=columns, partitioning=None).to_pylist()]


def _half_versions(registry: Path) -> int:
    """Counts versions whose manifest is empty; a directory without one is not a version, and does no harm."""
    return sum(path.stat().st_size == 0 for path in registry.rglob(MANIFEST))


def _label(record: Record) -> str | None:
    label = dict(record.headers).get(EXPECT)
    return label and label.decode()


@asynccontextmanager
async def _load(settings: Settings, seed: int) -> AsyncIterator[Publisher]:
    publisher = Publisher(settings, records(Mix(), seed, _START_MS), _RATE)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        yield publisher
        publisher.stop()


async def _one_life(settings: Settings, log: Path, moment: str, nth: int, seconds: float) -> None:
    """A trainer from its start to its kill: at the n-th file, or so many seconds after it begins to read."""
    if moment != "random":
        running = Running([moment, str(nth)], settings, log, module="tests.faults.dying_trainer")
        code = await asyncio.to_thread(running.wait, _LONGEST_S)
        assert code == -signal.SIGKILL, f"ended with {code}:\n{running.tail()}"
        return
    running = Running(["trainer"], settings, log)
    await asyncio.to_thread(running.wait_until, lambda: running.metric("nextact_trainer_events_total") > 0)
    await asyncio.sleep(seconds)
    running.kill()


async def _last_life(settings: Settings, log: Path) -> None:
    """A trainer that reads to the end."""
    running = Running(["trainer", "--once"], settings, log)
    code = await asyncio.to_thread(running.wait, _LONGEST_S)
    assert code == 0, f"ended with {code}:\n{running.tail()}"


async def transaction(settings: Settings, *, committed: bool) -> None:
    """An event in every partition, and the marker of its transaction behind it; one that is aborted never happened."""
    allow(settings, "publisher", "Write", "TransactionalId", settings.events_topic)
    async with new_producer(settings, "publisher", transactional_id=settings.events_topic) as producer:
        await producer.begin_transaction()
        for partition in range(settings.partitions):
            event = {"user_id": "t", "type": "view", "item_id": f"item {partition}"}
            await producer.send_and_wait(settings.events_topic, json.dumps(event).encode(), b"t", partition=partition)
        await (producer.commit_transaction() if committed else producer.abort_transaction())


def _run(kills: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="nextact-faults-") as directory:
        place = Path(directory)
        with Broker(place / "kafka") as broker:
            settings = quick_rounds(stream_settings(broker.bootstrap_servers, "trainer", place))
            return asyncio.run(kill_again_and_again(settings, place, kills, seed, say))


def say(line: str) -> None:
    """Progress, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.trainer", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = _run(options.kills, options.seed)
    print(json.dumps(report, indent=1))
    sys.exit(1 if report["problems"] else 0)


if __name__ == "__main__":
    main()
