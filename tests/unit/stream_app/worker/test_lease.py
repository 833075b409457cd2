"""A lease lasts as long as the group counts on the process, which heartbeats tell."""

from __future__ import annotations

import asyncio

import pytest

from stream_app.errors import DataPathError
from stream_app.worker import lease as module
from stream_app.worker.lease import Lease


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.0)


async def holds(lease: Lease) -> bool:
    """Whether the lease is valid now; raises what it raises."""
    held = asyncio.ensure_future(lease.held())
    await asyncio.sleep(0.005)
    done = held.done()
    if done:
        held.result()
    held.cancel()
    return done


def test_a_lease_lasts_for_less_than_the_session_after_the_last_heartbeat_was_sent() -> None:
    async def body() -> None:
        clock = Clock()
        lease = Lease(10.0, clock)
        clock.now = 107.0
        assert await holds(lease)
        clock.now = 108.0
        assert not await holds(lease)
        lease.renew(100.4)  # was sent before the process stood still, and answered after
        assert not await holds(lease)
        lease.renew(104.0)
        assert await holds(lease)
        lease.renew(103.0)
        clock.now = 111.0
        assert await holds(lease)

    asyncio.run(body())


def test_who_waits_for_a_lease_goes_on_with_the_next_heartbeat() -> None:
    async def body() -> None:
        clock = Clock()
        lease = Lease(10.0, clock)
        clock.now = 130.0
        waiting = asyncio.create_task(lease.held())
        await asyncio.sleep(0.005)
        assert not waiting.done()
        lease.renew(129.0)
        await asyncio.wait_for(waiting, 5)

    asyncio.run(body())


def test_a_lease_that_is_lost_is_only_held_again_after_the_next_assignment() -> None:
    async def body() -> None:
        clock = Clock()
        lease = Lease(10.0, clock)
        clock.now = 130.0
        waiting = asyncio.create_task(lease.held())
        await asyncio.sleep(0.005)
        lease.lose()
        with pytest.raises(DataPathError, match="the group has given this process up"):
            await asyncio.wait_for(waiting, 5)
        lease.renew(130.0)
        with pytest.raises(DataPathError):
            await lease.held()
        lease.begin()
        assert await holds(lease)

    asyncio.run(body())
