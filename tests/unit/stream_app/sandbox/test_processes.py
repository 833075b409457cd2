"""Children end with their parent, report their exit code, and write their output to a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stream_app.sandbox.processes import ChildProcess

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
DEAF_SCRIPT = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
DEAF = [sys.executable, "-S", "-c", DEAF_SCRIPT]


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_exit_code_and_both_outputs_arrive(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    script = "echo out; echo err >&2; echo $COLOUR; exit 7"
    child = ChildProcess.start(["/bin/sh", "-c", script], name="shell", log_path=log, env={"COLOUR": "red"})
    assert child.wait(10) == 7
    assert child.poll() == 7
    assert sorted(log.read_text().split()) == ["err", "out", "red"]


def test_the_log_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    for word in ("first", "second"):
        ChildProcess.start(["/bin/echo", word], name="echo", log_path=log).wait(10)
    assert log.read_text().split() == ["first", "second"]


def test_the_pid_is_the_commands_and_its_session_its_own(tmp_path: Path) -> None:
    child = ChildProcess.start(SLEEP, name="sleep", log_path=tmp_path / "log")
    wait_until(lambda: psutil.Process(child.pid).cmdline() == SLEEP)  # for a moment it has none
    assert os.getsid(child.pid) == child.pid
    assert child.poll() is None
    assert child.stop(5) == -signal.SIGTERM
    assert is_gone(child.pid)


def test_stop_kills_a_child_that_ignores_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = ChildProcess.start(DEAF, name="deaf", log_path=log)
    wait_until(lambda: "deaf" in log.read_text())
    assert child.stop(0.2) == -signal.SIGKILL
    assert is_gone(child.pid)


def test_kill_stop_and_signals_after_the_end_do_nothing(tmp_path: Path) -> None:
    child = ChildProcess.start(["/bin/sh", "-c", "exit 3"], name="shell", log_path=tmp_path / "log")
    child.wait(10)
    child.send_signal(signal.SIGTERM)
    assert child.stop() == 3
    assert child.kill() == 3


def test_wait_says_who_is_late(tmp_path: Path) -> None:
    child = ChildProcess.start(SLEEP, name="sleeper", log_path=tmp_path / "log")
    with pytest.raises(TimeoutError, match=r"sleeper \(pid \d+\) still runs after 0.05 s"):
        child.wait(0.05)
    assert child.kill() == -signal.SIGKILL


def test_a_command_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"ghost did not start: .*No such file.*/no/such/command"):
        ChildProcess.start(["/no/such/command"], name="ghost", log_path=tmp_path / "log")


def test_the_guard_passes_sigterm_on(tmp_path: Path) -> None:
    child = ChildProcess.start(SLEEP, name="sleep", log_path=tmp_path / "log")
    parent = psutil.Process(child.pid).parent()
    assert parent is not None
    parent.terminate()
    assert child.wait(10) == -signal.SIGTERM


def test_what_the_command_started_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = ChildProcess.start(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], name="shell", log_path=log)
    wait_until(lambda: log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    child.kill()
    wait_until(lambda: is_gone(grandchild))


@pytest.mark.parametrize("command", [SLEEP, DEAF], ids=["obedient", "ignores SIGTERM"])
def test_the_command_dies_when_the_parent_is_killed(tmp_path: Path, command: list[str]) -> None:
    script = f"""
import time
from pathlib import Path
from stream_app.sandbox.processes import ChildProcess
child = ChildProcess.start({command!r}, name="orphan", log_path=Path({str(tmp_path / "log")!r}), grace_s=0.3)
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        guard = psutil.Process(pid).ppid()
        if command is DEAF:
            wait_until(lambda: "deaf" in (tmp_path / "log").read_text())
        parent.kill()
    wait_until(lambda: is_gone(pid))
    wait_until(lambda: is_gone(guard))
