"""A `nextact` command as a real process, and what it says of itself over HTTP and in its log."""

from __future__ import annotations

import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

import psutil
from prometheus_client.parser import text_string_to_metric_families

from stream_app.settings import Settings
from tests.integration.forked import start
from tests.integration.fresh import FreshProcess
from tests.integration.principals import as_role, role_of


def environment(settings: Settings, command: Sequence[str]) -> dict[str, str]:
    """The settings as variables, so that a process sees what the test has; on a secured broker those of its role."""
    return {**os.environ, **as_role(settings, role_of(command)).variables()}


def nextact(*command: str, settings: Settings, timeout: float = 90) -> CompletedProcess[str]:
    """A command that ends by itself."""
    with TemporaryDirectory() as folder:
        said, complained = Path(folder, "stdout"), Path(folder, "stderr")
        process = start("stream_app", command, environment(settings, command), stdout=said, stderr=complained)
        process.join(timeout)
        process.kill()
        process.join()
        assert process.exitcode is not None
        return CompletedProcess(command, process.exitcode, said.read_text(), complained.read_text())


class Running:
    """Started at once; `kill` is safe to call at any time."""

    def __init__(
        self,
        command: Sequence[str],
        settings: Settings,
        log: Path,
        module: str = "stream_app",
        *,
        fresh: bool = False,
        within: Sequence[str] = (),
    ) -> None:
        """`fresh`: with all imports, and not forked from a process that has made them; `within`: see `FreshProcess`."""
        self.name = " ".join(command)
        self.log = log
        own = settings.model_copy(update={"http_port": 0, "http_host": "127.0.0.1"})
        log.touch()
        self._process: ForkServerProcess | FreshProcess
        if fresh or within:
            self._process = FreshProcess(module, command, environment(own, command), log, within)
        else:
            self._process = start(module, command, environment(own, command), stdout=log, stderr=log)

    @property
    def _port(self) -> int:
        """Where it serves metrics now, as its log says last (a worker whose device fails begins anew, on the CPU);
        `LookupError` before that."""
        if found := re.findall(r"metrics and health on port (\d+)", self.log.read_text()):
            return int(found[-1])
        raise LookupError(f"{self.name} serves no metrics yet")

    @property
    def api(self) -> str:
        """Where it answers questions; `LookupError` before that."""
        if found := re.findall(r"questions on (http://\S+:\d+)", self.log.read_text()):
            return str(found[-1])
        raise LookupError(f"{self.name} answers no questions yet")

    def wait_ready(self, timeout: float = 40) -> None:
        """Returns when /readyz says so."""
        self.wait_until(lambda: self._get("/readyz") is not None, timeout)

    def wait_until(
        self, holds: Callable[[], bool], timeout: float = 60, *, needs: Sequence[Running] = (), every: float = 0.05
    ) -> None:
        """Returns when something holds; fails when time runs out, and at once when this process ends or one that it
        needs for it, with their logs."""
        deadline = time.monotonic() + timeout
        while not holds():
            for running in (self, *needs):
                code = running._process.exitcode
                assert code is None, f"{running.name} ended with {code}:\n{running.tail()}"
            if time.monotonic() > deadline:
                logs = "\n".join(running.tail() for running in (self, *needs))
                raise AssertionError(f"{self.name}: not within {timeout} s:\n{logs}")
            time.sleep(every)

    def labels(self, name: str, label: str) -> set[str]:
        """The values that a label of a metric has now."""
        families = text_string_to_metric_families(self._get("/metrics") or "")
        return {sample.labels[label] for family in families for sample in family.samples if sample.name == name}

    def metric(self, name: str, label: str | None = None) -> float:
        """A sample of /metrics by name and (only) label value; 0 when there is none."""
        for family in text_string_to_metric_families(self._get("/metrics") or ""):
            for sample in family.samples:
                if sample.name == name and label in (None, *sample.labels.values()):
                    return sample.value
        return 0.0

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def resident(self) -> int:
        """Bytes of memory that it has now."""
        size: int = psutil.Process(self._process.pid).memory_info().rss
        return size

    @property
    def processor_seconds(self) -> float:
        """Processor time that it has used."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def terminate(self, timeout: float = 20) -> int:
        """SIGTERM; returns the exit code."""
        self._process.terminate()
        return self.wait(timeout)

    def ends_within(self, seconds: float) -> bool:
        """Waits for the end for a while; returns whether it came."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def wait(self, timeout: float) -> int:
        """Waits for the end; returns the exit code. Fails with the log when time runs out."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"{self.name}: still there after {timeout} s:\n{self.tail()}"
        return code

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.join()

    def freeze(self) -> None:
        """SIGSTOP: the process keeps its connections and does nothing."""
        process = psutil.Process(self._process.pid)
        process.suspend()
        self.wait_until(lambda: process.status() == psutil.STATUS_STOPPED)

    def thaw(self) -> None:
        """SIGCONT."""
        psutil.Process(self._process.pid).resume()

    def tail(self) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text().splitlines()[-40:])

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=2) as response:
                body: bytes = response.read()
                return body.decode()
        except (LookupError, urllib.error.URLError, OSError):
            return None
