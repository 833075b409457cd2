"""The suite's supervisor: who was killed counts as gone at once, though it may answer a last time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from stream_app.query.server import DEFAULT_PORT
from stream_app.sandbox.processes import ChildProcess
from stream_app.settings import Settings
from tests.faults.supervisor import Supervisor

ASLEEP = ("-c", "import time; time.sleep(60)")


def test_who_comes_back_may_get_another_ones_port_but_none_that_others_may_have(tmp_path: Path) -> None:
    supervisor, ports = Supervisor(Settings(), tmp_path), list[str]()

    def start(*_: object, env: Mapping[str, str], log_path: Path, **__: object) -> SimpleNamespace:
        log_path.touch()
        ports.append(env["NEXTACT_API_PORT"])
        return SimpleNamespace(poll=lambda: -signal.SIGKILL if len(ports) == 2 else None)

    with patch.object(ChildProcess, "start", start):
        first, second = supervisor.add(), supervisor.add()
        for slot in (first, second, first, second, second, first):  # started, ended, started again
            supervisor._look_after(slot)
            slot.start_at = 0.0
    assert ports[2:] == ports[:2]
    assert str(DEFAULT_PORT) not in ports
    assert (second.api_port, first.api_port) == (int(ports[0]), int(ports[1]))


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
