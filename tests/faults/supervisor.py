"""Keeps workers running as systemd or Kubernetes would: what ends is started again, and how it ended is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from stream_app.sandbox.ports import HOST, free_port
from stream_app.sandbox.processes import ChildProcess
from stream_app.sandbox.worker_probe import WorkerProbe
from stream_app.settings import Settings
from tests.faults.memory import Footprint
from tests.faults.waiting import until
from tests.integration.running import environment
from tests.older import of_code

WORKER: Final = ("-m", "stream_app", "worker")
_FIRST_BACKOFF_S: Final = 0.2
_LONGEST_BACKOFF_S: Final = 3.0
_FLAPPING_S: Final = 3.0  # a process that ends sooner makes the next start wait twice as long
_STOP_S: Final = 40.0
_LOOK_EVERY_S: Final = 0.1
_WEIGH_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker process ended. `sent`: the signal that the suite had sent it, 0 for none."""

    worker: str
    code: int
    sent: int
    lived_s: float
    was_ready: bool
    last_words: str = ""

    @property
    def as_asked(self) -> bool:
        """Killed when killed, and 0 after SIGTERM; that ends a process which is still being imported by itself."""
        if self.sent == signal.SIGKILL:
            return self.code == -signal.SIGKILL
        early = -signal.SIGTERM if not self.was_ready else 0
        return self.sent == signal.SIGTERM and self.code in (0, early)


@dataclass
class Slot:
    """A place for one worker process after another, with a port, a folder and a log."""

    name: str
    settings: Settings
    log: Path
    wanted: bool = True
    command: Sequence[str] = WORKER  # of the next start; later ones are plain again
    code: Path | None = None  # folder with the packages of another version, which the next processes run
    child: ChildProcess | None = None
    fate: int = 0  # the signal that the next process will send itself
    sent: int = 0
    killed: bool = False  # SIGKILL was sent to the process, which may answer a last time before it ends
    started: float = 0.0
    start_at: float = 0.0
    backoff: float = _FIRST_BACKOFF_S
    footprint: Footprint = field(default_factory=Footprint)
    api_port: int = 0  # where the present process answers questions


