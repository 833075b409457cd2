"""The suite's supervisor: who was killed counts as gone at once, though it may answer a last time."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from unittest.mock import patch

from stream_app.settings import Settings
from tests.faults.supervisor import Supervisor

ASLEEP = ("-c", "import time; time.sleep(60)")


def test_a_killed_worker_is_not_ready_until_its_successor_is(tmp_path: Path) -> None:
    async def killed_and_replaced() -> None:
        supervisor = Supervisor(Settings(), tmp_path)
        slot = supervisor.add()
        supervisor.arm(slot, ASLEEP, 0)
        looking_after = asyncio.create_task(supervisor.run())
        await asyncio.sleep(0)  # starts it
        first = slot.child
        assert first is not None
        supervisor.arm(slot, ASLEEP, 0)
        supervisor.send(slot, signal.SIGKILL)
        supervisor.send(slot, signal.SIGTERM)  # too late
        await supervisor.ready([slot], timeout=30)
        assert slot.child not in (None, first)
        await supervisor.stop()
        looking_after.cancel()
        assert supervisor.exits[0].as_asked

    async def answers(_slot: object) -> bool:
        return True

    with patch("tests.faults.supervisor.is_ready", answers):
        asyncio.run(killed_and_replaced())
