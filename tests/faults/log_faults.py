"""Faults of the logs themselves: records deleted before they were read, a log that was cut, compaction."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from typing import Final

from aiokafka.errors import KafkaError

from tests.faults.injections import down, kill_one, states_of
from tests.faults.stream import ends_of, lag
from tests.faults.trial import Stage
from tests.faults.waiting import until
from tests.integration.topics import read_all

_TOLD_S: Final = 60.0  # until a worker says that records are missing
_ELECTED_S: Final = 60.0  # until a node leads that lacks the last records
_FOUND_S: Final = 120.0  # until all workers go on where the log ends
_COMPACTED_S: Final = 120.0  # Kafka looks every 15 s for what can be compacted


async def retention(stage: Stage) -> None:
    """Records are deleted before workers have read them: while these are stopped, and while there are none."""
    for turn in range(stage.pick(4, 2)):
        await stage.settled()
        told = len(stage.told_missing())
        if turn % 2:
            await _deleted_while_down(stage)
        else:
            await _deleted_while_stopped(stage)

        async def told_more(before: int = told) -> bool:
            return len(stage.told_missing()) > before

        await until(told_more, _TOLD_S, "a worker that says what is missing")
        await stage.settled()
        kill_one(stage)


async def _deleted_while_stopped(stage: Stage) -> None:
    """For less than the session timeout, so that partitions stay where they are."""
    slots = stage.supervisor.running
    for slot in slots:
        stage.supervisor.send(slot, signal.SIGSTOP)
    await asyncio.sleep(0.2 * stage.settings.session_timeout)
    await _delete(stage)
    for slot in slots:
        stage.supervisor.send(slot, signal.SIGCONT)
    stage.over()


async def _deleted_while_down(stage: Stage) -> None:
    """An answered event whose state is not written yet must not be deleted: so no kill with delivery at least once."""
    slots = await down(stage, signal.SIGKILL if stage.settings.delivery == "exactly-once" else signal.SIGTERM)
    await asyncio.sleep(2)
    await _delete(stage)
    for slot in slots:
        slot.wanted = True
    stage.over()


async def _delete(stage: Stage) -> None:
    """Deletes nearly all that half of the partitions have, and keeps it for the oracle."""
    await stage.archive()
    chosen = stage.rng.sample(range(stage.settings.partitions), stage.settings.partitions // 2)
    ends = dict.fromkeys(chosen, 0)
    for record in stage.log.records():
        if record.partition in ends:
            ends[record.partition] = record.offset + 1 - stage.rng.randrange(3)
    before = {partition: max(end, stage.log.deleted.get(partition, 0)) for partition, end in ends.items()}
    await stage.cluster.delete_records(stage.settings.events_topic, before)
    stage.log.deleted.update(before)
    stage.injected("records deleted")


async def log_cut(stage: Stage) -> None:
    """A node becomes leader that lacks what the last leader had taken: Kafka's unclean election."""
    topic = stage.settings.events_topic
    for _ in range(stage.pick(2, 1)):
        await stage.settled()
        leader, behind = await _pair(stage)
        await stage.cluster.take_down(behind, clean=True)
        await asyncio.sleep(stage.pick(8, 4))  # of load that only the leader has
        async with stage.publisher.paused():
            await stage.caught_up()
            await stage.archive()
            before = await ends_of(stage.settings, topic)
            await stage.cluster.take_down(leader, clean=False)
            await stage.cluster.start_node(behind)
            await until(lambda: _led(stage), _ELECTED_S, "a leader of each partition")
            after = await ends_of(stage.settings, topic)
            await stage.note_cut({partition: end for partition, end in after.items() if end < before[partition]})
            stage.injected("log cut")
            stage.say(f"cut at {stage.log.cuts[-1].kept}")
            assert stage.log.cuts[-1].kept, "the election was clean"
            await stage.cluster.bring_back()
            await until(lambda: _nothing_open(stage), _FOUND_S, "workers that go on where the log ends", every=0.5)
        stage.over()
        await asyncio.sleep(stage.rng.uniform(0, 3))
        kill_one(stage)


async def _pair(stage: Stage) -> tuple[int, int]:
    """The leader of a partition, and the other node that has it."""
    topic = stage.settings.events_topic
    leaders, replicas = await stage.cluster.leaders(topic), await stage.cluster.replicas(topic)
    partition = stage.rng.choice(sorted(leaders))
    (other,) = replicas[partition] - {leaders[partition]}
    return leaders[partition], other


async def _led(stage: Stage) -> bool:
    try:
        leaders = await stage.cluster.leaders(stage.settings.events_topic)
    except (KafkaError, OSError, TimeoutError):
        return False
    return set(leaders.values()) <= stage.cluster.running


async def _nothing_open(stage: Stage) -> bool:
    return await lag(stage.settings) == 0


async def compaction(stage: Stage) -> None:
    """Workers that come back without their local store rebuild it from a changelog that is compacted all the while."""
    end = time.monotonic() + stage.pick(60, 10)
    while time.monotonic() < end:
        await asyncio.sleep(stage.rng.uniform(2, 6))
        await _begin_without_stores(stage, one=True)
    await until(lambda: _is_compacted(stage), _COMPACTED_S, "a compacted changelog", every=3)
    stage.injected("compaction seen")
    await _begin_without_stores(stage, one=False)


async def _begin_without_stores(stage: Stage, *, one: bool) -> None:
    await stage.supervisor.ready()
    running = stage.supervisor.running
    for slot in await down(stage, signal.SIGKILL, [stage.rng.choice(running)] if one else running):
        shutil.rmtree(states_of(slot))
        slot.wanted = True


async def _is_compacted(stage: Stage) -> bool:
    """Whether every partition has lost its oldest records to later ones of the same user."""
    changelog = await asyncio.to_thread(read_all, stage.settings, stage.settings.state_topic)
    first = {record.partition: record.offset for record in reversed(changelog)}
    return len(first) == stage.settings.partitions and min(first.values()) > 0
