"""A lease runs out when the event loop has stood still, and never comes back."""

from __future__ import annotations

import asyncio

import pytest

from stream_app.errors import DataPathError
from stream_app.worker.lease import Lease


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def turn() -> None:
    """Lets the keeper run; its pauses are real, and short."""
    await asyncio.sleep(0.02)


def test_a_lease_lasts_for_less_than_the_session_and_is_renewed() -> None:
    async def body() -> None:
        clock = Clock()
        lease = Lease(0.1, clock)
        keeping = asyncio.create_task(lease.keep())
        for _ in range(5):
            await turn()
            clock.now += 0.07  # of 0.075: the first of them would end it if it were not renewed
            lease.check()
        keeping.cancel()

    asyncio.run(body())


@pytest.mark.parametrize("keeper_first", [True, False])
def test_after_a_break_the_lease_has_ended_whoever_checks_first(keeper_first: bool) -> None:
    async def body() -> None:
        clock = Clock()
        lease = Lease(0.1, clock)
        keeping = asyncio.create_task(lease.keep())
        await turn()
        clock.now += 0.08
        if keeper_first:
            with pytest.raises(DataPathError):
                await asyncio.wait_for(keeping, 5)
        with pytest.raises(DataPathError, match=r"stood still for 0\.1 s"):
            lease.check()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(body())