class Supervisor:
    """Workers of one stream; `run` keeps them up until it is cancelled, `stop` ends them cleanly."""

    def __init__(self, settings: Settings, place: Path) -> None:
        self._settings = settings
        self._place = place
        self.slots: list[Slot] = []
        self.exits: list[Exit] = []
        self.footprints: list[Footprint] = []
        # Where workers answer questions, and nobody else: at the default port another stream's would, once ours died.
        self._api_ports: list[int] = []

    def add(self) -> Slot:
        """One worker more."""
        name = f"worker-{len(self.slots) + 1}"
        update = {"http_port": free_port(), "http_host": HOST, "data_dir": self._place / name}
        if self._settings.instance_id:  # of all of them: each one's is its own
            update["instance_id"] = f"{self._settings.instance_id}-{len(self.slots) + 1}"
        own = self._settings.model_copy(update=update)
        self.slots.append(Slot(name, own, self._place / f"{name}.log"))
        return self.slots[-1]

    def arm(self, slot: Slot, command: Sequence[str], fate: int) -> None:
        """The next process of a place runs `command`, which will send itself the signal `fate`."""
        slot.command, slot.fate = command, fate

    def remove(self, slot: Slot) -> None:
        """One worker less."""
        slot.wanted = False
        self.send(slot, signal.SIGTERM)

    @property
    def running(self) -> list[Slot]:
        """The places whose process runs now."""
        return [slot for slot in self.slots if slot.child is not None and slot.child.poll() is None]

    async def run(self) -> None:
        """Looks after the workers until it is cancelled."""
        weighed = 0.0
        while True:
            for slot in self.slots:
                self._look_after(slot)
            if time.monotonic() - weighed > _WEIGH_EVERY_S:
                weighed = time.monotonic()
                await asyncio.gather(*(self._weigh(slot) for slot in self.running))
            await asyncio.sleep(_LOOK_EVERY_S)

    def send(self, slot: Slot, signum: int) -> None:
        """Sends a signal to the process of a place."""
        if slot.child is not None:
            if signum in (signal.SIGKILL, signal.SIGTERM) and not slot.killed:  # it ends by the first SIGKILL
                slot.sent, slot.killed = signum, signum == signal.SIGKILL
            slot.child.send_signal(signum)

    async def ready(self, slots: Sequence[Slot] | None = None, timeout: float = 120.0) -> None:
        """Returns when the workers (default: all that are wanted) answer events."""

        async def all_ready() -> bool:
            wanted = [slot for slot in slots or self.slots if slot.wanted]
            return all([not slot.killed and await is_ready(slot) for slot in wanted])

        await until(all_ready, timeout, "workers that answer events")

    async def ended(self, slot: Slot, exits: int, timeout: float = 120.0) -> Exit:
        """The exit of a place's process, once it is recorded; `exits` of the place were known before."""

        async def one_more() -> bool:
            return len(self.exits_of(slot)) > exits

        await until(one_more, timeout, f"the end of {slot.name}", every=_LOOK_EVERY_S)
        return self.exits_of(slot)[exits]

    async def stopped(self, slot: Slot, timeout: float = 120.0) -> None:
        """Returns when the process of a place is stopped by SIGSTOP."""

        async def is_stopped() -> bool:
            return slot.child is not None and psutil.Process(slot.child.pid).status() == psutil.STATUS_STOPPED

        await until(is_stopped, timeout, f"{slot.name} stopped", every=_LOOK_EVERY_S)

    def exits_of(self, slot: Slot) -> list[Exit]:
        """How the processes of a place ended so far."""
        return [exit_ for exit_ in self.exits if exit_.worker == slot.name]

    async def stop(self) -> None:
        """SIGTERM to all, SIGKILL to those who do not follow; how they ended is recorded."""
        for slot in self.slots:
            slot.wanted = False
            self.send(slot, signal.SIGCONT)
            self.send(slot, signal.SIGTERM)

        async def all_ended() -> bool:
            return not self.running

        with contextlib.suppress(TimeoutError):
            await until(all_ended, _STOP_S, "the end of all workers", every=_LOOK_EVERY_S)
        for slot in self.running:
            assert slot.child is not None
            slot.child.kill()
        for slot in self.slots:
            self._look_after(slot)

    async def metric(self, name: str, label: str | None = None) -> float:
        """The sum of a metric over all workers that answer now."""
        return sum(await asyncio.gather(*(metric(slot, name, label) for slot in self.running)))

    def survivors(self) -> list[int]:
        """Process ids of workers of this stream that still run, whoever started them."""
        return [process.pid for process in psutil.process_iter() if self._is_ours(process)]

    def report(self) -> list[dict[str, Any]]:
        """The exits that the suite did not ask for."""
        return [asdict(exit_) for exit_ in self.exits if not exit_.as_asked]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return bool(process.environ().get("NEXTACT_GROUP") == self._settings.group)
        except (psutil.Error, OSError):
            return False

    def _look_after(self, slot: Slot) -> None:
        if slot.child is not None and (code := slot.child.poll()) is not None:
            self._record(slot, code)
        if slot.child is None and slot.wanted and time.monotonic() >= slot.start_at:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        slot.started, slot.footprint, slot.api_port = time.monotonic(), Footprint(), self._free_api_port()
        slot.sent, slot.killed = slot.fate if slot.fate == signal.SIGKILL else 0, False
        settings = slot.settings.model_copy(update={"api_port": slot.api_port})
        slot.child = ChildProcess.start(
            [sys.executable, *slot.command],
            name=slot.name,
            log_path=slot.log,
            env=environment(settings, slot.command) | (of_code(slot.code) if slot.code else {}),
        )
        slot.command, slot.fate = WORKER, 0

    def _free_api_port(self) -> int:
        """The first port that no running worker has: who comes back may get another one's."""
        taken = {slot.api_port for slot in self.slots if slot.child is not None}
        free = [port for port in self._api_ports if port not in taken]
        if not free:
            free = [free_port()]
            self._api_ports += free
        return free[0]

    def _record(self, slot: Slot, code: int) -> None:
        lived = time.monotonic() - slot.started
        words = "" if slot.sent else _tail(slot.log)
        self.exits.append(Exit(slot.name, code, slot.sent, round(lived, 1), slot.footprint.ready, words))
        self.footprints.append(slot.footprint)
        slot.child = None
        slot.backoff = min(2 * slot.backoff, _LONGEST_BACKOFF_S) if lived < _FLAPPING_S else _FIRST_BACKOFF_S
        slot.start_at = time.monotonic() + slot.backoff

    async def _weigh(self, slot: Slot) -> None:
        if slot.child is not None and (slot.footprint.ready or await is_ready(slot)):
            slot.footprint.weigh(slot.child.pid, time.monotonic())


async def is_ready(slot: Slot) -> bool:
    """Whether the worker of a place answers events."""
    async with WorkerProbe(f"http://{HOST}:{slot.settings.http_port}") as view:
        return await view.is_ready()


async def metric(slot: Slot, name: str, label: str | None = None) -> float:
    """The sum of a metric's samples (of those with a label of that value) in the worker of a place; 0: it has none."""
    address, timeout = f"http://{HOST}:{slot.settings.http_port}/metrics", aiohttp.ClientTimeout(total=2)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(address) as response:
            families = text_string_to_metric_families(await response.text())
    except (aiohttp.ClientError, TimeoutError):
        return 0.0
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if label in (None, *sample.labels.values()))


def _tail(log: Path) -> str:
    """The last critical or error lines of a log, else its last lines."""
    lines = log.read_text(errors="replace").splitlines()[-200:]
    telling = [line for line in lines if "CRITICAL" in line or line.startswith("Error:")]
    return "\n".join(telling[-1:] or lines[-5:])
