"""The faults themselves: each works on a stage and returns after its last fault."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal

from stream_app.kafka.clients import client_id
from tests.faults.full_disk import full_disk
from tests.faults.points import command
from tests.faults.supervisor import Slot, metric
from tests.faults.trial import Stage
from tests.faults.waiting import until

Fault = Callable[[Stage], Awaitable[None]]

_THROTTLE = 40_000  # bytes per second and broker; a third of what the load needs
_SERVED_S = 100.0  # a registry that is away is asked again after a minute, at the latest


async def calm(stage: Stage) -> None:
    """No fault: what the suite says then, it says of itself."""
    await asyncio.sleep(stage.pick(60, 10))
    stage.over()


async def kills(stage: Stage) -> None:
    """`kill -9` of one worker, every 3 s on average."""
    end = time.monotonic() + stage.pick(60, 8)
    while time.monotonic() < end:
        await asyncio.sleep(min(stage.rng.expovariate(1 / 3), 8))
        kill_one(stage)


async def bursts(stage: Stage) -> None:
    """`kill -9` 0.1 to 1 s apart, ten in a row."""
    for _ in range(stage.pick(2, 1)):
        await stage.supervisor.ready()
        for _ in range(10):
            await asyncio.sleep(stage.rng.uniform(0.1, 1.0))
            kill_one(stage)


async def all_at_once(stage: Stage) -> None:
    """`kill -9` of all workers in the same moment."""
    for _ in range(stage.pick(3, 1)):
        await stage.supervisor.ready()
        await asyncio.sleep(stage.rng.uniform(1, 4))
        for slot in stage.supervisor.running:
            _kill(stage, slot)


async def all_at_once_store_deleted(stage: Stage) -> None:
    """As `all_at_once`, and the local stores are gone when the workers come back."""
    for _ in range(stage.pick(3, 1)):
        await stage.supervisor.ready()
        await asyncio.sleep(stage.rng.uniform(1, 4))
        for slot in await down(stage, signal.SIGKILL):
            shutil.rmtree(states_of(slot))
            slot.wanted = True
        stage.injected("local stores deleted")


async def store_full(stage: Stage) -> None:
    """A worker that starts on a full disk, again and again, until there is room."""
    for _ in range(stage.pick(2, 1)):
        slot = stage.rng.choice(stage.supervisor.slots)
        await stage.supervisor.ready()
        slot.wanted = False
        await _terminate(stage, slot)
        with full_disk(states_of(slot)):
            slot.wanted = True
            stage.injected("disk full")
            known = len(stage.supervisor.exits_of(slot))
            await stage.supervisor.ended(slot, known + 1)
        stage.over()


def states_of(slot: Slot) -> Path:
    return slot.settings.data_dir / "states"


def at_point(point: str) -> Fault:
    """Workers that kill themselves at a named point of the program."""

    async def inject(stage: Stage) -> None:
        for _ in range(stage.pick(3, 1)):
            await _die_at(stage, point)

    return inject


async def rolling_restart(stage: Stage) -> None:
    """SIGTERM to one worker after another, each when the one before is back."""
    for turn in range(stage.pick(10, 1)):
        slots = stage.supervisor.slots
        await stage.supervisor.ready()
        await _terminate(stage, slots[turn % len(slots)])


async def scaling(stage: Stage) -> None:
    """Workers added and taken away, whether the others have settled or not."""
    for turn in range(stage.pick(10, 2)):
        _add_or_remove(stage, turn)
        await asyncio.sleep(stage.rng.uniform(1, 9))


def _add_or_remove(stage: Stage, turn: int) -> None:
    if turn % 2:
        wanted = [slot for slot in stage.supervisor.slots if slot.wanted]
        stage.supervisor.remove(stage.rng.choice(wanted))
        stage.injected("worker taken away")
    else:
        stage.supervisor.add()
        stage.injected("worker added")


def brokers_down(end: Literal["stop", "kill"], who: Literal["leader", "controller"], count: int) -> Fault:
    """The leader of a partition or of the controllers stopped or killed, alone or with others."""

    async def inject(stage: Stage) -> None:
        for _ in range(stage.pick(3, 1)):
            node = await _node(stage, who)
            others = sorted(stage.cluster.running - {node})
            nodes = [node, *stage.rng.sample(others, count - 1)]
            stage.injected(f"{end} broker")
            stage.say(f"{end} {nodes}")
            await stage.cluster.take_down(*nodes, clean=end == "stop")
            await asyncio.sleep(stage.pick(8, 3))
            await stage.cluster.bring_back()
            stage.over()

    return inject


async def all_brokers_down(stage: Stage) -> None:
    """All brokers away for a minute: stopped cleanly or killed, as the seed will have it."""
    clean = stage.rng.random() < 0.5
    stage.injected(f"all brokers {'stopped' if clean else 'killed'}")
    await stage.cluster.take_down(*stage.cluster.running, clean=clean)
    await asyncio.sleep(stage.pick(60, 10))
    await stage.cluster.bring_back()
    stage.over()


async def frozen(stage: Stage) -> None:
    """SIGSTOP of a worker past its session timeout, then SIGCONT: it wakes up to find its partitions given away."""
    for _ in range(stage.pick(3, 1)):
        await stage.supervisor.ready()
        slot = stage.rng.choice(stage.supervisor.running)
        stage.supervisor.send(slot, signal.SIGSTOP)
        stage.injected("SIGSTOP")
        await _wake_up(stage, slot, after=stage.rng.uniform(1.2, 2.0))


async def frozen_in_a_batch(stage: Stage) -> None:
    """As `frozen`, between predictions and changelog: what it has still to write is old when it wakes up."""
    for _ in range(stage.pick(2, 1)):
        slot = await _replace(stage, "predictions-sent", signal.SIGSTOP)
        await stage.supervisor.stopped(slot)
        stage.injected("SIGSTOP in a batch")
        await _wake_up(stage, slot, after=stage.rng.uniform(1.5, 2.0))


async def _wake_up(stage: Stage, slot: Slot, *, after: float) -> None:
    """`after` so many session timeouts; then it has time to do harm."""
    await asyncio.sleep(after * stage.settings.session_timeout)
    stage.supervisor.send(slot, signal.SIGCONT)
    stage.over()
    await asyncio.sleep(3)


async def reloads_during_kills(stage: Stage) -> None:
    """New weights every 5 s, and workers killed all the while."""

    async def reload() -> None:
        while True:
            await asyncio.sleep(5)
            await stage.promote()
            stage.injected("reload")

    reloading = asyncio.create_task(reload())
    await kills(stage)
    reloading.cancel()


async def some_kills(stage: Stage) -> None:
    """For rows whose load is the fault: a few kills make sure that it is met in recovery too."""
    for _ in range(stage.pick(4, 1)):
        await asyncio.sleep(stage.rng.uniform(4, 12))
        kill_one(stage)


async def kills_when_settled(stage: Stage) -> None:
    """As `some_kills`, for loads that hit workers who have caught up: these have time to, before each kill."""
    for _ in range(stage.pick(6, 2)):
        await stage.settled()
        await asyncio.sleep(stage.rng.uniform(4, 9))
        kill_one(stage)


async def throttled_output(stage: Stage) -> None:
    """Brokers take from the workers a third of what they have to write."""
    pids = [slot.child.pid for slot in stage.supervisor.running if slot.child is not None]
    clients = [client_id(stage.settings, "worker", pid=pid) for pid in pids]
    await stage.cluster.throttle(clients, _THROTTLE // max(len(clients), 1))
    stage.injected("throttle")
    await asyncio.sleep(stage.pick(40, 10))
    await stage.cluster.throttle(clients, None)
    stage.over()


async def throttled_scaling(stage: Stage) -> None:
    """As `throttled_output`, and the group changes all the while: partitions move that cannot be drained in time."""
    clients: set[str] = set()

    async def throttle() -> None:
        while True:
            pids = [slot.child.pid for slot in stage.supervisor.running if slot.child is not None]
            new = {client_id(stage.settings, "worker", pid=pid) for pid in pids} - clients
            clients.update(new)
            await stage.cluster.throttle(sorted(new), _THROTTLE // 3)
            await asyncio.sleep(0.5)

    throttling = asyncio.create_task(throttle())
    stage.injected("throttle")
    await asyncio.sleep(stage.pick(8, 3))
    for turn in range(stage.pick(4, 2)):
        _add_or_remove(stage, turn)
        await asyncio.sleep(stage.rng.uniform(5, 12))
    throttling.cancel()
    await stage.cluster.throttle(sorted(clients), None)
    stage.over()


async def registry_away(stage: Stage) -> None:
    """The registry is gone for two minutes, a version is promoted meanwhile, and workers start without any."""
    registry = Path(stage.settings.registry)
    away = registry.with_name("models-away")
    await asyncio.to_thread(registry.rename, away)
    stage.injected("registry away")
    promotion = await stage.promote(away)
    for _ in range(stage.pick(4, 1)):
        await asyncio.sleep(stage.pick(30, 12))
        kill_one(stage)
    await asyncio.to_thread(away.rename, registry)
    stage.injected("registry back")

    async def served() -> bool:
        serving = [await metric(slot, "nextact_model_info", promotion.version) for slot in stage.supervisor.running]
        return serving == [1.0] * len(stage.supervisor.slots)

    await until(served, _SERVED_S, f"version {promotion.version} in all workers", every=0.5)
    stage.over()


async def delivery_changed(stage: Stage) -> None:
    """`kill -9` of all workers, which come back with the other delivery, and of one that has just come back."""
    for _ in range(stage.pick(6, 2)):
        await stage.supervisor.ready()
        await asyncio.sleep(stage.rng.uniform(1, 4))
        slots = await down(stage, signal.SIGKILL)
        for slot in slots:
            before = slot.settings.delivery
            after = "exactly-once" if before == "at-least-once" else "at-least-once"
            slot.settings = slot.settings.model_copy(update={"delivery": after})
            slot.wanted = True
        stage.injected("delivery changed")
        await asyncio.sleep(stage.rng.uniform(2, 7))
        kill_one(stage)


async def evictions(stage: Stage) -> None:
    """Kills, where most users are in the local store, and standbys take over."""
    await kills(stage)
    await stage.supervisor.ready()

    async def moved() -> bool:
        names = ("nextact_evicted_users_total", "nextact_returned_users_total")
        return all([await stage.supervisor.metric(name) > 0 for name in names])

    await until(moved, 60, "users who left memory and came back")


async def down(stage: Stage, signum: int, slots: Sequence[Slot] = ()) -> Sequence[Slot]:
    """Ends workers (default: all) by a signal; returns their places, which stay empty until they are wanted again."""
    slots = slots or stage.supervisor.running
    known = [len(stage.supervisor.exits_of(slot)) for slot in slots]
    for slot in slots:
        slot.wanted = False
        stage.supervisor.send(slot, signum)
        stage.injected("kill -9" if signum == signal.SIGKILL else "SIGTERM")
    for slot, exits in zip(slots, known, strict=True):
        await stage.supervisor.ended(slot, exits)
    return slots


async def sampler(stage: Stage) -> None:
    """A little of everything, in one run: what CI has time for."""
    await kills(stage)
    await at_point("predictions-sent")(stage)  # with a SIGTERM before
    await brokers_down("kill", "leader", 1)(stage)


def kill_one(stage: Stage) -> None:
    """Whichever runs, whether it is ready or not."""
    if running := stage.supervisor.running:
        _kill(stage, stage.rng.choice(running))


def _kill(stage: Stage, slot: Slot) -> None:
    stage.supervisor.send(slot, signal.SIGKILL)
    stage.injected("kill -9")


async def _terminate(stage: Stage, slot: Slot) -> None:
    known = len(stage.supervisor.exits_of(slot))
    stage.supervisor.send(slot, signal.SIGTERM)
    stage.injected("SIGTERM")
    await stage.supervisor.ended(slot, known)


async def _die_at(stage: Stage, point: str) -> None:
    """A worker that dies at a point, and what has to happen there provoked."""
    slot = await _replace(stage, point, signal.SIGKILL)
    known = len(stage.supervisor.exits_of(slot))
    if point == "swap":
        await stage.supervisor.ready([slot])
        await stage.promote()
    await stage.supervisor.ended(slot, known)
    stage.injected(f"kill -9 at {point}")


async def _replace(stage: Stage, point: str, signum: int) -> Slot:
    """Puts a worker that sends itself a signal at a point into the place of one that is ready."""
    slot = stage.rng.choice(stage.supervisor.slots)
    await stage.supervisor.ready([slot])
    stage.supervisor.arm(slot, command(point, _call(stage, point), signum), signum)
    await _terminate(stage, slot)
    return slot


def _call(stage: Stage, point: str) -> int:
    """Which pass of the point is the last: the weights are swapped in at the start too, a recovery may be short."""
    if point in ("swap", "recovery"):
        return 2 if point == "swap" else 1
    return stage.rng.randint(1, 5 if point == "commit" else 60)


async def _node(stage: Stage, who: str) -> int:
    if who == "controller":
        return stage.cluster.controller()
    return await stage.cluster.leader(stage.settings.events_topic, stage.rng.randrange(stage.settings.partitions))
